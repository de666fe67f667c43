using Hadal.Checkpoints;
using Hadal.Checkpoints.Tokenization;
using Hadal.Evaluation.Models;
using Hadal.Inference.Cache;
using Hadal.Inference.Model;
using Hadal.Numerics.Threading;

namespace Hadal.Evaluation.Tests.Models;

/// <summary>The random model of DeepSeek-V3's shape with a byte-level tokenizer, and the plainest way to score a text with it.</summary>
public sealed class TinyModel : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("hadal-eval-");
    private readonly Checkpoint checkpoint;

    public TinyModel()
    {
        RandomModel.Write(folder.FullName, seed: 7);
        checkpoint = Checkpoint.Open(folder.FullName);
        Model = new DeepSeek(checkpoint, dropMtp: true);
        Tokenizer = Tokenizer.OfModel(folder.FullName)!;
        Threads = new KernelThreads(2);
    }

    internal DeepSeek Model { get; }

    internal Tokenizer Tokenizer { get; }

    internal KernelThreads Threads { get; }

    internal InProcessModel Open(InProcessOptions? options = null) =>
        new(Model, Tokenizer, Threads, InProcessModel.IdentityOf(checkpoint, new ForwardOptions(), 4096), options);

    /// <summary>Sum of log-softmax in double precision over a pass of its own for each text, nothing shared.</summary>
    internal (double Sum, bool IsGreedy) BruteForce(ScoredText text) => BruteForce(Model, Threads, text);

    internal static (double Sum, bool IsGreedy) BruteForce(DeepSeek model, KernelThreads threads, ScoredText text)
    {
        using var pool = new CachePool(model.Config, text.Tokens.Length + 64);
        using var cache = new SequenceCache(pool);
        var batch = new ForwardBatch();
        batch.Add(cache, text.Tokens, LogitRequest.All);
        var logits = model.Forward(batch, new ForwardContext(threads)).Logits;
        var (sum, greedy, width) = (0.0, true, model.Config.VocabSize);
        for (var position = text.Start; position < text.Tokens.Length; position++)
        {
            var row = logits.Slice((position - 1) * width, width).ToArray();
            var max = row.Max();
            var normalizer = max + Math.Log(row.Sum(x => Math.Exp(x - (double)max)));
            sum += row[text.Tokens[position]] - normalizer;
            greedy &= Array.IndexOf(row, max) == text.Tokens[position];
        }

        return (sum, greedy);
    }

    public void Dispose()
    {
        Threads.Dispose();
        checkpoint.Dispose();
        folder.Delete(recursive: true);
    }
}
