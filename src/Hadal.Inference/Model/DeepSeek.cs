using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Inference.Cache;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Model;

/// <summary>
/// A model of the DeepSeek family: embedding, layers, final norm, head, and the MTP modules where the file has them. It holds views of the checkpoint's
/// memory and nothing that changes, so any number of callers may use it at once, each with a <see cref="ForwardContext"/> of its own.
/// The checkpoint must outlive it.
/// </summary>
/// <remarks>T tokens, D hidden, V vocabulary.</remarks>
public sealed class DeepSeek : ILanguageModel
{
    private readonly WeightMatrix embedding;
    private readonly TransformerLayer[] layers;
    private readonly float[] finalNorm;
    private readonly WeightMatrix head;
    private readonly ScaleKind activationScales;
    private readonly MultiTokenPrediction[] mtp;
    private readonly RotaryEmbedding rotary;
    private readonly long scratchWidth;

    /// <summary>Finds every weight of the model and checks its shape.</summary>
    /// <param name="checkpoint">Open checkpoint.</param>
    /// <param name="dropMtp">Whether to leave the MTP modules out; the main model is the same bit for bit.</param>
    /// <param name="progress">Told the fraction of layers done.</param>
    /// <param name="repacked">Receives copies of the weights in an order that products with 8-bit activations are faster with; null to use them as they are.</param>
    /// <param name="cancellation">Ends the work early.</param>
    /// <exception cref="InvalidDataException">A tensor is missing or has another shape; file, tensor, expected and found are named.</exception>
    public DeepSeek(Checkpoint checkpoint, bool dropMtp = false, IProgress<double>? progress = null, RepackedWeights? repacked = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        Config = checkpoint.Config;
        IsRepacked = repacked is not null;
        var populated = IsRepacked ? Task.CompletedTask : Task.Run(checkpoint.Populate, CancellationToken.None);
        var root = new Weights(checkpoint, string.Empty, repacked);
        embedding = root.Matrix("model.embed_tokens", Config.VocabSize, Config.HiddenSize);
        head = Config.TieWordEmbeddings ? embedding : root.Factor("lm_head", Config.VocabSize, Config.HiddenSize);
        activationScales = root.ActivationScales;
        finalNorm = root.Norm("model.norm", Config.HiddenSize);
        rotary = Positions.Rotary(Config);
        mtp = new MultiTokenPrediction[dropMtp ? 0 : Config.NumNextnPredictLayers];
        layers = new TransformerLayer[Config.NumHiddenLayers];
        for (var i = 0; i < layers.Length + mtp.Length; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            var weights = root.Below($"model.layers.{i}");
            if (i < layers.Length)
                layers[i] = new TransformerLayer(weights, i);
            else
                mtp[i - layers.Length] = new MultiTokenPrediction(weights, i);
            progress?.Report((i + 1.0) / (layers.Length + mtp.Length));
        }

        scratchWidth = layers.Max(static layer => layer.ScratchWidth);
        populated.WaitAsync(cancellation).GetAwaiter().GetResult();
        repacked?.ReleaseCopied();
    }

    /// <summary>What the model is.</summary>
    public ModelConfig Config { get; }

    /// <summary>Whether weights were copied into another order.</summary>
    public bool IsRepacked { get; }

    /// <summary>MTP modules that can be run.</summary>
    public int MtpModules => mtp.Length;

    /// <summary>
    /// Processes a batch and appends it to the caches of its sequences.
    /// </summary>
    /// <param name="batch">Runs of tokens; ids are checked.</param>
    /// <param name="context">Threads, scratch, options; results stay valid until its next use.</param>
    /// <returns>Logits [rows asked for, V] and states.</returns>
    /// <exception cref="ArgumentException">A token id is outside the vocabulary, or the batch is empty.</exception>
    /// <exception cref="ContextOverflowException">A sequence would grow beyond the model's context.</exception>
    /// <exception cref="CacheFullException">The pool has no page left; the caches are as before.</exception>
    public ForwardResult Forward(ForwardBatch batch, ForwardContext context)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(context);
        Prepare(batch);
        var tokens = batch.TokenCount;
        var hidden = context.Scratch.Take(Slot.Hidden, (long)tokens * Config.HiddenSize);
        Embed(embedding, batch.Tokens, hidden);
        context.Probe?.Tensor("embed", -1, hidden);

        // As much as the largest layer needs, at once: memory that grows leaves a smaller piece behind until garbage is collected.
        context.Scratch.Take(Slot.Intermediate, tokens * scratchWidth);
        var angles = new RotaryAngles(rotary, batch, context.Scratch);
        var stream = new ResidualStream(hidden, context);
        foreach (var layer in layers.AsSpan(0, layers.Length - 1))
            layer.Forward(ref stream, batch, angles, context);
        var output = batch;
        if (batch.LogitsOnly && batch.LogitRowSpan.Length < tokens)
        {
            (output, var others) = batch.Split();
            var asked = context.Scratch.Take(Slot.FinalHidden, (long)output.TokenCount * Config.HiddenSize);
            CopyRows(output.SourceRows, stream.Whole(), asked);
            CopyRows(others.SourceRows, hidden, hidden);
            stream = new ResidualStream(hidden[..(others.TokenCount * Config.HiddenSize)], context);
            layers[^1].Fill(ref stream, others, new RotaryAngles(rotary, others, context.Scratch), context);
            hidden = asked;
            stream = new ResidualStream(hidden, context);
            angles = new RotaryAngles(rotary, output, context.Scratch);
        }

        if (!hidden.IsEmpty)
            layers[^1].Forward(ref stream, output, angles, context);
        var normed = context.Scratch.Take(Slot.FinalNormed, hidden.Length);
        stream.Normalize(finalNorm, Config.RmsNormEps, normed);
        context.Probe?.Tensor("normed", -1, normed);
        var logits = Logits(head, normed, output, context);
        batch.Advance();
        return new ForwardResult(logits, hidden, normed);
    }

    /// <summary>
    /// Runs one MTP module over the positions that follow what its own cache rows cover: row i predicts the token after the next one.
    /// </summary>
    /// <param name="module">0-based MTP module.</param>
    /// <param name="batch">The token after each position (t_{i+1}).</param>
    /// <param name="state">[T, D]: of the main model (before or after the final norm, as <see cref="ForwardOptions.MtpInput"/> says) or of the module before.</param>
    /// <param name="context">Threads, scratch, options.</param>
    /// <returns>Logits, the block's output and its normed form.</returns>
    public ForwardResult ForwardMtp(int module, ForwardBatch batch, ReadOnlySpan<float> state, ForwardContext context)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(context);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)module, (uint)mtp.Length, nameof(module));
        if (state.Length != (long)batch.TokenCount * Config.HiddenSize)
            throw new ArgumentException($"{batch.TokenCount} tokens need a state of [{batch.TokenCount}, {Config.HiddenSize}], but it has {state.Length} values");
        Prepare(batch, module);
        var m = mtp[module];
        var count = (long)batch.TokenCount * Config.HiddenSize;
        var embedded = context.Scratch.Take(Slot.Residual, count);
        Embed(m.Embedding.IsEmpty ? embedding : m.Embedding, batch.Tokens, embedded);
        var output = context.Scratch.Take(Slot.MtpHidden, count);
        var normed = context.Scratch.Take(Slot.FinalHidden, count);
        var angles = new RotaryAngles(rotary, batch, context.Scratch);
        m.Forward(embedded, state, output, normed, batch, angles, context);
        var logits = Logits(m.Head.IsEmpty ? head : m.Head, normed, batch, context);
        batch.Advance(module);
        return new ForwardResult(logits, output, normed);
    }

    /// <summary>Runs one layer of the main model on a residual stream given from outside, for verification layer by layer.</summary>
    internal void ForwardLayer(int layer, Span<float> hidden, ForwardBatch batch, ForwardContext context)
    {
        Prepare(batch);
        var stream = new ResidualStream(hidden, context);
        layers[layer].Forward(ref stream, batch, new RotaryAngles(rotary, batch, context.Scratch), context);
        stream.Whole();
    }

    private static void Embed(WeightMatrix table, ReadOnlySpan<int> tokens, Span<float> target)
    {
        for (var t = 0; t < tokens.Length; t++)
            table.DecodeRow(tokens[t], target.Slice(t * table.Cols, table.Cols));
    }

    // Some states, one after the other. The target may be the source: rows are in ascending order, so that they move to the front only.
    private void CopyRows(ReadOnlySpan<int> rows, ReadOnlySpan<float> states, Span<float> target)
    {
        var width = Config.HiddenSize;
        for (var i = 0; i < rows.Length; i++)
            states.Slice(rows[i] * width, width).CopyTo(target[(i * width)..]);
    }

    private void Prepare(ForwardBatch batch, int? mtpModule = null)
    {
        if (batch.TokenCount == 0)
            throw new ArgumentException("the batch is empty", nameof(batch));
        foreach (var token in batch.Tokens)
        {
            if ((uint)token >= (uint)Config.VocabSize)
                throw new ArgumentException($"token id {token} is outside the vocabulary of {Config.VocabSize}", nameof(batch));
        }

        batch.Place(mtpModule);
        foreach (var segment in batch.Segments)
        {
            if (segment.First + (long)segment.Count > Config.MaxPositionEmbeddings)
                throw new ContextOverflowException(segment.First + segment.Count, Config.MaxPositionEmbeddings);
        }

        try
        {
            foreach (var segment in batch.Segments)
                segment.Cache.Reserve(segment.First, segment.First + segment.Count);
        }
        catch (CacheFullException)
        {
            // Pages taken for a pass that cannot be made would be missing elsewhere.
            foreach (var segment in batch.Segments)
                segment.Cache.ReturnUnused();
            throw;
        }
    }

    private Span<float> Logits(WeightMatrix head, ReadOnlySpan<float> normed, ForwardBatch batch, ForwardContext context)
    {
        var rows = batch.LogitRowSpan;
        if (rows.IsEmpty)
            return default;
        var input = context.Scratch.Take(Slot.LogitInput, (long)rows.Length * Config.HiddenSize);
        CopyRows(rows, normed, input);
        var logits = context.Scratch.Take(Slot.Logits, (long)rows.Length * Config.VocabSize);
        new Linear(head, activationScales).Apply(input, logits, rows.Length, context);
        return logits;
    }
}

/// <summary>What a forward pass leaves behind; views of the context's scratch memory, valid until its next use.</summary>
/// <param name="logits">[rows asked for, V].</param>
/// <param name="hidden">[T, D] before the last norm; of the rows asked for alone after <see cref="ForwardBatch.LogitsOnly"/>.</param>
/// <param name="normed">[T, D] after it, likewise.</param>
public readonly ref struct ForwardResult(Span<float> logits, Span<float> hidden, Span<float> normed)
{
    /// <summary>[rows asked for, V].</summary>
    public Span<float> Logits { get; } = logits;

    /// <summary>[T, D]: the residual stream before the last norm.</summary>
    public Span<float> Hidden { get; } = hidden;

    /// <summary>[T, D]: after the last norm, the input of the head.</summary>
    public Span<float> Normed { get; } = normed;

    /// <summary>The state that the first MTP module receives.</summary>
    public Span<float> State(MtpInput input) => input == MtpInput.AfterFinalNorm ? Normed : Hidden;
}

/// <summary>A sequence would grow beyond the context of its model or cache.</summary>
/// <param name="required">Tokens needed.</param>
/// <param name="available">Tokens possible.</param>
public sealed class ContextOverflowException(int required, int available)
    : Exception($"the sequence would have {required} tokens, but the context holds {available}")
{
    /// <summary>Tokens needed.</summary>
    public int Required { get; } = required;

    /// <summary>Tokens possible.</summary>
    public int Available { get; } = available;
}
