using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// CLUEWSC 2020 (Xu et al., arXiv 2004.05986; github CLUEbenchmark): what a pronoun in a Chinese sentence stands for. Form: DeepSeek-V2 report, Table 23: the
/// model writes the referent. The data pairs a sentence with right and wrong referents; only the right ones can be asked for so, the others are left out.
/// </summary>
internal sealed class CluewscTask : EvaluationTask
{
    private static readonly string[] Stops = ["\n"];

    public override TaskInfo Info { get; } = new()
    {
        Name = "cluewsc", Title = "CLUEWSC", Kind = TaskKind.Generation, Shots = 5, Metric = "EM", Score = "em", Folder = "cluewsc", Paper = "arXiv 2004.05986",
        Published = "github.com/CLUEbenchmark/CLUE: dev.json, train.json; FewCLUE: test_public.json, train_few_all.json", Licence = "not stated",
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var all = data.Items(data.Require("dev.json", "test_public.json").SelectMany(data.Rows), Read);
        var items = Asked(all);
        if (items.Count < all.Count)
            data.Notes.Add($"{all.Count - items.Count} items are left out: they name a wrong referent, or ask what another asks");
        var poolFiles = data.Find("train.json", "train_few_all.json");
        var pool = poolFiles.Count > 0 ? Asked(data.Items(poolFiles.SelectMany(data.Rows), r => Read(r) with { Id = $"train/{r.Number}" })) : items;
        var (count, ordered) = (Info.ShotsIn(options), Shots.Ordered(pool, i => i.Id));
        var questions = items.Select(item =>
        {
            var shots = string.Concat(Shots.Without(ordered, count, i => i.Id, item.Id).Select(s => $"{Ask(s)}{s.Referent}\n\n"));
            return OpenQuestion.Of(item.Id, "all", new GenerationInput(shots + Ask(item), Stops, 32), item.Referent, output => Judge(output, item.Referent));
        });
        return new TaskContent([.. questions])
        {
            ShotSource = poolFiles.Count > 0 ? poolFiles[0] : "the evaluated split, without the item itself",
            ShotIds = [.. ordered.Take(count + (poolFiles.Count > 0 || count == 0 ? 0 : 1)).Select(i => i.Id)],
        };
    }

    /// <summary>Whether an output names the referent, punctuation aside.</summary>
    internal static Verdict Judge(string output, string referent)
    {
        var answer = output.Trim();
        return Verdict.Of(answer, AnswerText.Cmrc(answer) == AnswerText.Cmrc(referent));
    }

    private static string Ask(Item item) => $"{item.Text}\n上面的句子中的\"{item.Pronoun}\"指的是\n";

    private static List<Item> Asked(IEnumerable<Item> items) => [.. items.Where(i => i.IsRight).DistinctBy(i => (i.Text, i.Pronoun, i.Position))];

    private static Item Read(DataRow row)
    {
        var target = row.Row("target");
        var label = row.Text("label");
        return label is "true" or "false"
            ? new Item($"{row.Number}", row.Text("text"), target.Text("span2_text"), target.Text("span2_index"), target.Text("span1_text"), label == "true")
            : throw row.Error($"'label': expected true or false, found '{label}'");
    }

    private sealed record Item(string Id, string Text, string Pronoun, string Position, string Referent, bool IsRight);
}
