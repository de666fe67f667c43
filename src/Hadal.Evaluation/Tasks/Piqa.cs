using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// PIQA (Bisk et al., arXiv 1911.11641; yonatanbisk.com/piqa): which of two ways reaches a goal. Form: DeepSeek-V2 report, Table 32, the bare goal.
/// </summary>
internal sealed class Piqa : EvaluationTask
{
    public override TaskInfo Info { get; } = new()
    {
        Name = "piqa", Title = "PIQA", Kind = TaskKind.Perplexity, Shots = 0, Metric = "Acc.", Score = ChoiceScore.Metric(Normalization.Tokens),
        Folder = "piqa", Paper = "arXiv 1911.11641", Published = "yonatanbisk.com/piqa: valid.jsonl, valid-labels.lst", Licence = "AFL-3.0",
        LmEval = "piqa", LmEvalScore = ChoiceScore.Metric(Normalization.None), Chance = 50,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var items = Read(data, "valid.jsonl", "valid-labels.lst", required: true);
        var train = Read(data, "train.jsonl", "train-labels.lst", required: false);
        var (count, ordered) = (Info.ShotsIn(options), Shots.Ordered(train.Count > 0 ? train : items, i => i.Id));
        var lmEval = options.Style == TaskStyle.LmEval;
        string Ask(Item item) => lmEval ? $"Question: {item.Goal}\nAnswer:" : item.Goal;
        var questions = items.Select(item =>
        {
            var shots = string.Concat(Shots.Without(ordered, count, i => i.Id, item.Id).Select(s => $"{Ask(s)} {s.Solutions[s.Gold]}\n\n"));
            return new ChoiceQuestion(item.Id, "all", [.. item.Solutions.Select(o => new ChoiceOption(shots + Ask(item), $" {o}", o))], [item.Gold]);
        });
        return new TaskContent([.. questions])
        {
            ShotSource = count == 0 ? "none" : train.Count > 0 ? "train.jsonl" : "the evaluated split, without the item itself",
            ShotIds = [.. ordered.Take(count == 0 ? 0 : count + (train.Count > 0 ? 0 : 1)).Select(i => i.Id)],
        };
    }

    // Labels lie in a file of their own, a line for each line.
    private static List<Item> Read(TaskData data, string file, string labelFile, bool required)
    {
        if (!required && (data.Find(file).Count == 0 || data.Find(labelFile).Count == 0))
            return [];
        var rows = data.Rows(data.Require(file)[0]);
        var labelPath = data.Require(labelFile)[0];
        var labels = data.ReadText(labelPath).Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        if (labels.Length != rows.Count)
            throw new InvalidDataException($"{data.Shown(labelPath)}: expected {rows.Count} labels, as {file} has items, found {labels.Length}");
        return data.Items(rows, row => new Item(
            $"{Path.GetFileNameWithoutExtension(file)}/{row.Number}",
            row.Text("goal").Trim(),
            [row.Text("sol1").Trim(), row.Text("sol2").Trim()],
            labels[row.Number - 1] is "0" or "1" ? labels[row.Number - 1][0] - '0' : throw new InvalidDataException($"{data.Shown(labelPath)}: item {row.Number}: expected 0 or 1, found '{labels[row.Number - 1]}'")));
    }

    private sealed record Item(string Id, string Goal, IReadOnlyList<string> Solutions, int Gold);
}
