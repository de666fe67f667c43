using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// MMLU (Hendrycks et al., arXiv 2009.03300; github hendrycks/test): 57 subjects, four options. Form: DeepSeek-V2 report, Table 29, which is also that of
/// lm-evaluation-harness; the five examples of each subject's dev file.
/// </summary>
internal sealed class Mmlu : EvaluationTask
{
    private static readonly string[] Columns = ["question", "A", "B", "C", "D", "answer"];

    public override TaskInfo Info { get; } = new()
    {
        Name = "mmlu", Title = "MMLU", Kind = TaskKind.Perplexity, Shots = 5, Metric = "Acc.", Score = ChoiceScore.Metric(Normalization.None),
        Folder = "mmlu", Paper = "arXiv 2009.03300", Published = "github.com/hendrycks/test: test/*_test.csv, dev/*_dev.csv", Licence = "MIT", LmEval = "mmlu", Chance = 25,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var shots = DevShots(data, Info.ShotsIn(options));
        var questions = data.Require("test/*_test.csv", "test/*.csv").SelectMany(file => Read(data, file))
            .Select(item => LetteredForm.English.Question(Header(item.Category), shots.GetValueOrDefault(item.Category, []), item));
        return new TaskContent([.. questions]) { ShotSource = "dev, from the first", ShotIds = [.. shots.Values.SelectMany(s => s).Select(s => s.Id)] };
    }

    /// <summary>What every prompt about a subject begins with.</summary>
    internal static string Header(string subject) => $"The following are multiple choice questions (with answers) about {subject.Replace('_', ' ')}.\n\n";

    /// <summary>The first examples of each subject's dev file. MMLU-Redux, which has none, takes them too.</summary>
    internal static Dictionary<string, List<LetteredItem>> DevShots(TaskData data, int count) =>
        count == 0 ? [] : data.Require("dev/*_dev.csv", "dev/*.csv").SelectMany(file => Read(data, file)).GroupBy(i => i.Category).ToDictionary(g => g.Key, g => g.Take(count).ToList());

    // The original files have no header; some copies add one.
    private static List<LetteredItem> Read(TaskData data, string file)
    {
        var subject = Path.GetFileNameWithoutExtension(file).Replace("_test", string.Empty, StringComparison.Ordinal).Replace("_dev", string.Empty, StringComparison.Ordinal);
        var rows = data.Csv(file, header: Columns).Where(r => r.Number > 1 || r.Text("question") != "question" || r.Text("answer") != "answer");
        var split = Path.GetFileName(Path.GetDirectoryName(file)) ?? "test";
        return data.Items(rows, r => new LetteredItem($"{split}/{subject}/{r.Number}", subject, r.Text("question"), [r.Text("A"), r.Text("B"), r.Text("C"), r.Text("D")], r.Option("answer", 4)));
    }
}
