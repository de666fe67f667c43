using Hadal.Checkpoints.Config;
using Hadal.Inference.Model;
using Hadal.Inference.Sampling;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Tests.Engine;

/// <summary>
/// A model whose state is a hash of the tokens so far, kept in the cache: row i holds the hash up to token i, computed from row i - 1. A row that is wrong
/// or missing changes every logit after it. Its MTP module guesses right about two times out of three, and refuses to run on a wrong cache of its own.
/// </summary>
internal sealed class ScriptedModel(int mtpModules = 1) : ILanguageModel
{
    public const int Eos = 0;
    public const int Vocabulary = 16;

    private float[] logits = new float[Vocabulary];
    private float[] states = new float[2];

    /// <summary>Called before each pass of the main model.</summary>
    public Action<ForwardBatch>? BeforeForward { get; init; }

    public ModelConfig Config { get; } = new()
    {
        Architecture = Architecture.Llama,
        VocabSize = Vocabulary,
        HiddenSize = 2,
        IntermediateSize = 2,
        NumHiddenLayers = 1,
        NumAttentionHeads = 1,
        NumKeyValueHeads = 1,
        HeadDim = 1,
        NumNextnPredictLayers = mtpModules,
        RmsNormEps = 1e-6,
        RopeTheta = 1e4,
        RopeInterleaved = false,
        MaxPositionEmbeddings = 4096,
        EosTokenIds = [Eos],
    };

    public int MtpModules => mtpModules;

    /// <summary>What a sequence alone generates, stop token included.</summary>
    public static List<int> Generate(IReadOnlyList<int> prompt, SamplingOptions sampling, int count, bool ignoreEos = false)
    {
        var sampler = new Sampler(sampling, [.. prompt]);
        var hash = 0;
        foreach (var token in prompt)
            hash = Next(hash, token);
        var tokens = new List<int>();
        var row = new float[Vocabulary];
        while (tokens.Count < count && (ignoreEos || tokens.Count == 0 || tokens[^1] != Eos))
        {
            Score(hash, row);
            tokens.Add(sampler.Sample(row));
            hash = Next(hash, tokens[^1]);
        }

        return tokens;
    }

    /// <summary>The probabilities of the token after these.</summary>
    public static double[] Distribution(int[] tokens, SamplingOptions sampling)
    {
        var hash = 0;
        foreach (var token in tokens)
            hash = Next(hash, token);
        var (row, p) = (new float[Vocabulary], new double[Vocabulary]);
        Score(hash, row);
        new Sampler(sampling, []).Distribution(row, p);
        return p;
    }

    public ForwardResult Forward(ForwardBatch batch, ForwardContext context)
    {
        BeforeForward?.Invoke(batch);
        Start(batch, null);
        foreach (var segment in batch.Segments)
        {
            var rows = segment.Cache.Pages(0);
            for (var i = 0; i < segment.Count; i++)
            {
                var position = segment.First + i;
                var hash = Next(position == 0 ? 0 : First(rows, position - 1), batch.Tokens[segment.Start + i]);
                rows.Write(position, [hash, hash]);
                State(segment.Start + i).Fill(hash);
            }
        }

        for (var i = 0; i < batch.LogitRowSpan.Length; i++)
            Score((int)State(batch.LogitRowSpan[i])[0], Logits(i));
        batch.Advance();
        return Result(batch);
    }

    public ForwardResult ForwardMtp(int module, ForwardBatch batch, ReadOnlySpan<float> state, ForwardContext context)
    {
        Start(batch, module);
        foreach (var segment in batch.Segments)
        {
            var rows = segment.Cache.Pages(1);
            for (var i = 0; i < segment.Count; i++)
            {
                var position = segment.First + i;
                var before = (int)state[2 * (segment.Start + i)];
                if (position > 0 && First(rows, position - 1) != before)
                    throw new InvalidOperationException($"row {position - 1} of the MTP module was computed for other tokens");
                var hash = Next(before, batch.Tokens[segment.Start + i]);
                rows.Write(position, [hash, hash]);
                State(segment.Start + i).Fill(hash);
            }
        }

        for (var i = 0; i < batch.LogitRowSpan.Length; i++)
        {
            var hash = (int)State(batch.LogitRowSpan[i])[0];
            Score(hash, Logits(i));
            if (hash % 3 == 0)
                Logits(i)[(hash / 3) % Vocabulary] += 3;
        }

        batch.Advance(module);
        return Result(batch);
    }

    /// <summary>The hash after one more token, exact as a float.</summary>
    private static int Next(int hash, int token)
    {
        var x = (uint)((hash * 31) + token + 1) * 0x9E3779B1;
        return (int)((x ^ (x >> 15)) & 0xFFFFFF);
    }

    private static void Score(int hash, Span<float> row)
    {
        for (var id = 0; id < row.Length; id++)
            row[id] = Next(hash, id + 1000) % 4096 / 800f;
        row[Eos] -= 3;
    }

    private void Start(ForwardBatch batch, int? module)
    {
        batch.Place(module);
        foreach (var segment in batch.Segments)
            segment.Cache.Reserve(segment.First, segment.First + segment.Count);
        if (logits.Length < batch.LogitRows.Count * Vocabulary)
            logits = new float[2 * batch.LogitRows.Count * Vocabulary];
        if (states.Length < 2 * batch.TokenCount)
            states = new float[4 * batch.TokenCount];
    }

    private static int First(CachePages rows, int row)
    {
        var value = 0f;
        rows.Read(row, new Span<float>(ref value));
        return (int)value;
    }

    private Span<float> State(int row) => states.AsSpan(2 * row, 2);

    private Span<float> Logits(int row) => logits.AsSpan(row * Vocabulary, Vocabulary);

    private ForwardResult Result(ForwardBatch batch)
    {
        var state = states.AsSpan(0, 2 * batch.TokenCount);
        return new ForwardResult(logits.AsSpan(0, batch.LogitRows.Count * Vocabulary), state, state);
    }
}
