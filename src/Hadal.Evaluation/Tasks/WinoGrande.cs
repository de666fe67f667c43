using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// WinoGrande (Sakaguchi et al., arXiv 1907.10641; github allenai/winogrande): whom a sentence is about. Form: DeepSeek-V2 report, Table 35: two prefixes, one
/// completion; the prefix under which the completion is least perplexing wins. Reads the original schema and that of LLM Foundry.
/// </summary>
internal sealed class WinoGrande : EvaluationTask
{
    public override TaskInfo Info { get; } = new()
    {
        Name = "winogrande", Title = "WinoGrande", Kind = TaskKind.Perplexity, Shots = 5, Metric = "Acc.", Score = ChoiceScore.Metric(Normalization.Tokens),
        Folder = "winogrande", Paper = "arXiv 1907.10641", Published = "github.com/allenai/winogrande: dev.jsonl, train_xl.jsonl", Licence = "CC BY",
        LmEval = "winogrande", LmEvalScore = ChoiceScore.Metric(Normalization.None), Chance = 50,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var items = data.Items(data.Require("dev.jsonl", "winogrande_icl.jsonl").SelectMany(data.Rows), Read);
        var poolFiles = data.Find("train_xl.jsonl", "train_*.jsonl");
        var pool = poolFiles.Count > 0 ? data.Items(data.Rows(poolFiles[0]), Read) : items;
        var (count, ordered) = (Info.ShotsIn(options), Shots.Ordered(pool, i => i.Id));
        var questions = items.Select(item =>
        {
            var shots = string.Concat(Shots.Without(ordered, count, i => i.Id, item.Id).Select(s => $"{s.Prefixes[s.Gold]} {s.Completion}\n\n"));
            return new ChoiceQuestion(item.Id, "all", [.. item.Prefixes.Select(p => new ChoiceOption(shots + p, $" {item.Completion}", p))], [item.Gold]);
        });
        return new TaskContent([.. questions])
        {
            ShotSource = poolFiles.Count > 0 ? poolFiles[0] : "the evaluated split, without the item itself",
            ShotIds = [.. ordered.Take(count + (poolFiles.Count > 0 ? 0 : 1)).Select(i => i.Id)],
        };
    }

    private static Item Read(DataRow row)
    {
        if (row.Has("context_options"))
        {
            var prefixes = row.Texts("context_options", 2);
            return new Item($"{row.Number}", [.. prefixes.Select(p => p.Trim())], row.Text("continuation").Trim(), row.Integer("gold", 0, prefixes.Count - 1));
        }

        var sentence = row.Text("sentence");
        var blank = sentence.IndexOf('_', StringComparison.Ordinal);
        if (blank < 0)
            throw row.Error("'sentence': expected a text with the blank '_', found none");
        var (before, after) = (sentence[..blank], sentence[(blank + 1)..].Trim());
        return new Item(row.Text("qID"), [before + row.Text("option1"), before + row.Text("option2")], after, row.Integer("answer", 1, 2) - 1);
    }

    private sealed record Item(string Id, IReadOnlyList<string> Prefixes, string Completion, int Gold);
}
