using System.Text;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// RACE (Lai et al., arXiv 1704.04683; cs.cmu.edu/~glai1/data/race): questions of English exams in China about an article. Form: DeepSeek-V2 report, Table 33:
/// the article, its earlier questions with their answers as shots, options written out. lm-evaluation-harness asks the last question of an article only.
/// </summary>
/// <param name="level">middle or high.</param>
internal sealed class Race(string level) : EvaluationTask
{
    public override TaskInfo Info { get; } = new()
    {
        Name = $"race_{level}", Title = level == "middle" ? "RACE-Middle" : "RACE-High", Kind = TaskKind.Perplexity, Shots = 5, Metric = "Acc.",
        Score = ChoiceScore.Metric(Normalization.Tokens), Folder = "race", Paper = "arXiv 1704.04683", Published = $"cs.cmu.edu/~glai1/data/race: test/{level}/*.txt",
        Licence = "non-commercial research only", LmEval = level == "high" ? "race" : null, LmEvalScore = ChoiceScore.Metric(Normalization.None), Chance = 25,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var lmEval = options.Style == TaskStyle.LmEval;
        if (lmEval && level != "high")
            throw new NotSupportedException("lm-evaluation-harness has no RACE-Middle");
        var articles = data.Items(data.Require($"test/{level}/*.txt", $"test_{level}.jsonl").SelectMany(Rows), Read);
        var shots = Info.ShotsIn(options);
        return new TaskContent([.. articles.SelectMany(a => lmEval ? [LastQuestion(a)] : Questions(a, shots))])
        {
            ShotSource = lmEval ? "the article's other questions" : "the article's earlier questions",
        };

        // A passage is a file of its own; its name ends in .txt and its content is JSON.
        IEnumerable<DataRow> Rows(string file) => data.Rows(file);
    }

    private static IEnumerable<ChoiceQuestion> Questions(Article article, int shots)
    {
        for (var q = 0; q < article.Questions.Count; q++)
        {
            var text = new StringBuilder($"Article:\n{article.Text}\n\n");
            foreach (var earlier in article.Questions.Take(q).TakeLast(shots))
                text.Append($"Q: {earlier.Text}\n\nA: {earlier.Options[earlier.Gold]}\n\n");
            text.Append($"Q: {article.Questions[q].Text}\n\nA:");
            yield return Choice($"{article.Id}/{q}", text.ToString(), article.Questions[q]);
        }
    }

    private static ChoiceQuestion LastQuestion(Article article)
    {
        var text = new StringBuilder($"Article: {article.Text}\n\n");
        foreach (var earlier in article.Questions.SkipLast(1))
        {
            if (earlier.Text.EndsWith("  _  .", StringComparison.Ordinal))
                text.Append($"{earlier.Text[^5..]}{earlier.Options[earlier.Gold]}\n");
            else
                text.Append($"Question: {earlier.Text}\nAnswer: {earlier.Options[earlier.Gold]}\n");
        }

        var last = article.Questions[^1];
        return Choice($"{article.Id}/{article.Questions.Count - 1}", text.Append(last.Text).ToString(), last);
    }

    private static ChoiceQuestion Choice(string id, string context, Asked asked) =>
        new(id, "all", [.. asked.Options.Select(o => new ChoiceOption(context, $" {o}", o))], [asked.Gold]);

    private static Article Read(DataRow row)
    {
        var (questions, answers) = (row.Texts("questions"), row.Texts("answers"));
        if (!row.Element.TryGetProperty("options", out var options) || options.ValueKind != System.Text.Json.JsonValueKind.Array || options.GetArrayLength() != questions.Count || answers.Count != questions.Count)
            throw row.Error($"expected options and answers for {questions.Count} questions, found others");
        var asked = questions.Select((q, i) =>
        {
            var texts = options[i].EnumerateArray().Select(o => o.GetString() ?? string.Empty).ToList();
            return answers[i] is [var letter] && letter - 'A' is var gold && gold >= 0 && gold < texts.Count
                ? new Asked(q.Trim(), texts, gold)
                : throw row.Error($"'answers': expected a letter of {texts.Count} options, found '{answers[i]}'");
        });
        return new Article(row.Text("id"), row.Text("article").Trim(), [.. asked]);
    }

    private sealed record Article(string Id, string Text, IReadOnlyList<Asked> Questions);

    private sealed record Asked(string Text, IReadOnlyList<string> Options, int Gold);
}
