using System.Runtime.InteropServices;
using Hadal.Checkpoints.Config;
using Hadal.Inference.Cache;

namespace Hadal.Inference.Tests.Cache;

/// <summary>
/// A sequence whose rows say what they were made from: a main row is a hash of the tokens up to its own, an MTP row one of the tokens up to the next.
/// So a row in the wrong place, or overwritten through a shared page, is seen.
/// </summary>
internal sealed class TracedSequence(CachePool pool) : IDisposable
{
    public static readonly ModelConfig Config = new()
    {
        Architecture = Hadal.Checkpoints.Config.Architecture.Llama,
        VocabSize = 8,
        HiddenSize = 2,
        IntermediateSize = 2,
        NumHiddenLayers = 1,
        NumAttentionHeads = 1,
        NumKeyValueHeads = 1,
        HeadDim = 1,
        NumNextnPredictLayers = 1,
        RmsNormEps = 1e-6,
        RopeTheta = 1e4,
        RopeInterleaved = false,
        MaxPositionEmbeddings = 1024,
    };

    public SequenceCache Cache { get; } = new(pool);

    public List<int> Tokens { get; } = [];

    public ReadOnlySpan<int> TokenSpan => CollectionsMarshal.AsSpan(Tokens);

    /// <summary>Computes rows for all tokens but the last, as an engine does that has sampled a token and not yet run it.</summary>
    public void Compute()
    {
        var rows = Tokens.Count - 1;
        Cache.Reserve(Cache.LengthOf(0), rows);
        for (var i = Cache.Length; i < rows; i++)
            Fill(0, i, Hash(i + 1));
        Cache.Advance(null, rows - Cache.Length);
        for (var i = Cache.LengthOf(0); i < rows; i++)
            Fill(1, i, Hash(i + 2));
        Cache.Advance(0, rows - Cache.LengthOf(0));
    }

    public void Check(bool mtp)
    {
        for (var i = 0; i < Cache.Length; i++)
        {
            Check(0, i, Hash(i + 1));
            if (mtp)
                Check(1, i, Hash(i + 2));
        }
    }

    public void Dispose() => Cache.Dispose();

    private void Fill(int layer, int i, int value)
    {
        for (var part = 0; part < pool.Layout.Parts; part++)
            Values(layer, i, part).Fill(value);
    }

    private void Check(int layer, int i, int value)
    {
        for (var part = 0; part < pool.Layout.Parts; part++)
            Assert.Equal(value, Values(layer, i, part)[^1]);
    }

    private Span<int> Values(int layer, int i, int part)
    {
        var rows = pool.Rows(layer, Cache.HeldPages[i / pool.PageTokens], part, pool.PageTokens);
        return MemoryMarshal.Cast<byte, int>(rows).Slice(i % pool.PageTokens * pool.Layout.PartWidth, pool.Layout.PartWidth);
    }

    private int Hash(int count)
    {
        var hash = 17;
        foreach (var token in TokenSpan[..count])
            hash = (hash * 31) + token + 1;
        return hash;
    }
}
