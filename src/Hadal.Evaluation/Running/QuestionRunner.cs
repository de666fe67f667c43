using System.Globalization;
using System.Text;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Sandbox;
using Hadal.Evaluation.Scoring;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Running;

/// <summary>Puts questions to a model, several at a time, and scores the answers.</summary>
/// <param name="model">The model.</param>
/// <param name="sandbox">For code tasks.</param>
/// <param name="options">Samples and temperature.</param>
internal sealed class QuestionRunner(IEvaluationModel model, PythonSandbox? sandbox, RunOptions options)
{
    /// <summary>The results of questions, in their order; a task may have questions of several kinds.</summary>
    public async Task<IReadOnlyList<ItemResult>> RunAsync(IReadOnlyList<Question> questions, CancellationToken cancellation)
    {
        var results = new Dictionary<string, ItemResult>();
        foreach (var kind in questions.GroupBy(q => q.GetType()))
        {
            var done = kind.First() switch
            {
                ChoiceQuestion => await ChooseAsync([.. kind.Cast<ChoiceQuestion>()], cancellation),
                OpenQuestion => await WriteAsync([.. kind.Cast<OpenQuestion>()], cancellation),
                _ => await ReadAsync([.. kind.Cast<TextQuestion>()], cancellation),
            };
            foreach (var result in done)
                results.Add(result.Id, result);
        }

        return [.. questions.Select(q => results[q.Id])];
    }

    private async Task<IReadOnlyList<ItemResult>> ChooseAsync(List<ChoiceQuestion> questions, CancellationToken cancellation)
    {
        var requests = new List<LoglikelihoodRequest>();
        foreach (var option in questions.SelectMany(q => q.Options))
        {
            requests.Add(new LoglikelihoodRequest(option.Context, option.Continuation));
            if (option.UnconditionalContext is { } context)
                requests.Add(new LoglikelihoodRequest(context, option.Continuation));
        }

        var scores = await model.LoglikelihoodsAsync(requests, cancellation);
        var next = 0;
        var results = new List<ItemResult>();
        foreach (var question in questions)
        {
            var scored = question.Options.Select(o => (Option: o, Conditional: scores[next++], Unconditional: o.UnconditionalContext is null ? null : scores[next++])).ToList();
            var metrics = new Dictionary<string, double>();
            var chosen = 0;
            foreach (var normalization in Enum.GetValues<Normalization>())
            {
                if (normalization == Normalization.Unconditional && scored.Exists(s => s.Unconditional is null))
                    continue;
                var best = ChoiceScore.Best([.. scored.Select(s => ChoiceScore.Of(normalization, s.Conditional, s.Unconditional, s.Option.Text))]);
                metrics[ChoiceScore.Metric(normalization)] = question.Gold.Contains(best) ? 1 : 0;
                if (ChoiceScore.Metric(normalization) == ScoreMetric)
                    chosen = best;
            }

            var prompt = question.Options[0].Context;
            results.Add(new ItemResult
            {
                Id = question.Id, Category = question.Category, Prompt = prompt,
                Options = [.. scored.Select(s => new OptionResult(s.Option.Continuation, s.Option.Context == prompt ? null : s.Option.Context, s.Conditional.Sum, s.Unconditional?.Sum, s.Conditional.Tokens))],
                Extractions = [Name(question, chosen)], Gold = string.Join(", ", question.Gold.Select(g => Name(question, g))), Metrics = metrics,
            });
        }

        return results;
    }

    /// <summary>The metric that decides which option is shown as chosen.</summary>
    public required string ScoreMetric { get; init; }

    private async Task<IReadOnlyList<ItemResult>> WriteAsync(List<OpenQuestion> questions, CancellationToken cancellation)
    {
        var samples = sandbox is null ? 1 : options.Samples;
        var inputs = questions.SelectMany(q => Enumerable.Range(0, samples).Select(s => q.Input with { Temperature = samples > 1 ? options.Temperature : 0, TopP = samples > 1 ? 0.95 : 1, Seed = s })).ToList();
        var outputs = await model.GenerateAsync(inputs, cancellation);
        var verdicts = new Verdict[outputs.Count];
        using var places = new SemaphoreSlim(Environment.ProcessorCount);
        await Task.WhenAll(outputs.Select(async (output, i) =>
        {
            await places.WaitAsync(cancellation);
            try
            {
                verdicts[i] = await questions[i / samples].Judge(output.Text, sandbox, cancellation);
            }
            finally
            {
                places.Release();
            }
        }));
        return [.. questions.Select((q, i) =>
        {
            var (own, judged) = (outputs.Skip(i * samples).Take(samples).ToList(), verdicts.AsSpan(i * samples, samples).ToArray());
            return new ItemResult
            {
                Id = q.Id, Category = q.Category, Prompt = q.Input.Prompt, Outputs = [.. own.Select(o => o.Text)], Extractions = [.. judged.Select(v => v.Extraction)], Gold = q.Gold,
                Metrics = Combine(judged), Truncated = own.Exists(o => o.Truncated), Note = Array.Find(judged, v => v.Note is not null)?.Note,
            };
        })];
    }

    private async Task<IReadOnlyList<ItemResult>> ReadAsync(List<TextQuestion> questions, CancellationToken cancellation)
    {
        var scores = await model.RollingAsync([.. questions.Select(q => q.Text)], cancellation);
        return [.. questions.Select((q, i) => new ItemResult
        {
            Id = q.Id, Category = q.Category, Prompt = q.Text, Gold = string.Empty,
            Metrics = new Dictionary<string, double> { ["nats"] = -scores[i].Sum, ["bytes"] = Encoding.UTF8.GetByteCount(q.Text), ["tokens"] = scores[i].Tokens },
        })];
    }

    // One output gives its own scores; several give pass@k for every k that they allow.
    private static Dictionary<string, double> Combine(Verdict[] verdicts)
    {
        var metrics = verdicts[0].Metrics.Keys.ToDictionary(k => k, k => verdicts.Average(v => v.Metrics[k]));
        if (verdicts.Length > 1 && metrics.ContainsKey("pass@1"))
        {
            var passed = verdicts.Count(v => v.Metrics["pass@1"] > 0);
            foreach (var k in (int[])[1, 5, 10, 100])
            {
                if (k <= verdicts.Length)
                    metrics[string.Create(CultureInfo.InvariantCulture, $"pass@{k}")] = PassAtK.Estimate(verdicts.Length, passed, k);
            }
        }

        return metrics;
    }

    private static string Name(ChoiceQuestion question, int index) =>
        question.Options[index].Continuation.Trim() is { Length: 1 } letter ? letter : question.Options[index].Text;
}
