using System.Diagnostics;
using Hadal.Inference.Engine;
using Hadal.Inference.Generation;
using Hadal.Inference.Model;
using Hadal.Inference.Sampling;
using Hadal.Inference.Speculation;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Benchmarks;

/// <summary>The same greedy generation with drafts and without, through the engine.</summary>
public sealed class SpeculationBenchmark(DeepSeek model, KernelThreads threads, ForwardOptions options)
{
    private const int Seed = 13;

    /// <summary>Measures.</summary>
    /// <param name="speculation">How drafts are made.</param>
    /// <param name="promptTokens">Tokens of the prompt, random ids.</param>
    /// <param name="generateTokens">Tokens to generate, at least 2.</param>
    /// <param name="cancellation">Ends it between two steps.</param>
    public SpeculationResult Run(SpeculationOptions speculation, int promptTokens, int generateTokens, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(speculation);
        ArgumentOutOfRangeException.ThrowIfLessThan(generateTokens, 2);
        var random = new Random(Seed);
        var request = new GenerationRequest
        {
            Prompt = [.. Enumerable.Range(0, promptTokens).Select(_ => random.Next(model.Config.VocabSize))],
            MaxNewTokens = generateTokens,
            IgnoreEos = true,
            Sampling = new SamplingOptions { Temperature = 0 },
        };
        var (plainSeconds, plainIds, _) = Generate(request, null, cancellation);
        var (seconds, ids, usage) = Generate(request, speculation, cancellation);
        var (plain, drafted) = ((generateTokens - 1) / plainSeconds, (generateTokens - 1) / seconds);
        return new SpeculationResult
        {
            DraftTokens = speculation.DraftTokens,
            Source = speculation.Source == DraftSource.PromptLookup || model.MtpModules == 0 ? "lookup" : "mtp",
            AcceptanceRate = usage.AcceptanceRate,
            AcceptedLength = usage.AcceptedLength ?? 0,
            TokensPerSecond = drafted,
            PlainTokensPerSecond = plain,
            Gain = drafted / plain,
            SameTokens = ids.SequenceEqual(plainIds),
        };
    }

    // Seconds from the first token to the last.
    private (double Seconds, List<int> Ids, GenerationUsage Usage) Generate(GenerationRequest request, SpeculationOptions? speculation, CancellationToken cancellation)
    {
        using var engine = new InferenceEngine(
            model, null, threads, new EngineOptions { CacheTokens = request.Prompt.Count + request.MaxNewTokens!.Value + 64, Forward = options, Speculation = speculation, SidePart = 0 });
        var ids = new List<int>();
        var first = 0L;
        GenerationUsage? usage = null;
        foreach (var step in engine.Generate(request, cancellation))
        {
            if (ids.Count == 0)
                first = Stopwatch.GetTimestamp();
            if (step.Id is { } id)
                ids.Add(id);
            usage = step.Usage ?? usage;
        }

        return (Stopwatch.GetElapsedTime(first).TotalSeconds, ids, usage!);
    }
}
