using System.Text;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// DROP (Dua et al., arXiv 1903.00161; allenai.org/data/drop): questions about a passage that need counting, sorting, arithmetic. Form: DeepSeek-V2 report,
/// Table 21: examples are other questions about the same passage, and the type of the answer is told. Scored by the official F1.
/// </summary>
internal sealed class Drop : EvaluationTask
{
    private static readonly string[] Stops = ["\n"];
    private static readonly string[] LmEvalStops = ["."];

    public override TaskInfo Info { get; } = new()
    {
        Name = "drop", Title = "DROP", Kind = TaskKind.Generation, Shots = 3, Metric = "F1", Score = "f1", Folder = "drop", Paper = "arXiv 1903.00161",
        Published = "allenai.org/data/drop: drop_dataset_dev.json", Licence = "CC BY-SA 4.0", LmEval = "drop",
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var file = data.Require("drop_dataset_dev.json", "drop_fixture.json")[0];
        var passages = data.Json(file).EnumerateObject().Select((p, i) => new DataRow(data.Shown(file), i + 1, p.Value));
        var shots = Info.ShotsIn(options);
        return new TaskContent([.. data.Items(passages, Read).SelectMany(p => options.Style == TaskStyle.LmEval ? p.Asked.Select(a => LmEval(p, a)) : p.Asked.Select((_, i) => DeepSeek(p, i, shots)))])
        {
            ShotSource = options.Style == TaskStyle.LmEval || shots == 0 ? "none" : "the passage's other questions, the nearest before the question first",
        };
    }

    private static OpenQuestion DeepSeek(Passage passage, int index, int shots)
    {
        var prompt = new StringBuilder($"Passage: {passage.Text}\n\nAnswer the following questions based on the above passage, please calculate carefully if calculation is necessary.\n");
        foreach (var shot in Neighbours(passage.Asked, index, shots))
            prompt.Append(Ask(shot)).Append(' ').Append(string.Join(", ", shot.Golds[0])).Append(".\n\n");
        return Question(passage.Asked[index], new GenerationInput(prompt.Append(Ask(passage.Asked[index])).ToString(), Stops, 32));
    }

    private static OpenQuestion LmEval(Passage passage, Asked asked) => Question(asked, new GenerationInput($"{passage.Text} {asked.Question}", LmEvalStops, 64));

    private static string Ask(Asked asked) => $"Q: {asked.Question}\nA: The answer type is {asked.Type}. So according to above Passage, the answer is";

    // Those before the question, the nearest last as in the passage's order; where there are too few, those after it.
    private static IEnumerable<Asked> Neighbours(IReadOnlyList<Asked> asked, int index, int count) =>
        asked.Take(index).TakeLast(count).Concat(asked.Skip(index + 1).Take(Math.Max(0, count - index)));

    private static OpenQuestion Question(Asked asked, GenerationInput input) =>
        OpenQuestion.Of(asked.Id, asked.Type, input, string.Join(" | ", asked.Golds.Select(g => string.Join(", ", g))), output => Judge(output, asked.Golds));

    /// <summary>Scores an output: the sentence's point is no part of the answer; commas part spans where the answer has several.</summary>
    internal static Verdict Judge(string output, IReadOnlyList<IReadOnlyList<string>> golds)
    {
        var answer = output.Trim().TrimEnd('.').Trim();
        var (exact, f1) = DropScorer.Score([answer], golds);
        if (golds.Any(g => g.Count > 1) && answer.Contains(", ", StringComparison.Ordinal))
        {
            var (listExact, listF1) = DropScorer.Score(answer.Split(", ", StringSplitOptions.RemoveEmptyEntries), golds);
            (exact, f1) = (Math.Max(exact, listExact), Math.Max(f1, listF1));
        }

        return new Verdict(answer, new Dictionary<string, double> { ["em"] = exact, ["f1"] = f1 });
    }

    private static Passage Read(DataRow row) => new(row.Text("passage").Trim(), [.. row.Rows("qa_pairs").Select(pair =>
    {
        var (golds, type) = Answer(pair.Row("answer"));
        List<IReadOnlyList<string>> all = [golds];
        if (pair.Has("validated_answers"))
            all.AddRange(pair.Rows("validated_answers").Select(a => Answer(a).Spans));
        return golds.Count > 0 && golds[0].Trim().Length > 0 ? new Asked(pair.Text("query_id"), pair.Text("question"), type, all) : throw pair.Error("'answer': expected a number, spans or a date, found none");
    })]);

    // The official order: a number, else spans, else a date.
    private static (IReadOnlyList<string> Spans, string Type) Answer(DataRow answer)
    {
        if (answer.TextOrNull("number") is { Length: > 0 } number)
            return ([number], "number");
        if (answer.Has("spans") && answer.Texts("spans", 0) is { Count: > 0 } spans)
            return (spans, spans.Count == 1 ? "span" : "spans");
        return answer.Has("date") && answer.Row("date") is var date ? ([$"{date.TextOrNull("day")} {date.TextOrNull("month")} {date.TextOrNull("year")}"], "date") : ([], "none");
    }

    private sealed record Passage(string Text, IReadOnlyList<Asked> Asked);

    private sealed record Asked(string Id, string Question, string Type, IReadOnlyList<IReadOnlyList<string>> Golds);
}
