using Hadal.Evaluation.Scoring;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Running;

/// <summary>From items to a task's result.</summary>
internal static class Summary
{
    private const double Percent = 100;

    /// <summary>The score of items so far: a part of 1, or bits per byte.</summary>
    public static double ScoreOf(TaskInfo info, string metric, IReadOnlyList<ItemResult> items) =>
        info.Kind == TaskKind.LanguageModelling ? BitsPerByte(items) : Average(info, Categories(items, metric));

    /// <summary>The result of a task.</summary>
    public static TaskResult Of(TaskInfo info, Setting setting, IReadOnlyList<ItemResult> items, IReadOnlyList<string> notes)
    {
        var result = new TaskResult
        {
            Task = info.Name, Title = info.Title, MetricName = info.Metric, Metric = setting.Score, Score = 0, Questions = items.Count, Chance = info.Chance, Setting = setting, Notes = [.. notes],
            WithoutAnswer = items.All(i => i.Outputs is null) ? null : items.Count(i => i.Truncated || i.Extractions.Any(string.IsNullOrEmpty)),
            Micro = new Dictionary<string, double>(), Macro = new Dictionary<string, double>(), Categories = new Dictionary<string, CategoryResult>(),
        };
        return info.Kind == TaskKind.LanguageModelling ? OfTexts(result, items) : OfAnswers(result, info, items);
    }

    private static TaskResult OfAnswers(TaskResult result, TaskInfo info, IReadOnlyList<ItemResult> items)
    {
        var categories = Categories(items, result.Metric);
        
        // Questions of several kinds have in common what counts.
        var metrics = items[0].Metrics.Keys.Where(m => items.All(i => i.Metrics.ContainsKey(m))).ToList();
        var (low, high) = Statistics.Bootstrap(categories, info.Macro);
        return result with
        {
            Score = Percent * Average(info, categories),
            StandardError = Percent * (info.Macro ? Statistics.MacroStandardError(categories) : Statistics.StandardError([.. categories.SelectMany(c => c)])),
            Interval = [Percent * low, Percent * high],
            Micro = metrics.ToDictionary(m => m, m => Percent * Statistics.Micro(Categories(items, m))),
            Macro = metrics.ToDictionary(m => m, m => Percent * Statistics.Macro(Categories(items, m))),
            Categories = items.GroupBy(i => i.Category).ToDictionary(g => g.Key, g => new CategoryResult(Percent * g.Average(i => i.Metrics[result.Metric]), g.Count())),
        };
    }

    private static TaskResult OfTexts(TaskResult result, IReadOnlyList<ItemResult> items)
    {
        var (nats, bytes, tokens) = (items.Sum(i => i.Metrics["nats"]), items.Sum(i => i.Metrics["bytes"]), items.Sum(i => i.Metrics["tokens"]));
        return result with
        {
            Score = BitsPerByte(items),
            Micro = new Dictionary<string, double>
            {
                ["bits_per_byte"] = BitsPerByte(items), ["byte_perplexity"] = Math.Exp(nats / bytes), ["token_perplexity"] = Math.Exp(nats / tokens), ["bytes"] = bytes, ["tokens"] = tokens,
            },
            Macro = new Dictionary<string, double> { ["bits_per_byte"] = items.GroupBy(i => i.Category).Average(g => BitsPerByte([.. g])) },
            Categories = items.GroupBy(i => i.Category).ToDictionary(g => g.Key, g => new CategoryResult(BitsPerByte([.. g]), g.Count())),
        };
    }

    private static double BitsPerByte(IReadOnlyList<ItemResult> items) => items.Sum(i => i.Metrics["nats"]) / (Math.Log(2) * items.Sum(i => i.Metrics["bytes"]));

    private static double Average(TaskInfo info, List<IReadOnlyList<double>> categories) => info.Macro ? Statistics.Macro(categories) : Statistics.Micro(categories);

    private static List<IReadOnlyList<double>> Categories(IReadOnlyList<ItemResult> items, string metric) =>
        [.. items.GroupBy(i => i.Category).Select(g => (IReadOnlyList<double>)[.. g.Select(i => i.Metrics[metric])])];
}
