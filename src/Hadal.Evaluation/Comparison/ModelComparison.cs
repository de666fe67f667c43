using System.Globalization;
using System.Text;
using Hadal.Evaluation.Reports;
using Hadal.Evaluation.Running;

namespace Hadal.Evaluation.Comparison;

/// <summary>
/// Models side by side in the shape of Table 3 of the DeepSeek-V3 report. Scores of this program are compared only where their settings are the same; scores
/// whose gap does not exceed 0.3 are at the same level, as under that table (bits per byte have no such band).
/// </summary>
public sealed class ModelComparison
{
    /// <summary>Largest gap, in points, of scores at the same level.</summary>
    public const double LevelGap = 0.3;

    private const double Rounding = 1e-9;

    private ModelComparison(IReadOnlyList<ModelColumn> columns, IReadOnlyList<ComparisonRow> rows)
    {
        Columns = columns;
        Rows = rows;
    }

    /// <summary>The models.</summary>
    public IReadOnlyList<ModelColumn> Columns { get; }

    /// <summary>The benchmarks that at least one of them has, in the table's order.</summary>
    public IReadOnlyList<ComparisonRow> Rows { get; }

    /// <summary>Lays models side by side.</summary>
    /// <param name="results">Results of this program.</param>
    /// <param name="published">Names of columns of <see cref="PublishedTable"/> to add.</param>
    /// <exception cref="InvalidDataException">Two results of a task have different settings; the message says in what.</exception>
    /// <exception cref="ArgumentException">A published column has another name, or there is nothing to compare.</exception>
    public static ModelComparison Of(IReadOnlyList<RunResults> results, IReadOnlyList<string> published)
    {
        ArgumentNullException.ThrowIfNull(results);
        ArgumentNullException.ThrowIfNull(published);
        var chosen = published.Select(Find).ToList();
        if (results.Count + chosen.Count < 2)
            throw new ArgumentException("at least two models are needed for a comparison");
        var columns = results.Select(r => new ModelColumn(r.Model.Name, r.Model.ActivatedParameters, r.Model.TotalParameters, IsPublished: false))
            .Concat(chosen.Select(i => PublishedTable.Models[i]).Select(m => new ModelColumn(m.Name, m.Activated, m.Total, IsPublished: true))).ToList();
        var rows = new List<ComparisonRow>();
        foreach (var row in PublishedTable.Rows)
        {
            var own = results.Select(r => r.Tasks.FirstOrDefault(t => t.Title == row.Title)).ToList();
            CheckSettings(results, own);
            var scores = own.Select(t => t?.Score).Concat(chosen.Select(i => (double?)row.Scores[i])).ToList();

            // What only the published table has is a row of no one's.
            if (own.Exists(t => t is not null) || results.Count == 0)
                rows.Add(new ComparisonRow(row.Title, row.Metric, own.OfType<TaskResult>().FirstOrDefault()?.Setting.Shots ?? row.Shots, row.Group, scores));
        }

        return new ModelComparison(columns, rows);
    }

    /// <summary>Whether two scores are at the same level.</summary>
    public static bool AreLevel(string metric, double a, double b) => metric == "BPB" ? a == b : Math.Abs(a - b) <= LevelGap + Rounding;

    /// <summary>The table in Markdown: the best of a row in bold, those at its level marked ≈, published columns marked as such; then the findings.</summary>
    public string ToMarkdown()
    {
        var page = new StringBuilder("| | | ").Append(string.Join(" | ", Columns.Select(c => c.Name + (c.IsPublished ? " (published)" : string.Empty)))).Append(" |\n");
        page.Append("|---|---|").Append(string.Concat(Enumerable.Repeat("---|", Columns.Count))).Append('\n');
        page.Append("| activated parameters | | ").Append(string.Join(" | ", Columns.Select(c => Figures.Parameters(c.Activated)))).Append(" |\n");
        page.Append("| total parameters | | ").Append(string.Join(" | ", Columns.Select(c => Figures.Parameters(c.Total)))).Append(" |\n");
        foreach (var row in Rows)
            page.Append(CultureInfo.InvariantCulture, $"| {row.Title} ({row.Metric}) | {row.ShotsText} | ").Append(string.Join(" | ", row.Scores.Select((_, i) => row.Marked(i)))).Append(" |\n");
        foreach (var finding in Findings.Of(this))
            page.Append('\n').Append(finding).Append('\n');
        return page.ToString();
    }

    private static int Find(string name)
    {
        for (var i = 0; i < PublishedTable.Models.Count; i++)
        {
            if (Plain(PublishedTable.Models[i].Name).Contains(Plain(name), StringComparison.Ordinal))
                return i;
        }

        throw new ArgumentException($"there is no published column '{name}'; there are {string.Join(", ", PublishedTable.Models.Select(m => m.Name))}");

        static string Plain(string text) => string.Concat(text.ToLowerInvariant().Where(char.IsLetterOrDigit));
    }

    private static void CheckSettings(IReadOnlyList<RunResults> results, List<TaskResult?> tasks)
    {
        var first = tasks.FindIndex(t => t is not null);
        for (var i = first + 1; first >= 0 && i < tasks.Count; i++)
        {
            if (tasks[i] is not { } other || other.Setting.Hash == tasks[first]!.Setting.Hash)
                continue;
            var difference = Difference(tasks[first]!.Setting, other.Setting);
            throw new InvalidDataException($"{other.Task}: {results[first].Model.Name} and {results[i].Model.Name} were evaluated in different settings ({difference}) and cannot be compared");
        }
    }

    private static string Difference(Setting a, Setting b)
    {
        List<string> different = [];
        Check("version", a.Version.ToString(CultureInfo.InvariantCulture), b.Version.ToString(CultureInfo.InvariantCulture));
        Check("style", a.Style.ToString(), b.Style.ToString());
        Check("shots", a.Shots.ToString(CultureInfo.InvariantCulture), b.Shots.ToString(CultureInfo.InvariantCulture));
        Check("score", a.Score, b.Score);
        Check("decoding", a.Decoding, b.Decoding);
        Check("limit", a.Limit?.ToString(CultureInfo.InvariantCulture) ?? "none", b.Limit?.ToString(CultureInfo.InvariantCulture) ?? "none");
        if (different.Count == 0)
            different.Add(a.Data.OrderBy(d => d.Key).SequenceEqual(b.Data.OrderBy(d => d.Key)) ? "examples or prompts" : "data files");
        return string.Join(", ", different);

        void Check(string name, string x, string y)
        {
            if (x != y)
                different.Add($"{name} {x} and {y}");
        }
    }
}

/// <summary>A model in a comparison.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Activated">Activated parameters, or null.</param>
/// <param name="Total">Total parameters, or null.</param>
/// <param name="IsPublished">Whether its scores are its publisher's.</param>
public sealed record ModelColumn(string Name, long? Activated, long? Total, bool IsPublished);

/// <summary>A benchmark in a comparison.</summary>
/// <param name="Title">Benchmark.</param>
/// <param name="Metric">Score's name.</param>
/// <param name="Shots">Examples, or null.</param>
/// <param name="Group">Part of the table.</param>
/// <param name="Scores">Scores in the order of the columns; null where a model has none.</param>
public sealed record ComparisonRow(string Title, string Metric, int? Shots, BenchmarkGroup Group, IReadOnlyList<double?> Scores)
{
    /// <summary><c>5-shot</c>.</summary>
    public string ShotsText => Shots is { } shots && Metric != "BPB" ? string.Create(CultureInfo.InvariantCulture, $"{shots}-shot") : "-";

    /// <summary>How much better the first is than the second, in the metric's unit; null where one is missing.</summary>
    public double? Lead(int first, int second) => Scores[first] is { } a && Scores[second] is { } b ? Metric == "BPB" ? b - a : a - b : null;

    /// <summary>Whether a score is the best of the row.</summary>
    public bool IsBest(int column) => Scores[column] is not null && !Enumerable.Range(0, Scores.Count).Any(other => Lead(other, column) > 0);

    /// <summary>Whether a score is not the best, but at its level.</summary>
    public bool IsLevelWithBest(int column) =>
        Scores[column] is { } own && !IsBest(column) && Enumerable.Range(0, Scores.Count).Any(other => IsBest(other) && ModelComparison.AreLevel(Metric, Scores[other]!.Value, own));

    /// <summary>The score in Markdown.</summary>
    public string Marked(int column)
    {
        if (Scores[column] is not { } score)
            return "–";
        var text = Figures.Score(Metric, score);
        return IsBest(column) ? $"**{text}**" : IsLevelWithBest(column) ? $"{text} ≈" : text;
    }
}
