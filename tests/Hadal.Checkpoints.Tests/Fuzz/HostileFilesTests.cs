using System.Buffers.Binary;
using System.Diagnostics;
using Hadal.Checkpoints.Conversion;
using Hadal.Checkpoints.Gguf;
using Hadal.Checkpoints.Tests.Files;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Checkpoints.Tests.Fuzz;

/// <summary>
/// Thousands of damaged model files, made from the golden models by mutations that know the structure, the same ones in every run. Opening and reading
/// each must succeed or throw <see cref="InvalidDataException"/> with one line: nothing else, in bounded time and memory.
/// </summary>
public sealed class HostileFilesTests : IDisposable
{
    /// <summary>Managed bytes that a case may allocate; its files have about 100 KB before their data.</summary>
    private const long MostAllocated = 48 << 20;

    // Milliseconds are usual; a machine busy with other tests may stop for seconds.
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(20);

    private readonly TempFolder folder = new();
    private readonly Dictionary<string, int> outcomes = new(StringComparer.Ordinal);

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Fixtures.Names), MemberType = typeof(Fixtures))]
    public void A_damaged_config_is_refused_or_read(string name)
    {
        CopyModel(name);
        var mutator = new JsonMutator(File.ReadAllBytes(Path.Combine(Fixtures.Path(name), "config.json")));
        for (var seed = 0; seed < 600; seed++)
        {
            folder.Write("config.json", mutator.Mutate(new Random(seed)));
            Try($"{name}/config.json seed {seed}", folder.Path);
        }

        AssertBothHappened();
    }

    [Theory]
    [MemberData(nameof(Fixtures.Names), MemberType = typeof(Fixtures))]
    public void A_damaged_safetensors_header_is_refused_or_read(string name)
    {
        CopyModel(name);
        var file = Directory.GetFiles(Fixtures.Path(name), "model*.safetensors").Order(StringComparer.Ordinal).First();
        var bytes = File.ReadAllBytes(file);
        var length = (int)BinaryPrimitives.ReadInt64LittleEndian(bytes);
        var mutator = new JsonMutator(bytes.AsSpan(8, length).ToArray());
        for (var seed = 0; seed < 400; seed++)
        {
            var random = new Random(seed);
            var header = mutator.Mutate(random);
            var claimed = random.Next(10) == 0 ? random.NextInt64() >> random.Next(64) : header.Length;
            var data = bytes.Length - 8 - length;
            if (random.Next(10) == 0)
                data = random.Next(data);
            WriteSparse(Path.GetFileName(file), [.. BitConverter.GetBytes(claimed), .. header], data);
            Try($"{name}/{Path.GetFileName(file)} seed {seed}", folder.Path);
        }

        Assert.True(outcomes.GetValueOrDefault("refused") > 300, string.Join(", ", outcomes));
    }

    [Fact]
    public void A_damaged_index_is_refused_or_read()
    {
        CopyModel("tiny-v2");
        var mutator = new JsonMutator(File.ReadAllBytes(Path.Combine(Fixtures.Path("tiny-v2"), "model.safetensors.index.json")));
        for (var seed = 0; seed < 600; seed++)
        {
            folder.Write("model.safetensors.index.json", mutator.Mutate(new Random(seed)));
            Try($"index seed {seed}", folder.Path);
        }

        Assert.True(outcomes["refused"] > 300, string.Join(", ", outcomes));
    }

    [Theory]
    [MemberData(nameof(Fixtures.Names), MemberType = typeof(Fixtures))]
    public void A_damaged_gguf_is_refused_or_read(string name)
    {
        using var threads = new KernelThreads(1);
        long data;
        byte[] head;
        using (var source = Checkpoint.Open(Fixtures.Path(name)))
        {
            GgufConversion.Run(source, folder.File("whole.gguf"), new GgufConversionOptions { Type = WeightFormat.Q8_0, SplitUpProjection = name != "tiny-v2" }, threads, null, TestContext.Current.CancellationToken);
            using var file = GgufFile.Open(folder.File("whole.gguf"));
            var start = file.Tensors.Min(tensor => tensor.Offset);
            head = new byte[start];
            using var stream = File.OpenRead(folder.File("whole.gguf"));
            stream.ReadExactly(head);
            data = stream.Length - start;
        }

        Try(name, folder.File("whole.gguf"));
        Assert.Equal(1, outcomes["read"]);
        var mutator = new GgufMutator(head);
        for (var seed = 0; seed < 500; seed++)
        {
            var random = new Random(seed);
            WriteSparse("m.gguf", mutator.Mutate(random), random.Next(10) == 0 ? random.NextInt64(data) : data);
            Try($"{name} GGUF seed {seed}", folder.File("m.gguf"));
        }

        AssertBothHappened();
    }

    private void Try(string what, string path)
    {
        var watch = Stopwatch.StartNew();
        var before = GC.GetAllocatedBytesForCurrentThread();
        string outcome;
        try
        {
            using var checkpoint = Checkpoint.Open(path);
            ReadSome(checkpoint);
            outcome = "read";
        }
        catch (InvalidDataException e)
        {
            Assert.False(e.Message.Contains('\n', StringComparison.Ordinal) || e.Message.Length > 2000, $"{what}: {e.Message}");
            outcome = "refused";
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{what}: {e.GetType().Name}: {e.Message}", e);
        }

        var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(allocated < MostAllocated, $"{what}: {allocated} bytes allocated");
        Assert.True(watch.Elapsed < Longest, $"{what}: {watch.Elapsed}");
        outcomes[outcome] = outcomes.GetValueOrDefault(outcome) + 1;
    }

    /// <summary>Touches the first and last bytes of tensors here and there: a view past the end of its file would end the process.</summary>
    private static void ReadSome(Checkpoint checkpoint)
    {
        var step = Math.Max(1, checkpoint.Tensors.Count / 12);
        for (var i = 0; i < checkpoint.Tensors.Count; i += step)
        {
            var tensor = checkpoint.Tensors[i];
            if (tensor.Shape.Any(dimension => dimension is 0 or > 1 << 22))
                continue;
            if (tensor.Shape.Count == 1)
            {
                checkpoint.Vector(tensor.Name, (int)tensor.Shape[0]);
            }
            else if (tensor.Shape.Count == 2)
            {
                var (rows, cols) = ((int)tensor.Shape[0], (int)tensor.Shape[1]);
                var values = new float[cols];
                var matrix = checkpoint.Matrix(tensor.Name, rows, cols);
                matrix.DecodeRow(0, values);
                matrix.DecodeRow(rows - 1, values);
            }
        }
    }

    /// <summary>Some damage is harmless; that both happen shows that the cases are neither all nonsense nor all alike.</summary>
    private void AssertBothHappened() =>
        Assert.True(outcomes.GetValueOrDefault("refused") > 50 && outcomes.GetValueOrDefault("read") > 20, string.Join(", ", outcomes));

    /// <summary>The model to be damaged, which is read as it is.</summary>
    private void CopyModel(string name)
    {
        foreach (var file in Directory.GetFiles(Fixtures.Path(name)).Where(file => Path.GetFileName(file) is "config.json" || Path.GetFileName(file).StartsWith("model", StringComparison.Ordinal)))
            folder.Write(Path.GetFileName(file), File.ReadAllBytes(file));
        Try(name, folder.Path);
        Assert.Equal(1, outcomes["read"]);
    }

    /// <summary>A file whose data is a hole: as long as the real one, without a byte on the disk.</summary>
    private void WriteSparse(string name, byte[] head, long data)
    {
        using var stream = new FileStream(folder.File(name), FileMode.Create);
        stream.Write(head);
        stream.SetLength(head.Length + data);
    }
}
