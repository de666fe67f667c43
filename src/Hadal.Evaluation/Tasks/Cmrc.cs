using System.Text;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// CMRC 2018 (Cui et al., arXiv 1810.07366; github ymcui/cmrc2018): questions about Chinese texts, answered by a piece of them. Form: DeepSeek-V2 report,
/// Table 20: the example is another question about the same text. Scored by the official exact match.
/// </summary>
internal sealed class Cmrc : EvaluationTask
{
    private static readonly string[] Stops = ["\n"];

    public override TaskInfo Info { get; } = new()
    {
        Name = "cmrc", Title = "CMRC", Kind = TaskKind.Generation, Shots = 1, Metric = "EM", Score = "em", Folder = "cmrc2018", Paper = "arXiv 1810.07366",
        Published = "github.com/ymcui/cmrc2018: squad-style-data/cmrc2018_dev.json", Licence = "CC BY-SA 4.0",
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var shots = Info.ShotsIn(options);
        var file = data.Require("cmrc2018_dev.json", "squad-style-data/cmrc2018_dev.json")[0];
        var articles = new DataRow(data.Shown(file), 1, data.Json(file)).Rows("data").Select((r, i) => r with { Number = i + 1 });
        return new TaskContent([.. data.Items(articles, a => a.Rows("paragraphs").SelectMany(p => Paragraph(p, shots)).ToList()).SelectMany(q => q)])
        {
            ShotSource = shots == 0 ? "none" : "the text's other questions, the nearest before the question first",
        };
    }

    /// <summary>Scores an output by the official exact match and F1.</summary>
    internal static Verdict Judge(string output, IReadOnlyList<string> answers)
    {
        var answer = output.Trim();
        return new Verdict(answer, new Dictionary<string, double>
        {
            ["em"] = answers.Any(a => AnswerText.Cmrc(a) == AnswerText.Cmrc(answer)) ? 1 : 0,
            ["f1"] = answers.Max(a => AnswerText.CmrcF1(answer, a)),
        });
    }

    private static IEnumerable<OpenQuestion> Paragraph(DataRow paragraph, int shots)
    {
        var asked = paragraph.Rows("qas").Select(q => new Asked(q.Text("id"), q.Text("question"), [.. q.Rows("answers").Select(a => a.Text("text"))])).ToList();
        if (asked.Exists(a => a.Answers.Count == 0))
            throw paragraph.Error("'answers': expected at least one, found none");
        for (var i = 0; i < asked.Count; i++)
        {
            var prompt = new StringBuilder($"文章：{paragraph.Text("context")}\n\n根据上文回答下面的问题。\n");
            foreach (var shot in asked.Take(i).TakeLast(shots).Concat(asked.Skip(i + 1).Take(Math.Max(0, shots - i))))
                prompt.Append($"问题：{shot.Question}\n答案：{shot.Answers[0]}\n");
            prompt.Append($"问题：{asked[i].Question}\n答案：");
            var answers = asked[i].Answers;
            yield return OpenQuestion.Of(asked[i].Id, "all", new GenerationInput(prompt.ToString(), Stops, 64), string.Join(" | ", answers.Distinct()), output => Judge(output, answers));
        }
    }

    private sealed record Asked(string Id, string Question, IReadOnlyList<string> Answers);
}
