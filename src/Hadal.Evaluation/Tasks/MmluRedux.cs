using System.Globalization;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// MMLU-Redux (Gema et al., arXiv 2406.04127; github aryopg/mmlu-redux): a re-annotated part of MMLU. Questions found to be wrong are left out, except those
/// whose only fault was the key and whose right answer was given. Form and examples: MMLU's.
/// </summary>
internal sealed class MmluRedux : EvaluationTask
{
    public override TaskInfo Info { get; } = new()
    {
        Name = "mmlu_redux", Title = "MMLU-Redux", Kind = TaskKind.Perplexity, Shots = 5, Metric = "Acc.", Score = ChoiceScore.Metric(Normalization.None),
        Folder = "mmlu_redux", Paper = "arXiv 2406.04127", Published = "github.com/aryopg/mmlu-redux: mmlu_redux/*.csv", Licence = "CC BY 4.0", Chance = 25,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var files = data.Require("mmlu_redux/mmlu_*.csv", "mmlu_*.csv");
        var count = Info.ShotsIn(options);
        var mmlu = data.Sibling("mmlu");
        var shots = mmlu is null ? [] : Mmlu.DevShots(mmlu, count);
        var leftOut = 0;
        var items = new List<LetteredItem>();
        foreach (var file in files)
        {
            var subject = Path.GetFileNameWithoutExtension(file)["mmlu_".Length..];
            foreach (var item in data.Items(Rows(data, file), r => Read(r, subject)))
            {
                if (item is null)
                    leftOut++;
                else
                    items.Add(item);
            }
        }

        if (leftOut > 0)
            data.Notes.Add($"{leftOut} questions that the annotators found to be wrong are left out");
        if (mmlu is null && count > 0)
        {
            data.Notes.Add("MMLU's dev files are not there: examples come from the evaluated questions, without the question itself");
            shots = items.GroupBy(i => i.Category).ToDictionary(g => g.Key, g => Shots.Ordered(g, i => i.Id));
        }

        var questions = items.Select(i => LetteredForm.English.Question(Mmlu.Header(i.Category), Shots.Without(shots.GetValueOrDefault(i.Category, []), count, s => s.Id, i.Id), i));
        return new TaskContent([.. questions])
        {
            ShotSource = mmlu is null ? "the evaluated split, without the item itself" : "MMLU's dev, from the first",
            ShotIds = [.. shots.Values.SelectMany(s => s.Take(count + (mmlu is null ? 1 : 0))).Select(s => s.Id)],
        };
    }

    // Some of the files are separated by semicolons, and the order of columns differs: the header says.
    private static IReadOnlyList<DataRow> Rows(TaskData data, string file)
    {
        var header = data.ReadText(file).Split('\n')[0];
        return data.Csv(file, header.Count(c => c == ';') > header.Count(c => c == ',') ? ';' : ',');
    }

    private static LetteredItem? Read(DataRow row, string subject)
    {
        var choices = row.Text("choices");
        var options = PythonLiteral.Texts(choices) ?? throw row.Error($"'choices': expected a list of texts, found '{choices[..Math.Min(60, choices.Length)]}'");
        var gold = row.Option("answer", options.Count);
        switch (row.Text("error_type").Trim())
        {
            case "" or "OK" or "ok":
                break;
            case "Wrong Groundtruth" or "wrong_groundtruth" when Corrected(row, options) is { } corrected:
                gold = corrected;
                break;
            default:
                return null;
        }

        return new LetteredItem($"{subject}/{row.Number}", subject, row.Text("question"), options, gold);
    }

    // The annotators' answer: a number, a letter, or the option's text.
    private static int? Corrected(DataRow row, IReadOnlyList<string> options)
    {
        var text = (row.TextOrNull("correct_answer") ?? string.Empty).Trim();
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number < options.Count)
            return number;
        if (text is [>= 'A' and <= 'Z'] && text[0] - 'A' < options.Count)
            return text[0] - 'A';
        var index = options.ToList().FindIndex(o => o.Trim() == text);
        return index >= 0 ? index : null;
    }
}
