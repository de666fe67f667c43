using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// CCPM (Li et al., arXiv 2106.01979; github THUNLP-AIPoet/CCPM): which of four lines of classical poetry a modern sentence renders. Form: DeepSeek-V2 report,
/// Table 17, no examples.
/// </summary>
internal sealed class Ccpm : EvaluationTask
{
    public override TaskInfo Info { get; } = new()
    {
        Name = "ccpm", Title = "CCPM", Kind = TaskKind.Perplexity, Shots = 0, Metric = "Acc.", Score = ChoiceScore.Metric(Normalization.Tokens),
        Folder = "ccpm", Paper = "arXiv 2106.01979", Published = "github.com/THUNLP-AIPoet/CCPM: valid.jsonl", Licence = "not stated", Chance = 25,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        if (Info.ShotsIn(options) > 0)
            throw new NotSupportedException("CCPM has a form without examples only");
        return new TaskContent([.. data.Items(data.Require("valid.jsonl").SelectMany(data.Rows), row =>
        {
            var choices = row.Texts("choices", 2);
            var context = $"以下是将某句古诗文翻译而成的现代表述：{row.Text("translation")}\n该翻译所对应的古诗文是：";
            return new ChoiceQuestion($"{row.Number}", "all", [.. choices.Select(c => new ChoiceOption(context, c, c))], [row.Option("answer", choices.Count)]);
        })]);
    }
}
