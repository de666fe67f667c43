using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// C3 (Sun et al., arXiv 1904.09679; github nlpdata/c3): questions about Chinese dialogues and texts, two to four options written out. Form: DeepSeek-V2 report,
/// Table 16, no examples.
/// </summary>
internal sealed class C3 : EvaluationTask
{
    public override TaskInfo Info { get; } = new()
    {
        Name = "c3", Title = "C3", Kind = TaskKind.Perplexity, Shots = 0, Metric = "Acc.", Score = ChoiceScore.Metric(Normalization.Tokens),
        Folder = "c3", Paper = "arXiv 1904.09679", Published = "github.com/nlpdata/c3: data/c3-d-test.json, data/c3-m-test.json", Licence = "non-commercial research only", Chance = 27,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        if (Info.ShotsIn(options) > 0)
            throw new NotSupportedException("C3 has a form without examples only");
        return new TaskContent([.. data.Require("c3-?-test.json").SelectMany(f => data.Items(data.Rows(f), r => Read(r, f.Contains("-d-", StringComparison.Ordinal) ? "dialogue" : "mixed"))).SelectMany(q => q)]);
    }

    // An element is an array: lines, questions, id.
    private static List<ChoiceQuestion> Read(DataRow row, string genre)
    {
        var element = row.Element;
        if (element.ValueKind != System.Text.Json.JsonValueKind.Array || element.GetArrayLength() != 3)
            throw row.Error("expected an array of lines, questions and id, found something else");
        var text = string.Join('\n', element[0].EnumerateArray().Select(l => l.GetString()));
        var id = element[2].ToString();
        return [.. element[1].EnumerateArray().Select((q, i) =>
        {
            var asked = new DataRow(row.File, row.Number, q);
            var choices = asked.Texts("choice", 2);
            var gold = choices.ToList().IndexOf(asked.Text("answer"));
            if (gold < 0)
                throw row.Error($"'answer': expected one of the choices, found '{asked.Text("answer")}'");
            var context = $"{text}\n\n请根据上文回答问题：\n\n{asked.Text("question")}\n答案：";
            return new ChoiceQuestion($"{genre}/{id}/{i}", genre, [.. choices.Select(c => new ChoiceOption(context, c, c))], [gold]);
        })];
    }
}
