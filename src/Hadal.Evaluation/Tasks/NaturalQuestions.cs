using System.Text.RegularExpressions;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// NaturalQuestions, open form (Kwiatkowski et al. 2019; Lee et al., arXiv 1906.00300; github google-research-datasets/natural-questions). Form: DeepSeek-V2
/// report, Table 30. Right is what equals one of the answers in SQuAD's normal form.
/// </summary>
internal sealed partial class NaturalQuestions : EvaluationTask
{
    public override TaskInfo Info { get; } = new()
    {
        Name = "nq_open", Title = "NaturalQuestions", Kind = TaskKind.Generation, Shots = 5, Metric = "EM", Score = "em", Folder = "nq_open", Paper = "arXiv 1906.00300",
        Published = "github.com/google-research-datasets/natural-questions: nq_open/NQ-open.dev.jsonl", Licence = "CC BY-SA 3.0", LmEval = "nq_open",
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var items = data.Items(data.Require("NQ-open.dev.jsonl").SelectMany(data.Rows), Read);
        var poolFiles = data.Find("NQ-open.train.jsonl", "NQ-open.efficientqa.dev*.jsonl");
        var pool = poolFiles.Count > 0 ? data.Items(data.Rows(poolFiles[0]), r => Read(r) with { Id = $"shot/{r.Number}" }) : items;
        var (count, ordered) = (Info.ShotsIn(options), Shots.Ordered(pool, i => i.Id));
        var lmEval = options.Style == TaskStyle.LmEval;
        var questions = items.Select(item =>
        {
            var shots = Shots.Without(ordered, count, i => i.Id, item.Id);
            var input = lmEval
                ? OpenDomain.LmEval("Answer these questions:\n\n", "Q: ", "A:", "\n", shots.Select(s => (s.Question, s.Answers[0])), item.Question)
                : OpenDomain.DeepSeek(shots.Select(s => (Asked(s.Question), s.Answers[0])), Asked(item.Question));
            return OpenQuestion.Of(item.Id, "all", input, string.Join(" | ", item.Answers), output =>
            {
                var answer = output.Trim();
                var right = lmEval ? item.Answers.Any(a => Plain(a) == Plain(answer)) : item.Answers.Any(a => AnswerText.Squad(a) == AnswerText.Squad(answer));
                return Verdict.Of(answer, right);
            });
        });
        return new TaskContent([.. questions])
        {
            ShotSource = poolFiles.Count > 0 ? poolFiles[0] : "the evaluated split, without the item itself",
            ShotIds = [.. ordered.Take(count + (poolFiles.Count > 0 || count == 0 ? 0 : 1)).Select(i => i.Id)],
        };
    }

    // The data has questions as people type them; the report's prompts have sentences.
    private static string Asked(string question) => $"{char.ToUpperInvariant(question[0])}{question[1..].TrimEnd('?').TrimEnd()}?";

    // The harness's exact_match: articles at any place out, case and punctuation ignored.
    private static string Plain(string text) =>
        string.Concat(Articles().Replace(text, string.Empty).ToLowerInvariant().Where(c => !AnswerText.Punctuation.Contains(c, StringComparison.Ordinal)));

    private static Item Read(DataRow row)
    {
        var question = row.Text("question");
        return question.Length > 0 ? new Item($"{row.Number}", question, row.Texts("answer")) : throw row.Error("'question': expected a text, found an empty one");
    }

    [GeneratedRegex(@"\b(?:The |the |An |A |a |an )")]
    private static partial Regex Articles();

    private sealed record Item(string Id, string Question, IReadOnlyList<string> Answers);
}
