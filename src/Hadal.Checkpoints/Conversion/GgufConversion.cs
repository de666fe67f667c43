using Hadal.Checkpoints.Files;
using Hadal.Checkpoints.Gguf;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Checkpoints.Conversion;

/// <summary>What kind of GGUF file to write.</summary>
public sealed record GgufConversionOptions
{
    /// <summary>Format of the matrices: F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q5_K or Q6_K; null keeps each as the source has it.</summary>
    public required WeightFormat? Type { get; init; }

    /// <summary>
    /// Whether the key/value up-projection is stored as attn_k_b and attn_v_b, as llama.cpp's converter has done since April 2025, or whole as attn_kv_b,
    /// which ik_llama.cpp and older versions want.
    /// </summary>
    public bool SplitUpProjection { get; init; } = true;

    /// <summary>
    /// Whether MTP modules are written (blk.N.nextn.*). llama.cpp reads them for deepseek2 since August 2026; older versions and ik_llama.cpp refuse such a file.
    /// </summary>
    public bool IncludeMtp { get; init; } = true;

    /// <summary>general.name; by default the name of the source folder or file.</summary>
    public string? Name { get; init; }
}

/// <summary>Writes any readable checkpoint as a GGUF file that llama.cpp loads, tensor by tensor, with bounded memory.</summary>
public static class GgufConversion
{
    /// <summary>The types of a file and the number llama.cpp gives each (<c>enum llama_ftype</c> of llama.h).</summary>
    private static readonly Dictionary<WeightFormat, int> FileTypes = new()
    {
        [WeightFormat.F32] = 0,
        [WeightFormat.F16] = 1,
        [WeightFormat.Q4_0] = 2,
        [WeightFormat.Q8_0] = 7,
        [WeightFormat.Q4_K] = 14,
        [WeightFormat.Q5_K] = 16,
        [WeightFormat.Q6_K] = 18,
        [WeightFormat.BF16] = 32,
    };

    /// <summary>The values that <see cref="GgufConversionOptions.Type"/> may have.</summary>
    public static IReadOnlyCollection<WeightFormat> Types => FileTypes.Keys;

    /// <summary>Writes a file.</summary>
    /// <param name="source">The model.</param>
    /// <param name="path">Where the file shall be; nothing is overwritten.</param>
    /// <param name="options">What kind of file.</param>
    /// <param name="threads">The pool to encode with.</param>
    /// <param name="progress">Told after every tensor.</param>
    /// <param name="cancellation">Ends the work; nothing is left behind.</param>
    /// <exception cref="IOException">The file exists, cannot be written, or would not fit the disk.</exception>
    /// <exception cref="InvalidDataException">The source is wrong, or GGUF cannot say what it is.</exception>
    public static ConversionReport Run(
        Checkpoint source,
        string path,
        GgufConversionOptions options,
        KernelThreads threads,
        IProgress<ConversionProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(options);
        var type = options.Type ?? source.Tensors.GroupBy(t => t.Format).MaxBy(g => g.Sum(t => t.ByteLength))!.Key;
        if (!FileTypes.TryGetValue(type, out var fileType) && options.Type is not null)
            throw new ArgumentException($"a GGUF file of type {options.Type}; expected {string.Join(", ", FileTypes.Keys)}", nameof(options));
        NewFile.RefuseToOverwrite(path);

        var notes = new List<string>();
        var nextn = options.IncludeMtp ? source.Config.NumNextnPredictLayers : 0;
        var plans = GgufTensors.Plan(source, options, nextn);
        var metadata = Metadata(source, options, fileType, nextn, notes);
        var total = plans.Sum(plan => plan.Entry.ByteLength);
        NewFile.RequireSpace(path, total);

        var formats = source.Tensors.ToDictionary(tensor => tensor.Name, tensor => tensor.Format, StringComparer.Ordinal);
        var encoder = new GroupEncoder(threads);
        var reports = new List<TensorReport>(plans.Count);
        var done = 0L;
        using var writer = new GgufWriter(path, metadata, [.. plans.Select(plan => plan.Entry)]);
        foreach (var plan in plans)
        {
            var rows = plan.Open();
            var error = options.Type is null && rows.TryCopy(plan.Entry.Format, writer.Write, cancellation)
                ? default
                : encoder.Encode(rows, plan.Entry.Format, (source.Path, plan.Source), writer.Write, cancellation);
            reports.Add(new TensorReport(
                plan.Entry.Name,
                formats.GetValueOrDefault(plan.Source, WeightFormat.F32),
                plan.Entry.Format,
                plan.Entry.Shape,
                plan.Entry.ByteLength,
                error.MaxAbsolute,
                error.RelativeRms,
                error.CalcDiff));
            done += plan.Entry.ByteLength;
            progress?.Report(new ConversionProgress(reports[^1], reports.Count, plans.Count, done, total));
        }

        writer.Complete();
        return new ConversionReport(path, reports, total, notes);
    }

    private static GgufMetadataBuilder Metadata(Checkpoint source, GgufConversionOptions options, int fileType, int nextn, List<string> notes)
    {
        var metadata = new GgufMetadataBuilder();
        metadata.Add(GgufKeys.Architecture, GgufConfigWriter.ArchitectureName(source.Config));
        metadata.Add("general.type", "model");
        metadata.Add("general.name", options.Name ?? (source as GgufCheckpoint)?.Metadata.GetString("general.name") ?? Path.GetFileName(Path.GetFullPath(source.Path)));
        metadata.Add("general.file_type", fileType);
        metadata.Add("general.quantization_version", 2);
        GgufConfigWriter.Write(metadata, source.Config, source.Path, options.SplitUpProjection, nextn);
        GgufVocabulary.Write(metadata, source, notes);
        if (nextn > 0)
            notes.Add($"The file holds {nextn} MTP module{(nextn == 1 ? string.Empty : "s")} (blk.{source.Config.NumHiddenLayers}.nextn.*): llama.cpp before August 2026 and ik_llama.cpp refuse it; write it without MTP for them.");
        else if (source.Config.NumNextnPredictLayers > 0)
            notes.Add("The MTP modules of the source are left out.");
        return metadata;
    }
}
