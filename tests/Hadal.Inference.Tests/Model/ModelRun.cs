using Hadal.Inference.Cache;
using Hadal.Inference.Model;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Tests.Model;

/// <summary>A random model and the ways to run it that tests compare.</summary>
internal sealed class ModelRun : IDisposable
{
    public ModelRun(RandomCheckpoint checkpoint, bool dropMtp = false)
    {
        Checkpoint = checkpoint;
        Model = new DeepSeek(checkpoint, dropMtp);
    }

    public RandomCheckpoint Checkpoint { get; }

    public DeepSeek Model { get; }

    /// <summary>A model drawn from a seed, its tensors in formats drawn from the same seed.</summary>
    public static ModelRun Random(int seed, bool latent = false)
    {
        var random = new Random(seed);
        var formats = random.Next(3) switch
        {
            0 => [WeightFormat.F8_E4M3],
            1 => [WeightFormat.BF16, WeightFormat.F32, WeightFormat.F16],
            _ => Enum.GetValues<WeightFormat>(),
        };
        return new ModelRun(new RandomCheckpoint(latent ? RandomConfigs.Latent(seed) : RandomConfigs.Of(seed), seed, name => formats[(uint)name.Length % formats.Length])
        {
            SplitKeyValueUp = random.Next(3) == 0,
            OwnMtpTables = random.Next(2) == 0,
            LowestBias = random.Next(2) == 0 ? -0.25 : -2,
        });
    }

    /// <summary>Ids in the vocabulary.</summary>
    public int[] Tokens(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(Model.Config.VocabSize))];

    /// <summary>Logits [T, V] of a prompt processed in runs of the given lengths (the last one repeats).</summary>
    public float[] Logits(int[] tokens, KernelThreads threads, ForwardOptions? options = null, params int[] runs)
    {
        using var pool = new CachePool(Model.Config, tokens.Length, 8);
        using var cache = new SequenceCache(pool);
        return Logits(cache, tokens, new ForwardContext(threads, options), runs);
    }

    /// <summary>As above, behind what the cache holds.</summary>
    public float[] Logits(SequenceCache cache, int[] tokens, ForwardContext context, params int[] runs)
    {
        var batch = new ForwardBatch();
        var logits = new List<float>();
        foreach (var run in Cut(tokens, runs))
        {
            batch.Clear();
            batch.Add(cache, run, LogitRequest.All);
            logits.AddRange(Model.Forward(batch, context).Logits);
        }

        return [.. logits];
    }

    /// <summary>Logits of every MTP module in turn, the main model and each module processing the prompt in runs of the given lengths.</summary>
    public List<float[]> MtpLogits(int[] tokens, KernelThreads threads, ForwardOptions options, params int[] runs)
    {
        using var pool = new CachePool(Model.Config, tokens.Length, 8);
        using var cache = new SequenceCache(pool);
        var context = new ForwardContext(threads, options);
        var batch = new ForwardBatch();
        var states = new List<float>();
        foreach (var run in Cut(tokens, runs))
        {
            batch.Clear();
            batch.Add(cache, run, LogitRequest.None);
            states.AddRange(Model.Forward(batch, context).State(options.MtpInput));
        }

        var all = new List<float[]>();
        for (var module = 0; module < Model.MtpModules && tokens.Length > module + 1; module++)
        {
            // Row i sees the token at i + 1 + module, so each module has one row less.
            var next = tokens[(module + 1)..];
            var (logits, outputs, start) = (new List<float>(), new List<float>(), 0);
            foreach (var run in Cut(next, runs))
            {
                batch.Clear();
                batch.Add(cache, run, LogitRequest.All);
                var width = Model.Config.HiddenSize;
                var result = Model.ForwardMtp(module, batch, states.Skip(start * width).Take(run.Length * width).ToArray(), context);
                logits.AddRange(result.Logits);
                outputs.AddRange(result.State(options.MtpInput));
                start += run.Length;
            }

            all.Add([.. logits]);
            states = outputs;
        }

        return all;
    }

    /// <summary>Lengths that add up to at least a number of tokens.</summary>
    public static int[] RandomRuns(Random random, int tokens) => [.. Enumerable.Range(0, tokens).Select(_ => random.Next(1, 1 + random.Next(1, 20)))];

    public void Dispose() => Checkpoint.Dispose();

    private static IEnumerable<int[]> Cut(int[] tokens, int[] runs)
    {
        for (int start = 0, i = 0; start < tokens.Length; i++)
        {
            var count = Math.Min(runs.Length == 0 ? tokens.Length : runs[Math.Min(i, runs.Length - 1)], tokens.Length - start);
            yield return tokens[start..(start + count)];
            start += count;
        }
    }
}
