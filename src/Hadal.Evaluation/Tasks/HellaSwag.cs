using System.Text.RegularExpressions;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// HellaSwag (Zellers et al., arXiv 1905.07830; github rowanz/hellaswag): which of four endings goes on with a description. Form: DeepSeek-V2 report, Table 25.
/// </summary>
internal sealed partial class HellaSwag : EvaluationTask
{
    public override TaskInfo Info { get; } = new()
    {
        Name = "hellaswag", Title = "HellaSwag", Kind = TaskKind.Perplexity, Shots = 10, Metric = "Acc.", Score = ChoiceScore.Metric(Normalization.Tokens),
        Folder = "hellaswag", Paper = "arXiv 1905.07830", Published = "github.com/rowanz/hellaswag: data/hellaswag_val.jsonl", Licence = "MIT",
        LmEval = "hellaswag", LmEvalScore = ChoiceScore.Metric(Normalization.Characters), Chance = 25,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var items = data.Items(data.Require("hellaswag_val.jsonl", "val_slice.jsonl").SelectMany(data.Rows), Read);
        var poolFiles = data.Find("hellaswag_train.jsonl", "val_fewshot_pool.jsonl");
        var pool = poolFiles.Count > 0 ? data.Items(poolFiles.SelectMany(data.Rows), Read) : items;
        var (count, ordered) = (Info.ShotsIn(options), Shots.Ordered(pool, i => i.Id));
        var questions = items.Select(item =>
        {
            var shots = string.Concat(Shots.Without(ordered, count, i => i.Id, item.Id).Select(s => $"{s.Query} {s.Endings[s.Gold]}\n\n"));
            return new ChoiceQuestion(item.Id, "all", [.. item.Endings.Select(e => new ChoiceOption(shots + item.Query, $" {e}", e))], [item.Gold]);
        });
        return new TaskContent([.. questions])
        {
            ShotSource = poolFiles.Count > 0 ? string.Join(", ", poolFiles) : "the evaluated split, without the item itself",
            ShotIds = [.. ordered.Take(count + (poolFiles.Count > 0 ? 0 : 1)).Select(i => i.Id)],
        };
    }

    private static Item Read(DataRow row)
    {
        var endings = row.Texts("endings", 2);
        var second = row.TextOrNull("ctx_b") ?? string.Empty;
        var capitalized = second.Length > 0 ? char.ToUpperInvariant(second[0]) + second[1..].ToLowerInvariant() : string.Empty;
        var query = Clean($"{row.Text("activity_label")}: {row.Text("ctx_a")} {capitalized}");
        return new Item(row.Text("ind"), query, [.. endings.Select(Clean)], row.Option("label", endings.Count));
    }

    // WikiHow's markup, as lm-evaluation-harness removes it.
    private static string Clean(string text) =>
        Brackets().Replace(text.Trim().Replace(" [title]", ". ", StringComparison.Ordinal), string.Empty).Replace("  ", " ", StringComparison.Ordinal);

    [GeneratedRegex(@"\[.*?\]")]
    private static partial Regex Brackets();

    private sealed record Item(string Id, string Query, IReadOnlyList<string> Endings, int Gold);
}
