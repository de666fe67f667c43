using Hadal.Checkpoints;

namespace Hadal.Cli.Tests;

/// <summary>A small random model with a tokenizer, made once for the tests of a class.</summary>
public sealed class DemoFolder : IDisposable
{
    public DemoFolder()
    {
        Path = Directory.CreateTempSubdirectory("hadal-").FullName;
        RandomModel.Write(Path, seed: 1);
    }

    /// <summary>The folder.</summary>
    public string Path { get; }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
