using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// MMMLU (OpenAI; huggingface openai/MMMLU): MMLU's test questions in fourteen languages, English not among them. DeepSeek publishes no template; MMLU's form is
/// used. There are no examples in those languages, so those of a question come from its own language and subject, without the question itself.
/// </summary>
internal sealed class Mmmlu : EvaluationTask
{
    public override TaskInfo Info { get; } = new()
    {
        Name = "mmmlu", Title = "MMMLU-non-English", Kind = TaskKind.Perplexity, Shots = 5, Metric = "Acc.", Score = ChoiceScore.Metric(Normalization.None), Macro = true,
        Folder = "mmmlu", Paper = "openai.com (simple-evals)", Published = "huggingface.co/datasets/openai/MMMLU: test/mmlu_*.csv", Licence = "MIT", Chance = 25,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var count = Info.ShotsIn(options);
        var (questions, ids) = (new List<Question>(), new List<string>());
        foreach (var file in data.Require("test/mmlu_*.csv", "mmlu_*.csv"))
        {
            var language = Path.GetFileNameWithoutExtension(file)["mmlu_".Length..];
            foreach (var subject in data.Items(data.Csv(file), r => Read(r, language)).GroupBy(i => i.Subject))
            {
                var ordered = Shots.Ordered(subject, i => i.Item.Id);
                ids.AddRange(ordered.Take(count + 1).Select(i => i.Item.Id));
                questions.AddRange(subject.Select(i => LetteredForm.English.Question(Mmlu.Header(i.Subject), Shots.Without(ordered, count, s => s.Item.Id, i.Item.Id).Select(s => s.Item), i.Item)));
            }
        }

        return new TaskContent(questions) { ShotSource = "the evaluated split, without the item itself", ShotIds = ids };
    }

    private static (string Subject, LetteredItem Item) Read(DataRow row, string language)
    {
        var subject = row.Text("Subject");
        return (subject, new LetteredItem($"{language}/{row.Number}", language, row.Text("Question"), [row.Text("A"), row.Text("B"), row.Text("C"), row.Text("D")], row.Option("Answer", 4)));
    }
}
