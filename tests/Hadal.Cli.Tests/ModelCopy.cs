namespace Hadal.Cli.Tests;

/// <summary>A copy of a model folder that may be damaged.</summary>
internal sealed class ModelCopy : IDisposable
{
    public ModelCopy(string folder)
    {
        Folder = Directory.CreateTempSubdirectory("hadal-").FullName;
        foreach (var file in Directory.EnumerateFiles(folder))
            File.Copy(file, Path.Combine(Folder, Path.GetFileName(file)));
    }

    /// <summary>The copy.</summary>
    public string Folder { get; }

    /// <summary>Cuts a file short.</summary>
    public void Truncate(string file, long length)
    {
        using var stream = File.OpenWrite(Path.Combine(Folder, file));
        stream.SetLength(length);
    }

    /// <summary>Changes the highest bits of one byte.</summary>
    public void FlipByte(string file, int fromEnd)
    {
        var path = Path.Combine(Folder, file);
        var bytes = File.ReadAllBytes(path);
        bytes[^fromEnd] ^= 0x71;
        File.WriteAllBytes(path, bytes);
    }

    /// <summary>Takes a file away.</summary>
    public void Delete(string file) => File.Delete(Path.Combine(Folder, file));

    public void Dispose() => Directory.Delete(Folder, recursive: true);
}
