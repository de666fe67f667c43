using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// ARC (Clark et al., arXiv 1803.05457; allenai.org/data/arc): science questions of American schools, Easy and Challenge. Form: DeepSeek-V2 report, Table 13,
/// letters as options; the DeepSeek LLM report and lm-evaluation-harness score the options' text. Unconditional normalisation (DeepSeek LLM report section 5.1):
/// an option is worth what the question adds to it.
/// </summary>
/// <param name="level">Easy or Challenge.</param>
internal sealed class Arc(string level) : EvaluationTask
{
    private const string Cue = "Answer:";

    private static readonly LetteredForm Lettered = new("Question: ", Cue);

    public override TaskInfo Info { get; } = new()
    {
        Name = $"arc_{level.ToLowerInvariant()}", Title = $"ARC-{level}", Kind = TaskKind.Perplexity, Shots = 25, Metric = "Acc.",
        Score = ChoiceScore.Metric(Normalization.Unconditional), Folder = $"arc_{level.ToLowerInvariant()}", Paper = "arXiv 1803.05457",
        Published = $"allenai.org/data/arc: ARC-{level}-Test.jsonl, ARC-{level}-Train.jsonl", Licence = "CC BY-SA 4.0", LmEval = $"arc_{level.ToLowerInvariant()}",
        LmEvalScore = ChoiceScore.Metric(level == "Easy" ? Normalization.None : Normalization.Characters), Chance = 25,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var items = data.Items(data.Require($"ARC-{level}-Test.jsonl").SelectMany(data.Rows), Read);
        var poolFiles = data.Find($"ARC-{level}-Train.jsonl", $"ARC-{level}-Dev.jsonl");
        var pool = poolFiles.Count > 0 ? data.Items(poolFiles.SelectMany(data.Rows), Read) : items;
        var (count, ordered) = (Info.ShotsIn(options), Shots.Ordered(pool, i => i.Id));
        var questions = items.Select(item =>
        {
            var shots = Shots.Without(ordered, count, i => i.Id, item.Id);
            return options.Style == TaskStyle.DeepSeek ? Lettered.Question(string.Empty, shots, item, Cue) : WrittenOut(shots, item);
        });
        return new TaskContent([.. questions])
        {
            ShotSource = poolFiles.Count > 0 ? poolFiles[0] : "the evaluated split, without the item itself",
            ShotIds = [.. ordered.Take(count + (poolFiles.Count > 0 || count == 0 ? 0 : 1)).Select(i => i.Id)],
        };
    }

    private static ChoiceQuestion WrittenOut(List<LetteredItem> shots, LetteredItem item)
    {
        var context = string.Concat(shots.Select(s => $"Question: {s.Question}\n{Cue} {s.Options[s.Gold]}\n\n")) + $"Question: {item.Question}\n{Cue}";
        return new ChoiceQuestion(item.Id, item.Category, [.. item.Options.Select(o => new ChoiceOption(context, $" {o}", o) { UnconditionalContext = Cue })], [item.Gold]);
    }

    private static LetteredItem Read(DataRow row)
    {
        var question = row.Row("question");
        var choices = question.Rows("choices");
        var (labels, key) = (choices.Select(c => c.Text("label")).ToList(), row.Text("answerKey"));

        // Some items are labelled 1 to 4, and some copies give the key of such items by letter.
        var gold = labels.IndexOf(key) is var exact and >= 0 ? exact : key is [>= 'A' and <= 'E'] && key[0] - 'A' < choices.Count && labels[0] == "1" ? key[0] - 'A' : -1;
        return gold >= 0
            ? new LetteredItem(row.Text("id"), "all", question.Text("stem"), [.. choices.Select(c => c.Text("text"))], gold)
            : throw row.Error($"'answerKey': expected one of {string.Join(", ", labels)}, found '{key}'");
    }
}
