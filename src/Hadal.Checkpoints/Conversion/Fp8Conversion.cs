using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Hadal.Checkpoints.Files;
using Hadal.Checkpoints.Safetensors;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Checkpoints.Conversion;

/// <summary>How to write an FP8 folder.</summary>
public sealed record Fp8ConversionOptions
{
    /// <summary>Whether scales are powers of two (<c>scale_fmt: ue8m0</c>, DeepSeek-V3.1) rather than any float32 (V3).</summary>
    public bool PowerOfTwoScales { get; init; }

    /// <summary>Bytes a file of weights should not exceed; one tensor may.</summary>
    public long ShardBytes { get; init; } = 4_500_000_000;
}

/// <summary>
/// Writes a model folder of F32, F16 or BF16 weights as DeepSeek publishes its models: linear layers as F8_E4M3 with a float32 scale for each block of
/// 128x128 (<c>weight_scale_inv</c>); embedding, head, norms, router, eh_proj and shared_head as they are (README_WEIGHTS of deepseek-ai/DeepSeek-V3).
/// </summary>
public static partial class Fp8Conversion
{
    private const long LargestCopiedFile = 64 << 20;

    private static readonly string[] WeightExtensions = [".safetensors", ".bin", ".gguf", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx"];
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes a folder.</summary>
    /// <param name="source">The model; a folder of safetensors.</param>
    /// <param name="path">Where the folder shall be; nothing is overwritten.</param>
    /// <param name="options">How.</param>
    /// <param name="threads">The pool to encode with.</param>
    /// <param name="progress">Told after every tensor.</param>
    /// <param name="cancellation">Ends the work; nothing is left behind.</param>
    /// <exception cref="IOException">The folder exists, cannot be written, or would not fit the disk.</exception>
    /// <exception cref="InvalidDataException">The source is no such folder, or is wrong.</exception>
    public static ConversionReport Run(
        Checkpoint source,
        string path,
        Fp8ConversionOptions options,
        KernelThreads threads,
        IProgress<ConversionProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(options);
        if (source is not SafetensorsCheckpoint)
            throw BadFile.Error(source.Path, "expected a model folder of safetensors to make an FP8 folder of, found a GGUF file");
        if (source.Config.Fp8Weights || source.Tensors.Any(tensor => tensor.Format == WeightFormat.F8_E4M3))
            throw BadFile.Error(source.Path, "expected F32, F16 or BF16 weights, found FP8 already");
        NewFile.RefuseToOverwrite(path);
        var shards = Fp8Shards.Plan(source.Tensors, options.ShardBytes, IsQuantized);
        NewFile.RequireSpace(path, shards.Sum(shard => shard.ByteLength));

        // Written beside and renamed at the end, like a file.
        var beside = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)) + ".partial";
        NewFile.RefuseToOverwrite(beside);
        Directory.CreateDirectory(beside);
        try
        {
            var report = new Fp8Writer(source, options, threads, progress, cancellation).WriteShards(beside, shards);
            WriteConfig(source.Path, beside, options);
            var skipped = CopyOthers(source.Path, beside);
            Directory.Move(beside, path);
            return report with { Path = path, Notes = [.. report.Notes, .. skipped] };
        }
        catch
        {
            Directory.Delete(beside, recursive: true);
            throw;
        }
    }

    /// <summary>Whether the release stores a tensor as FP8: every linear layer of a transformer block except the router.</summary>
    internal static bool IsQuantized(string name) => LinearLayer().IsMatch(name);

    [GeneratedRegex(@"^model\.layers\.\d+\.(self_attn\.\w+_proj(_with_mqa)?|mlp\.(shared_experts\.|experts\.\d+\.)?(gate|up|down)_proj)\.weight$")]
    private static partial Regex LinearLayer();

    private static void WriteConfig(string source, string target, Fp8ConversionOptions options)
    {
        var config = JsonNode.Parse(File.ReadAllBytes(Path.Combine(source, SafetensorsCheckpoint.ConfigName)))!.AsObject();
        var quantization = new JsonObject
        {
            ["activation_scheme"] = "dynamic",
            ["fmt"] = "e4m3",
            ["quant_method"] = "fp8",
            ["weight_block_size"] = new JsonArray(Fp8Blocks.Size, Fp8Blocks.Size),
        };
        if (options.PowerOfTwoScales)
            quantization["scale_fmt"] = "ue8m0";
        config["quantization_config"] = quantization;
        File.WriteAllText(Path.Combine(target, SafetensorsCheckpoint.ConfigName), config.ToJsonString(Indented) + "\n");
    }

    /// <summary>Copies tokenizer, chat template, licence and whatever else is small; returns what was not copied and why.</summary>
    private static List<string> CopyOthers(string source, string target)
    {
        var notes = new List<string>();
        foreach (var file in new DirectoryInfo(source).EnumerateFiles().OrderBy(file => file.Name, StringComparer.Ordinal))
        {
            var weights = WeightExtensions.Contains(file.Extension, StringComparer.OrdinalIgnoreCase) || file.Name.EndsWith(".index.json", StringComparison.Ordinal);
            if (weights || file.Name == SafetensorsCheckpoint.ConfigName || file.Name.StartsWith('.'))
                continue;
            if (file.Length > LargestCopiedFile)
                notes.Add($"{file.Name} is not copied: it has {file.Length} bytes.");
            else
                file.CopyTo(Path.Combine(target, file.Name));
        }

        return notes;
    }
}
