using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// TriviaQA (Joshi et al., arXiv 1705.03551; nlp.cs.washington.edu/triviaqa) without documents. Form: DeepSeek-V2 report, Table 34. Right is what equals the
/// answer or one of its aliases in the official normal form. Reads the original schema and that of LLM Foundry.
/// </summary>
internal sealed class TriviaQa : EvaluationTask
{
    private static readonly string[] OriginalFiles = ["unfiltered-web-dev.json", "wikipedia-dev.json", "web-dev.json"];

    public override TaskInfo Info { get; } = new()
    {
        Name = "triviaqa", Title = "TriviaQA", Kind = TaskKind.Generation, Shots = 5, Metric = "EM", Score = "em", Folder = "triviaqa", Paper = "arXiv 1705.03551",
        Published = "nlp.cs.washington.edu/triviaqa: unfiltered-web-dev.json", Licence = "Apache-2.0", LmEval = "triviaqa",
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var original = OriginalFiles.SelectMany(f => Original(data, f)).DistinctBy(i => i.Question).ToList();
        var foundry = data.Find("triviaqa_icl.jsonl").SelectMany(f => data.Items(data.Rows(f), Foundry)).ToList();
        var items = foundry.Concat(original).DistinctBy(i => i.Question).ToList();
        if (items.Count == 0)
            throw new FileNotFoundException($"{data.Shown(string.Empty)}: expected unfiltered-web-dev.json, wikipedia-dev.json, web-dev.json or triviaqa_icl.jsonl, found none");
        var train = Original(data, "unfiltered-web-train.json").Concat(Original(data, "wikipedia-train.json")).Concat(Original(data, "web-train.json")).DistinctBy(i => i.Question).ToList();
        var count = Info.ShotsIn(options);
        var fromTrain = train.Count >= count;
        if (!fromTrain)
            data.Notes.Add($"the training split has {train.Count} items here, {count} are needed: the examples are evaluated questions, without the question itself");
        var ordered = Shots.Ordered(fromTrain ? train : items, i => i.Id);
        var questions = items.Select(item =>
        {
            var shots = Shots.Without(ordered, count, i => i.Id, item.Id).Select(s => (s.Question, s.Answer));
            var input = options.Style == TaskStyle.LmEval
                ? OpenDomain.LmEval(string.Empty, "Question: ", "Answer:", "\n\n", shots.Select(s => (s.Question.TrimEnd('?'), s.Answer)), item.Question.TrimEnd('?'))
                : OpenDomain.DeepSeek(shots, item.Question);
            return OpenQuestion.Of(item.Id, "all", input, string.Join(" | ", item.Aliases.Take(5)), output => Judge(output, item.Aliases));
        });
        return new TaskContent([.. questions])
        {
            ShotSource = fromTrain ? "train" : "the evaluated split, without the item itself",
            ShotIds = [.. ordered.Take(count + (fromTrain || count == 0 ? 0 : 1)).Select(i => i.Id)],
        };
    }

    /// <summary>Whether an output is the answer under one of its names.</summary>
    internal static Verdict Judge(string output, IReadOnlyList<string> aliases)
    {
        var answer = output.Trim();
        var normal = AnswerText.TriviaQa(answer);
        return Verdict.Of(answer, aliases.Any(a => AnswerText.TriviaQa(a) == normal));
    }

    private static List<Item> Original(TaskData data, string name)
    {
        if (data.Find($"original_schema/qa/{name}", $"qa/{name}", $"triviaqa-unfiltered/{name}", $"triviaqa-rc/qa/{name}", name) is not [var file, ..])
            return [];
        var rows = new DataRow(data.Shown(file), 1, data.Json(file)).Rows("Data").Select((r, i) => r with { Number = i + 1 });
        return data.Items(rows, row =>
        {
            var answer = row.Row("Answer");
            return new Item(row.Text("QuestionId"), row.Text("Question"), answer.Text("Value"), [answer.Text("Value"), .. answer.Texts("Aliases", 0), .. answer.Has("HumanAnswers") ? answer.Texts("HumanAnswers", 0) : []]);
        });
    }

    private static Item Foundry(DataRow row)
    {
        var context = row.Text("context");
        var question = context.Replace("Question: ", string.Empty, StringComparison.Ordinal).Replace("\nAnswer:", string.Empty, StringComparison.Ordinal).Trim();
        return new Item($"icl/{row.Number}", question, row.Text("answer"), [row.Text("answer"), .. row.Texts("aliases", 0)]);
    }

    private sealed record Item(string Id, string Question, string Answer, IReadOnlyList<string> Aliases);
}
