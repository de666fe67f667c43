using Hadal.Checkpoints.Config;
using System.Diagnostics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Model;

/// <summary>
/// Multi-head latent attention (MLA): keys and values are up-projections of one small latent per token, which is all that is cached, beside one rotary key
/// shared by all heads. DeepSeek-V2 report section 2.1 and appendix C; DeepSeek-V3 report equations 1-11.
/// </summary>
/// <remarks>
/// T tokens, D hidden, H heads, Q q_lora_rank, C kv_lora_rank, N qk_nope, R qk_rope, U v_head_dim.
/// Query heads are [nope (N) | rope (R)], the compressed row is [c_kv (C) | k_rope (R)], kv_b_proj is per head [k_nope (N) | v (U)].
/// </remarks>
internal sealed class LatentAttention : IAttention
{
    private readonly LatentAttentionShape shape;
    private readonly double epsilon;
    private readonly Linear? queryDown;
    private readonly float[] queryNorm = [];
    private readonly Linear queryUp;
    private readonly Linear keyValueDown;
    private readonly float[] keyValueNorm;
    private readonly KeyValueUp keyValueUp;
    private readonly ScaleKind? upScales;
    private readonly Linear outputProjection;

    public LatentAttention(Weights weights)
    {
        var config = weights.Config;
        shape = new LatentAttentionShape(
            config.NumAttentionHeads, config.QkNopeHeadDim, config.QkRopeHeadDim, config.KvLoraRank, config.VHeadDim, Positions.SoftmaxScale(config));
        epsilon = config.RmsNormEps;
        var (h, n, r, c, u, _) = shape;
        if (config.QLoraRank is { } q)
        {
            queryDown = weights.Linear("q_a_proj", q, config.HiddenSize);
            queryNorm = weights.Norm("q_a_layernorm", q);
            queryUp = weights.Linear("q_b_proj", h * (n + r), q);
        }
        else
        {
            queryUp = weights.Linear("q_proj", h * (n + r), config.HiddenSize);
        }

        keyValueDown = weights.Linear("kv_a_proj_with_mqa", c + r, config.HiddenSize);
        keyValueNorm = weights.Norm("kv_a_layernorm", c);
        if (weights.Contains("k_b_proj"))
        {
            keyValueUp = KeyValueUp.Split(weights.Factor("k_b_proj", h * c, n), weights.Factor("v_b_proj", h * u, c), c, u);
        }
        else
        {
            var up = weights.Factor("kv_b_proj", h * (n + u), c);
            keyValueUp = KeyValueUp.Shared(up, n, u);
            upScales = up.Format == WeightFormat.F8_E4M3 ? weights.ActivationScales : null;
        }

        outputProjection = weights.Linear("o_proj", config.HiddenSize, h * u);
    }

    /// <inheritdoc/>
    public long ScratchWidth => (queryDown?.Outputs ?? 0L) + queryUp.Outputs + keyValueDown.Outputs + outputProjection.Weight.Cols;

    /// <inheritdoc/>
    public int QuantizedBlock(ForwardContext context) => Linear.QuantizedBlock((queryDown ?? queryUp).Weight, context);

    /// <inheritdoc/>
    public void Forward(Activations x, Span<float> output, int layer, ForwardBatch batch, in RotaryAngles angles, ForwardContext context)
    {
        var (h, n, r, c, u, _) = shape;
        var tokens = batch.TokenCount;
        var scratch = context.Scratch;

        // Query (or its latent) and compressed row come from the same input.
        var first = queryDown ?? queryUp;
        var memory = scratch.Take(Slot.Intermediate, tokens * ScratchWidth);
        var firstCount = tokens * first.Outputs;
        var projected = memory[..(firstCount + (tokens * (c + r)))];
        var heads_THU = memory[^(tokens * h * u)..];
        Linear.Apply([new Product(first.Weight, 0, tokens, 0), new Product(keyValueDown.Weight, 0, tokens, firstCount)], first.ActivationScales, x, [], projected, context);
        var query_THNR = projected[..firstCount];
        var row_TCR = projected[firstCount..];
        if (queryDown is not null)
        {
            var latent_TQ = query_THNR;
            RmsNorm.Apply(latent_TQ, queryNorm, latent_TQ, epsilon);
            query_THNR = memory.Slice(projected.Length, tokens * h * (n + r));
            queryUp.Apply(latent_TQ, query_THNR, tokens, context);
        }

        for (var t = 0; t < tokens; t++)
        {
            for (var head = 0; head < h; head++)
                angles.Rotate(query_THNR.Slice((((t * h) + head) * (n + r)) + n, r), t);
        }

        Write(row_TCR, layer, batch, angles);
        var up = keyValueUp with { Integer = context.Options.HasIntegerActivations };
        var segments = scratch.TakeSegments(batch.Segments.Length);
        for (var i = 0; i < segments.Length; i++)
        {
            var segment = batch.Segments[i];
            segments[i] = new AttentionSegment(segment.Cache.Pages(layer), segment.Start, segment.Count, segment.First);
        }

        var start = Stopwatch.GetTimestamp();
        if (context.Options.Attention == AttentionForm.Absorb)
        {
            var workspace = scratch.Take(Slot.Workspace, AttentionKernel.AbsorbedWorkspace(shape, segments));
            AttentionKernel.Absorbed(shape, query_THNR, up, segments, heads_THU, workspace, context.Threads, AttentionKernel.OperandsFor(segments[0].Cache.Format));
        }
        else
        {
            // The official code quantises the input of kv_b_proj in the naive form and dequantises the weight in the absorbed one.
            var quantized = context.Options.Activations == ActivationPrecision.Fp8 ? upScales : null;
            foreach (var segment in segments)
            {
                AttentionKernel.Naive(
                    shape, query_THNR.Slice(segment.Start * h * (n + r), segment.Count * h * (n + r)), up, quantized, segment.Cache, segment.First,
                    heads_THU.Slice(segment.Start * h * u, segment.Count * h * u), segment.Count, context.Threads);
            }
        }

        context.AttentionTicks += Stopwatch.GetTimestamp() - start;
        outputProjection.Apply(heads_THU, output, tokens, context);
    }

    /// <inheritdoc/>
    public void Fill(Activations x, int layer, ForwardBatch batch, in RotaryAngles angles, ForwardContext context)
    {
        var row_TCR = context.Scratch.Take(Slot.Intermediate, (long)batch.TokenCount * keyValueDown.Outputs);
        keyValueDown.Apply(x, row_TCR, batch.TokenCount, context);
        Write(row_TCR, layer, batch, angles);
    }

    // Norm and rotation, then into the caches.
    private void Write(Span<float> row_TCR, int layer, ForwardBatch batch, in RotaryAngles angles)
    {
        var (c, width) = (shape.C, shape.C + shape.R);
        foreach (var segment in batch.Segments)
        {
            var cache = segment.Cache.Pages(layer);
            for (var t = 0; t < segment.Count; t++)
            {
                var row = row_TCR.Slice((segment.Start + t) * width, width);
                RmsNorm.Apply(row[..c], keyValueNorm, row[..c], epsilon);
                angles.Rotate(row[c..], segment.Start + t);
                cache.Write(segment.First + t, row);
            }
        }
    }
}
