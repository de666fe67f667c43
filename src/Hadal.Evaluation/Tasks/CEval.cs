using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// C-Eval (Huang et al., arXiv 2305.08322; github hkust-nlp/ceval): 52 subjects of Chinese exams. Form: DeepSeek-V2 report, Table 15; the five examples of each
/// subject's dev file.
/// </summary>
internal sealed class CEval : EvaluationTask
{
    private static readonly LetteredForm Form = new(string.Empty, "答案：");

    public override TaskInfo Info { get; } = new()
    {
        Name = "ceval", Title = "C-Eval", Kind = TaskKind.Perplexity, Shots = 5, Metric = "Acc.", Score = ChoiceScore.Metric(Normalization.None), Macro = true,
        Folder = "ceval", Paper = "arXiv 2305.08322", Published = "github.com/hkust-nlp/ceval: val/*_val.csv, dev/*_dev.csv, subject_mapping.json", Licence = "CC BY-NC-SA 4.0",
        LmEval = "ceval-valid", Chance = 25,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var names = Names(data);
        var items = Read(data, data.Require("val/*_val.csv", "val_*.jsonl"));
        var devFiles = data.Find("dev/*_dev.csv", "dev_*.jsonl");
        var count = Info.ShotsIn(options);
        if (devFiles.Count == 0 && count > 0)
            data.Notes.Add("the dev split is not there: the examples are evaluated questions, without the question itself");
        var pool = (devFiles.Count > 0 ? Read(data, devFiles) : items).GroupBy(i => i.Category).ToDictionary(g => g.Key, g => devFiles.Count > 0 ? [.. g] : Shots.Ordered(g, i => i.Id));
        var questions = items.Select(item =>
        {
            var header = $"以下是中国关于{names.GetValueOrDefault(item.Category, item.Category)}考试的单项选择题，请选出其中的正确答案。\n\n";
            return Form.Question(header, Shots.Without(pool.GetValueOrDefault(item.Category, []), count, i => i.Id, item.Id), item);
        });
        return new TaskContent([.. questions])
        {
            ShotSource = devFiles.Count > 0 ? "dev, from the first" : "the evaluated split, without the item itself",
            ShotIds = [.. pool.Values.SelectMany(p => p.Take(count + (devFiles.Count > 0 || count == 0 ? 0 : 1))).Select(i => i.Id)],
        };
    }

    private static List<LetteredItem> Read(TaskData data, IReadOnlyList<string> files) => [.. files.SelectMany(file => data.Items(data.Rows(file), row =>
    {
        var subject = row.TextOrNull("subject") ?? Path.GetFileNameWithoutExtension(file).Replace("_val", string.Empty, StringComparison.Ordinal).Replace("_dev", string.Empty, StringComparison.Ordinal);
        return new LetteredItem($"{subject}/{Path.GetFileNameWithoutExtension(file)}/{row.Number}", subject, row.Text("question"), [row.Text("A"), row.Text("B"), row.Text("C"), row.Text("D")], row.Option("answer", 4));
    }))];

    // Chinese names of the subjects: [English, Chinese, field].
    private static Dictionary<string, string> Names(TaskData data)
    {
        if (data.Find("subject_mapping.json") is not [var file])
        {
            data.Notes.Add("subject_mapping.json is not there: prompts name subjects in English");
            return [];
        }

        return data.Json(file).EnumerateObject().ToDictionary(p => p.Name, p => p.Value[1].GetString()!);
    }
}
