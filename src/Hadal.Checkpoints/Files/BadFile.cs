using System.Text;

namespace Hadal.Checkpoints.Files;

/// <summary>The one-line errors of this project: file, field or tensor, expected, found.</summary>
internal static class BadFile
{
    private const int LongestQuote = 80;

    /// <summary>An error about a file as a whole.</summary>
    public static InvalidDataException Error(string file, string what) => new($"{file}: {what}");

    /// <summary>An error about one tensor.</summary>
    public static InvalidDataException Tensor(string file, string tensor, string what) => new($"{file}: tensor {Quote(tensor)}: {what}");

    /// <summary>An error about one field of a JSON file or one key of GGUF metadata.</summary>
    public static InvalidDataException Field(string file, string field, string what) => new($"{file}: {Quote(field)}: {what}");

    /// <summary>Text out of a file, made fit for one line: cut to 80 characters, control characters replaced.</summary>
    public static string Quote(string text)
    {
        var shown = new StringBuilder(Math.Min(text.Length, LongestQuote) + 1);
        foreach (var c in text.AsSpan(0, Math.Min(text.Length, LongestQuote)))
            shown.Append(char.IsControl(c) || char.IsSurrogate(c) || c is '\u2028' or '\u2029' ? '?' : c);
        if (text.Length > LongestQuote)
            shown.Append('…');
        return shown.ToString();
    }

    /// <summary>A shape as <c>[4096, 512]</c>.</summary>
    public static string Shape(IEnumerable<long> shape) => $"[{string.Join(", ", shape)}]";
}
