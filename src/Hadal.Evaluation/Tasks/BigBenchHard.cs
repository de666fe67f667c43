using System.Text.RegularExpressions;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// BIG-Bench Hard (Suzgun et al., arXiv 2210.09261; github suzgunmirac/BIG-Bench-Hard): 27 sub-tasks, each with three worked examples. Form: DeepSeek-V2 report,
/// Table 14, the published prompts. What follows "the answer is" has to be the target; the mean over sub-tasks counts.
/// </summary>
internal sealed partial class BigBenchHard : EvaluationTask
{
    private static readonly string[] Stops = ["\n\n", "Q:", "</s>"];

    public override TaskInfo Info { get; } = new()
    {
        Name = "bbh", Title = "BBH", Kind = TaskKind.Generation, Shots = 3, Metric = "EM", Score = "em", Macro = true, Folder = "bbh", Paper = "arXiv 2210.09261",
        Published = "github.com/suzgunmirac/BIG-Bench-Hard: bbh/*.json, cot-prompts/*.txt", Licence = "MIT", LmEval = "bbh_cot_fewshot", LmEvalShots = 3,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        if (Info.ShotsIn(options) != 3)
            throw new NotSupportedException("BBH's prompts have three examples");
        return new TaskContent([.. data.Require("bbh/*.json").SelectMany(file =>
        {
            var name = Path.GetFileNameWithoutExtension(file);
            var prompt = Prompt(data, $"cot-prompts/{name}.txt");
            var rows = new DataRow(data.Shown(file), 1, data.Json(file)).Rows("examples").Select((r, i) => r with { Number = i + 1 });
            return data.Items(rows, row =>
            {
                var gold = row.Text("target");
                return OpenQuestion.Of($"{name}/{row.Number}", name, new GenerationInput($"{prompt}\n\nQ: {row.Text("input")}\nA: Let's think step by step.\n", Stops, 1024), gold, output => Judge(output, gold));
            });
        })])
        {
            ShotSource = "cot-prompts",
        };
    }

    /// <summary>Scores the text after the last "the answer is", without its closing point.</summary>
    internal static Verdict Judge(string output, string gold)
    {
        var answer = Stated().Matches(output) is { Count: > 0 } stated ? stated[^1].Groups["answer"].Value.Trim().TrimEnd('.').Trim() : null;
        return Verdict.Of(answer, answer == gold.Trim());
    }

    // A line of five hyphens ends the note that this data must never be trained on.
    private static string Prompt(TaskData data, string file)
    {
        var text = data.ReadText(data.Require(file)[0]).ReplaceLineEndings("\n");
        var mark = text.IndexOf("-----\n", StringComparison.Ordinal);
        return (mark < 0 ? text : text[(mark + "-----\n".Length)..]).Trim();
    }

    [GeneratedRegex(@"the answer is (?<answer>.*)", RegexOptions.IgnoreCase)]
    private static partial Regex Stated();
}
