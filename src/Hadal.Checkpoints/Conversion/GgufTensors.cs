using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Files;
using Hadal.Checkpoints.Gguf;
using Hadal.Numerics;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Conversion;

/// <summary>One tensor of a GGUF file to be written, and where its values come from.</summary>
/// <param name="Entry">Name, format and shape in the file.</param>
/// <param name="Source">The Hugging Face name of the source, the first one of a stack.</param>
/// <param name="Open">Opens the source; only then is its data touched.</param>
internal sealed record GgufTensorPlan(GgufEntry Entry, string Source, Func<RowSource> Open);

/// <summary>
/// Which tensors a GGUF file holds for a model, in which order, layout and format: stacked experts, the key/value up-projection whole or split, llama's
/// query and key rows permuted to interleaved pairs.
/// </summary>
/// <remarks>
/// Facts from conversion/deepseek.py and conversion/llama.py (layouts) and src/llama-quant.cpp (formats) of ggml-org/llama.cpp.
/// Shape letters: D hidden, V vocabulary, H heads, C latent, N and R unrotated and rotated key width, U value width, Q query rank, E experts, F expert
/// width, I dense width.
/// </remarks>
internal sealed class GgufTensors
{
    private const string Router = "mlp.gate.weight";

    private readonly Checkpoint source;
    private readonly ModelConfig config;
    private readonly GgufConversionOptions options;
    private readonly Dictionary<string, WeightFormat> stored;
    private readonly List<GgufTensorPlan> plans = [];

    private GgufTensors(Checkpoint source, GgufConversionOptions options)
    {
        this.source = source;
        config = source.Config;
        this.options = options;
        stored = source.Tensors.ToDictionary(tensor => tensor.Name, tensor => tensor.Format, StringComparer.Ordinal);
    }

    /// <summary>The tensors of the file.</summary>
    /// <param name="source">The model.</param>
    /// <param name="options">What to make of it.</param>
    /// <param name="nextn">MTP modules to write.</param>
    public static IReadOnlyList<GgufTensorPlan> Plan(Checkpoint source, GgufConversionOptions options, int nextn)
    {
        var tensors = new GgufTensors(source, options);
        tensors.PlanAll(nextn);
        return tensors.plans;
    }

    private void PlanAll(int nextn)
    {
        Matrix(NextnLayers.Embedding, config.VocabSize, config.HiddenSize, isHead: config.TieWordEmbeddings);
        for (var layer = 0; layer < config.NumHiddenLayers + nextn; layer++)
            PlanLayer(layer, $"model.layers.{layer}.");
        Vector("model.norm.weight", config.HiddenSize);
        if (!config.TieWordEmbeddings)
            Matrix(NextnLayers.Head, config.VocabSize, config.HiddenSize, isHead: true);
    }

    private void PlanLayer(int layer, string prefix)
    {
        Vector(prefix + "input_layernorm.weight", config.HiddenSize);
        if (config.IsLatentAttention)
            PlanLatentAttention(prefix + "self_attn.");
        else
            PlanGroupedAttention(prefix + "self_attn.");
        Vector(prefix + "post_attention_layernorm.weight", config.HiddenSize);
        if (!config.IsMoeLayer(layer))
            PlanMlp(prefix + "mlp.", config.IntermediateSize);
        else
            PlanExperts(layer, prefix + "mlp.");
        if (layer >= config.NumHiddenLayers)
            PlanNextn(prefix);
    }

    private void PlanGroupedAttention(string prefix)
    {
        void Permuted(string name, int heads)
        {
            var (rows, half) = (heads * config.HeadDim, config.HeadDim / 2);
            if (config.RopeInterleaved)
            {
                Matrix(prefix + name, rows, config.HiddenSize);
                return;
            }

            // Row 2i + j of a head in pairs is row j * half + i of the head in halves.
            int RowOf(int row) => row - (row % config.HeadDim) + (row % 2 * half) + (row % config.HeadDim / 2);
            Add(prefix + name, [rows, config.HiddenSize], () => new SelectedRows(source.Matrix(prefix + name, rows, config.HiddenSize), rows, RowOf));
        }

        Permuted("q_proj.weight", config.NumAttentionHeads);
        Permuted("k_proj.weight", config.NumKeyValueHeads);
        Matrix(prefix + "v_proj.weight", config.NumKeyValueHeads * config.HeadDim, config.HiddenSize);
        Matrix(prefix + "o_proj.weight", config.HiddenSize, config.NumAttentionHeads * config.HeadDim);
    }

    private void PlanLatentAttention(string prefix)
    {
        var queryRows = config.NumAttentionHeads * (config.QkNopeHeadDim + config.QkRopeHeadDim);
        if (config.QLoraRank is { } rank)
        {
            Matrix(prefix + "q_a_proj.weight", rank, config.HiddenSize);
            Vector(prefix + "q_a_layernorm.weight", rank);
            Matrix(prefix + "q_b_proj.weight", queryRows, rank);
        }
        else
        {
            Matrix(prefix + "q_proj.weight", queryRows, config.HiddenSize);
        }

        Matrix(prefix + "kv_a_proj_with_mqa.weight", config.KvLoraRank + config.QkRopeHeadDim, config.HiddenSize);
        Vector(prefix + "kv_a_layernorm.weight", config.KvLoraRank);
        PlanUpProjection(prefix);
        Matrix(prefix + "o_proj.weight", config.HiddenSize, config.NumAttentionHeads * config.VHeadDim);
    }

    private void PlanUpProjection(string prefix)
    {
        var (heads, latent, nope, width) = (config.NumAttentionHeads, config.KvLoraRank, config.QkNopeHeadDim, config.VHeadDim);
        var (whole, key, value) = (prefix + "kv_b_proj.weight", prefix + "k_b_proj.weight", prefix + "v_b_proj.weight");
        var sourceSplit = !stored.ContainsKey(whole) && stored.ContainsKey(key);
        WeightMatrix Whole() => source.Matrix(whole, heads * (nope + width), latent);
        WeightMatrix Key() => source.Matrix(key, heads * latent, nope);
        WeightMatrix Value() => source.Matrix(value, heads * width, latent);

        if (!options.SplitUpProjection)
        {
            Add(whole, [heads * (nope + width), latent], () => sourceSplit ? new JoinedKeyValueRows(Key(), Value(), heads) : new StackedRows(Whole()), sourceSplit ? value : whole);
            return;
        }

        Add(key, [heads, latent, nope], () => sourceSplit ? new StackedRows(Key()) : new TransposedKeyRows(Whole(), heads, nope), sourceSplit ? key : whole);
        Add(
            value,
            [heads, width, latent],
            () => sourceSplit ? new StackedRows(Value()) : new SelectedRows(Whole(), heads * width, row => ((row / width) * (nope + width)) + nope + (row % width)),
            sourceSplit ? value : whole);
    }

    private void PlanExperts(int layer, string prefix)
    {
        var (experts, width) = (config.NRoutedExperts, config.MoeIntermediateSize);
        Add(prefix + "gate.weight", [experts, config.HiddenSize], () => new StackedRows(source.Matrix(prefix + "gate.weight", experts, config.HiddenSize)));
        var bias = prefix + "gate.e_score_correction_bias";
        if (config.TopkMethod == TopkMethod.NoauxTc)
            Vector(bias, experts);
        foreach (var (gguf, projection) in GgufNames.ExpertStacks)
        {
            var (rows, cols) = projection == "down_proj" ? (config.HiddenSize, width) : (width, config.HiddenSize);
            string NameOf(int e) => $"{prefix}experts.{e}.{projection}.weight";
            RowSource Open() => new StackedRows([.. Enumerable.Range(0, experts).Select(e => source.Matrix(NameOf(e), rows, cols))]);
            plans.Add(new GgufTensorPlan(new GgufEntry($"{GgufNames.Block}{layer}.{gguf}", FormatOf(cols, NameOf(0)), [experts, rows, cols]), NameOf(0), Open));
        }

        if (config.NSharedExperts > 0)
            PlanMlp(prefix + "shared_experts.", width * config.NSharedExperts);
    }

    private void PlanMlp(string prefix, int width)
    {
        Matrix(prefix + "gate_proj.weight", width, config.HiddenSize);
        Matrix(prefix + "up_proj.weight", width, config.HiddenSize);
        Matrix(prefix + "down_proj.weight", config.HiddenSize, width);
    }

    private void PlanNextn(string prefix)
    {
        Matrix(prefix + "eh_proj.weight", config.HiddenSize, 2 * config.HiddenSize);
        Vector(prefix + "enorm.weight", config.HiddenSize);
        Vector(prefix + "hnorm.weight", config.HiddenSize);
        Vector(prefix + "shared_head.norm.weight", config.HiddenSize);

        // Where the module has no copies of these, readers take the main model's.
        if (stored.ContainsKey(prefix + "embed_tokens.weight"))
            Matrix(prefix + "embed_tokens.weight", config.VocabSize, config.HiddenSize);
        if (stored.ContainsKey(prefix + "shared_head.head.weight"))
            Matrix(prefix + "shared_head.head.weight", config.VocabSize, config.HiddenSize, isHead: true);
    }

    private void Matrix(string name, int rows, int cols, bool isHead = false) =>
        Add(name, [rows, cols], () => new StackedRows(source.Matrix(name, rows, cols)), isHead: isHead);

    private void Vector(string name, int length) => Add(name, [length], () => new VectorRow(source.Vector(name, length)));

    private void Add(string name, long[] shape, Func<RowSource> open, string? from = null, bool isHead = false)
    {
        // Vectors and the router decide much and weigh little: they stay float32 in every file type.
        var format = shape.Length == 1 || name.EndsWith(Router, StringComparison.Ordinal) ? WeightFormat.F32 : FormatOf(shape[^1], from ?? name, isHead);
        plans.Add(new GgufTensorPlan(new GgufEntry(GgufNames.GgufName(name)!, format, shape), from ?? name, open));
    }

    /// <summary>
    /// The format of a matrix: that of its source where types are kept; else the one asked for, except that the head is kept at 6 bits or more, and that rows which are no whole number of blocks take
    /// the nearest format with shorter blocks, as in llama.cpp.
    /// </summary>
    private WeightFormat FormatOf(long cols, string from, bool isHead = false)
    {
        if (options.Type is not { } format)
        {
            format = stored[from];
            return format == WeightFormat.F8_E4M3 ? throw BadFile.Tensor(source.Path, from, "expected a format that GGUF has, found F8_E4M3")
                : cols % WeightFormats.BlockLength(format) == 0 ? format
                : WeightFormat.F16;
        }

        if (isHead && format is WeightFormat.Q4_0 or WeightFormat.Q4_K or WeightFormat.Q5_K)
            format = WeightFormat.Q6_K;
        if (cols % WeightFormats.BlockLength(format) != 0)
        {
            format = format switch
            {
                WeightFormat.Q4_K => WeightFormat.Q5_0,
                WeightFormat.Q5_K => WeightFormat.Q5_1,
                WeightFormat.Q6_K => WeightFormat.Q8_0,
                _ => format,
            };
        }

        return cols % WeightFormats.BlockLength(format) == 0 ? format : WeightFormat.F16;
    }
}
