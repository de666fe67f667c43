using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Conversion;
using Hadal.Checkpoints.Synthetic;
using Hadal.Checkpoints.Tokenization;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;

namespace Hadal.Checkpoints.Tests.Synthetic;

public sealed class SyntheticModelTests
{
    // As V2-Lite, 1408 / 4 columns of the experts' down-projections are no multiple of 256.
    private static readonly ModelConfig Lite = PublishedShapes.Find("v2-lite:2") with
    {
        VocabSize = 1000, HiddenSize = 512, IntermediateSize = 768, NumAttentionHeads = 4, NRoutedExperts = 4, NumExpertsPerTok = 2, MoeIntermediateSize = 352,
        BosTokenId = 990, EosTokenIds = [991, 995],
    };

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ASavedModelIsTheSameMatrixForMatrixAndHasAVocabulary(bool split)
    {
        var path = Path.Combine(Path.GetTempPath(), $"hadal-synthetic-{Guid.NewGuid():N}.gguf");
        using var threads = new KernelThreads(2);
        using var made = new SyntheticCheckpoint(Lite, FormatMix.Parse("q4_k_m"));
        try
        {
            GgufConversion.Run(made, path, new GgufConversionOptions { Type = null, SplitUpProjection = split }, threads, cancellation: TestContext.Current.CancellationToken);
            using var saved = Checkpoint.Open(path);
            Assert.Equal((Lite.NumHiddenLayers, Lite.NRoutedExperts, Lite.KvLoraRank), (saved.Config.NumHiddenLayers, saved.Config.NRoutedExperts, saved.Config.KvLoraRank));
            foreach (var tensor in made.Tensors)
            {
                if (!split && tensor.Name.Contains("_b_proj", StringComparison.Ordinal))
                    continue;
                var (rows, cols) = ((int)tensor.Shape[0], (int)tensor.Shape[1]);
                var (expected, actual) = (made.Matrix(tensor.Name, rows, cols), saved.Matrix(tensor.Name, rows, cols));
                Assert.Equal(expected.Format, actual.Format);
                for (var row = 0; row < rows; row++)
                    Assert.True(expected.Row(row).SequenceEqual(actual.Row(row)), $"{tensor.Name} row {row}");
            }

            WeightFormat[] formats = [.. saved.Tensors.Where(t => t.Name.Contains("experts.0.down_proj", StringComparison.Ordinal)).Select(t => t.Format)];
            Assert.All(formats, f => Assert.True(f is WeightFormat.Q5_0 or WeightFormat.Q8_0, $"{f}"));
            Assert.Equal(WeightFormat.Q6_K, saved.Tensors.Single(t => t.Name == "lm_head.weight").Format);
            Assert.Equal(!split, saved.Contains("model.layers.0.self_attn.kv_b_proj.weight"));

            var tokenizer = Tokenizer.OfModel(path)!;
            Assert.Equal(1000, tokenizer.VocabSize);
            Assert.Equal((990, 991), (tokenizer.BosId, tokenizer.EosId));
            const string Text = "The deep sea, 深海, and\ttabs\n";
            Assert.Equal(Text, tokenizer.Decode(tokenizer.Encode(Text, addBos: false)));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void WhatWasGivenBackIsMadeAgain()
    {
        using var made = new SyntheticCheckpoint(Lite, FormatMix.Parse("q4_k_m"), seed: 5);
        using var other = new SyntheticCheckpoint(Lite, FormatMix.Parse("q4_k_m"), seed: 5);
        WeightMatrix Matrix(Checkpoint checkpoint, TensorEntry tensor) => checkpoint.Matrix(tensor.Name, (int)tensor.Shape[0], (int)tensor.Shape[1]);

        // In another order and after others were given back: only the name and the seed decide.
        foreach (var tensor in other.Tensors.Reverse())
            Matrix(other, tensor);
        for (var i = 0; i < made.Tensors.Count; i++)
        {
            var matrix = Matrix(made, made.Tensors[i]);
            if (i % 2 == 0)
                continue;
            made.Release([matrix]);
            made.Release([matrix]);
            if (OperatingSystem.IsLinux() && matrix.ByteLength > 1 << 14)
                Assert.False(matrix.Row(matrix.Rows / 2).ContainsAnyExcept((byte)0), "its memory was kept");
        }

        foreach (var tensor in made.Tensors)
        {
            var (matrix, expected) = (Matrix(made, tensor), Matrix(other, tensor));
            for (var row = 0; row < matrix.Rows; row++)
                Assert.True(matrix.Row(row).SequenceEqual(expected.Row(row)), $"{tensor.Name} row {row}");
        }
    }

    [Fact]
    public void EveryShapeCanBePlannedAndCut()
    {
        foreach (var name in PublishedShapes.Names.Where(n => !n.Contains(':', StringComparison.Ordinal)))
        {
            var whole = PublishedShapes.Find(name);
            Assert.True(SyntheticPlan.Of(whole, FormatMix.Parse("q4_k_m")).Bytes > 1L << 29, name);
            var cut = PublishedShapes.Find(name + ":3");
            Assert.Equal((3, whole.HiddenSize), (cut.NumHiddenLayers, cut.HiddenSize));
            Assert.Throws<ArgumentException>(() => PublishedShapes.Find($"{name}:{whole.NumHiddenLayers + 1}"));
        }

        Assert.Throws<ArgumentException>(() => PublishedShapes.Find("v2-lite:0"));
        Assert.Throws<ArgumentException>(() => PublishedShapes.Find("v2-light"));
    }

    [Fact]
    public void AdviceSaysTheLongestContextThatFits()
    {
        var config = PublishedShapes.Find("v2-lite");
        foreach (var advice in MemoryAdvice.For(config, 12L << 30))
        {
            Assert.Equal(SyntheticPlan.Of(config, FormatMix.Parse(advice.Format)).Bytes, advice.WeightBytes);
            foreach (var (cache, tokens) in advice.Contexts)
            {
                long Needed(int t) => advice.WeightBytes + MemoryAdvice.ProcessBytes + (t * MemoryPlan.CacheBytesOfToken(config, cache));
                Assert.True(tokens == 0 || Needed(tokens) <= 12L << 30);
                Assert.True(tokens == config.MaxPositionEmbeddings || Needed(tokens + 1) > 12L << 30);
            }

            Assert.True(advice.Contexts[CacheFormat.F32] <= advice.Contexts[CacheFormat.BF16] && advice.Contexts[CacheFormat.BF16] <= advice.Contexts[CacheFormat.Q8]);
        }

        Assert.Contains(MemoryAdvice.For(config, 12L << 30), a => a is { Format: "q4_k_m" } && a.Contexts[CacheFormat.Q8] > 2 * a.Contexts[CacheFormat.F32]);
        Assert.All(MemoryAdvice.For(config, 1L << 30), a => Assert.All(a.Contexts.Values, t => Assert.Equal(0, t)));
    }
}
