namespace Hadal.Cli.Commands;

/// <summary>Text in a file that is named on the command line, or on standard input.</summary>
internal static class TextFile
{
    private const string StandardInput = "-";

    /// <summary>Opens it.</summary>
    /// <param name="path">The file, or <c>-</c>.</param>
    public static Stream Open(string path) => path == StandardInput ? Console.OpenStandardInput() : File.OpenRead(path);

    /// <summary>Its bytes.</summary>
    /// <param name="path">The file, or <c>-</c>.</param>
    public static byte[] ReadAll(string path)
    {
        if (path != StandardInput)
            return File.ReadAllBytes(path);
        using var input = Open(path);
        using var bytes = new MemoryStream();
        input.CopyTo(bytes);
        return bytes.ToArray();
    }
}
