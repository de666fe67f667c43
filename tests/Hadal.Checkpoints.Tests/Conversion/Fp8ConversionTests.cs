using System.Text.Json.Nodes;
using Hadal.Checkpoints.Conversion;
using Hadal.Checkpoints.Safetensors;
using Hadal.Checkpoints.Tests.Files;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Checkpoints.Tests.Conversion;

public sealed class Fp8ConversionTests : IDisposable
{
    private readonly TempFolder folder = new();
    private readonly KernelThreads threads = new(2);

    public void Dispose()
    {
        threads.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void The_folder_is_the_fixtures_bit_for_bit()
    {
        using var source = Checkpoint.Open(Fixtures.Path("tiny-v3"));
        var report = Run(source, new Fp8ConversionOptions());
        using var expected = SafetensorsFile.Open(Path.Combine(Fixtures.Path("tiny-v3-fp8"), "model.safetensors"));
        using var written = SafetensorsFile.Open(folder.File("out/model.safetensors"));
        Assert.Equal(expected.Tensors.Keys.Order(StringComparer.Ordinal), written.Tensors.Keys.Order(StringComparer.Ordinal));
        foreach (var (name, tensor) in expected.Tensors)
        {
            Assert.Equal(tensor.Dtype, written.Tensors[name].Dtype);
            Assert.Equal(tensor.Shape, written.Tensors[name].Shape);
            Assert.True(expected.Bytes(name).SequenceEqual(written.Bytes(name)), name);
        }

        Assert.Equal("pt", written.Metadata["format"]);
        Assert.Equal(source.Tensors.Count, report.Tensors.Count);
        var linear = report.Tensors.Where(t => t.Target == WeightFormat.F8_E4M3).ToList();
        Assert.All(linear, tensor => Assert.InRange(tensor.RelativeRmsError, 0.02, 0.035)); // 3 mantissa bits: about 2^-4 / sqrt(3) of a value.
        Assert.All(linear, tensor => Assert.InRange(tensor.CalcDiff, 2e-4, 7e-4));
        Assert.All(report.Tensors.Except(linear), tensor => Assert.Equal((0, 0), (tensor.MaxAbsoluteError, tensor.CalcDiff)));
        using var reopened = Checkpoint.Open(folder.File("out"));
        Assert.Equivalent(source.Config with { Fp8Weights = true }, reopened.Config, strict: true);
        var config = JsonNode.Parse(File.ReadAllText(folder.File("out/config.json")))!.AsObject();
        var original = JsonNode.Parse(File.ReadAllText(Path.Combine(Fixtures.Path("tiny-v3-fp8"), "config.json")))!;
        Assert.True(JsonNode.DeepEquals(original, config), config.ToJsonString());
    }

    [Fact]
    public void Large_models_are_sharded_and_the_rest_of_the_folder_comes_along()
    {
        var model = Directory.CreateDirectory(folder.File("model")).FullName;
        foreach (var file in Directory.GetFiles(Fixtures.Path("tiny-v2")))
            File.Copy(file, Path.Combine(model, Path.GetFileName(file)));
        File.WriteAllText(Path.Combine(model, "tokenizer_config.json"), "{}");
        File.WriteAllText(Path.Combine(model, "LICENSE"), "free");
        File.WriteAllText(Path.Combine(model, ".hidden"), string.Empty);
        using var source = Checkpoint.Open(model);
        Run(source, new Fp8ConversionOptions { ShardBytes = 700_000 });
        var names = Directory.GetFiles(folder.File("out")).Select(file => Path.GetFileName(file)!).Order(StringComparer.Ordinal).ToList();
        Assert.Contains("LICENSE", names);
        Assert.Contains("tokenizer_config.json", names);
        Assert.Contains("model.safetensors.index.json", names);
        Assert.DoesNotContain(".hidden", names);
        Assert.DoesNotContain("expected.safetensors", names);
        var shards = names.Where(name => name.EndsWith(".safetensors", StringComparison.Ordinal)).ToList();
        Assert.True(shards.Count > 3, string.Join(' ', names));
        Assert.All(shards, shard => Assert.EndsWith($"-of-{shards.Count:D6}.safetensors", shard, StringComparison.Ordinal));
        Assert.All(shards.SkipLast(1), shard => Assert.InRange(new FileInfo(folder.File($"out/{shard}")).Length, 100_000, 720_000));
        using var written = Checkpoint.Open(folder.File("out"));
        Assert.Equal(source.Tensors.Select(t => t.Name), written.Tensors.Select(t => t.Name));
        foreach (var (name, rows, cols) in Fixtures.Needed(source.Config).Where(need => need.Cols > 0))
        {
            var linear = name.Contains("_proj", StringComparison.Ordinal);
            Assert.Equal(linear ? WeightFormat.F8_E4M3 : WeightFormat.BF16, written.Matrix(name, rows, cols).Format);
        }
    }

    [Fact]
    public void Power_of_two_scales_are_powers_of_two_and_said()
    {
        using var source = Checkpoint.Open(Fixtures.Path("tiny-dense-mha"));
        Run(source, new Fp8ConversionOptions { PowerOfTwoScales = true });
        using var written = Checkpoint.Open(folder.File("out"));
        Assert.True(written.Config.Ue8m0ActivationScales);
        using var file = SafetensorsFile.Open(folder.File("out/model.safetensors"));
        foreach (var scale in file.Tensors.Keys.Where(name => name.EndsWith("_scale_inv", StringComparison.Ordinal)).SelectMany(file.ReadSingles))
            Assert.True(float.IsPow2(scale), $"{scale}");
    }

    [Fact]
    public void What_cannot_be_converted_is_refused_and_nothing_is_left_behind()
    {
        using var fp8 = Checkpoint.Open(Fixtures.Path("tiny-v3-fp8"));
        Assert.Contains("found FP8 already", Assert.Throws<InvalidDataException>(() => Run(fp8, new Fp8ConversionOptions())).Message, StringComparison.Ordinal);
        using var dense = Checkpoint.Open(Fixtures.Path("tiny-dense-mha"));
        GgufConversion.Run(dense, folder.File("a.gguf"), new GgufConversionOptions { Type = WeightFormat.F16 }, threads, null, TestContext.Current.CancellationToken);
        using (var gguf = Checkpoint.Open(folder.File("a.gguf")))
            Assert.Contains("found a GGUF file", Assert.Throws<InvalidDataException>(() => Run(gguf, new Fp8ConversionOptions())).Message, StringComparison.Ordinal);
        Assert.Throws<OperationCanceledException>(() => Fp8Conversion.Run(dense, folder.File("out"), new Fp8ConversionOptions(), threads, null, new CancellationToken(canceled: true)));
        Assert.Equal([folder.File("a.gguf")], Directory.GetFileSystemEntries(folder.Path));
        Directory.CreateDirectory(folder.File("out"));
        Assert.Contains("exists already", Assert.Throws<IOException>(() => Run(dense, new Fp8ConversionOptions())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Weights_that_are_no_numbers_are_refused_by_name()
    {
        folder.Write("config.json", """
            { "architectures": ["LlamaForCausalLM"], "vocab_size": 2, "hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1 }
            """);
        var bytes = new byte[16];
        BitConverter.TryWriteBytes(bytes.AsSpan(8), float.NaN);
        SafetensorsWriter.WriteAll(folder.File("model.safetensors"), [(new("model.layers.0.self_attn.q_proj.weight", SafetensorsDtype.F32, [2, 2]), bytes)]);
        using var source = Checkpoint.Open(folder.Path);
        Assert.Contains("q_proj.weight: expected finite weights", Assert.Throws<InvalidDataException>(() => Run(source, new Fp8ConversionOptions())).Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder.File("out.partial")));
    }

    private ConversionReport Run(Checkpoint source, Fp8ConversionOptions options) =>
        Fp8Conversion.Run(source, folder.File("out"), options, threads, null, TestContext.Current.CancellationToken);
}
