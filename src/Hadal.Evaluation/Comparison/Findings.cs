using System.Globalization;

namespace Hadal.Evaluation.Comparison;

/// <summary>
/// A comparison in sentences, as section 4.4.2 of the DeepSeek-V3 report writes its Table 3: one model against each of the others. Every word of judgement
/// stands for a count: comprehensively is at least 80% of the benchmarks, the majority more than half; a remarkable advantage in a group is a mean lead of at
/// least 3 points and a lead in at least 80% of its benchmarks.
/// </summary>
public static class Findings
{
    private const double Comprehensive = 0.8;
    private const double RemarkableLead = 3;

    /// <summary>The sentences. The model spoken of is DeepSeek-V3-Base among published columns alone, and the first otherwise.</summary>
    public static IReadOnlyList<string> Of(ModelComparison comparison)
    {
        ArgumentNullException.ThrowIfNull(comparison);
        var columns = comparison.Columns;
        var subject = columns[0].IsPublished && columns.ToList().FindIndex(c => c.Name == "DeepSeek-V3-Base") is var own and >= 0 ? own : 0;
        var pairs = Enumerable.Range(0, columns.Count).Where(o => o != subject).Select(o => new Pair(comparison, subject, o)).Where(p => p.Count > 0).ToList();
        List<string> sentences = [Setting(comparison)];
        if (pairs.Count == 0)
            return sentences;
        sentences.Add(Overall(columns[subject].Name, pairs));
        sentences.AddRange(pairs.Select((p, i) => string.Create(CultureInfo.InvariantCulture, $"({i + 1}) {p.Sentence}")));
        return sentences;
    }

    // 37B of 72B is half; 405B is eleven times 37B.
    internal static string Size(ModelColumn subject, ModelColumn other)
    {
        if (subject.Activated is not { } own || other.Activated is not { } theirs || own == 0 || theirs == 0)
            return string.Empty;
        var ratio = (double)theirs / own;
        return ratio switch
        {
            >= 1.8 and <= 2.2 => ", with only half of the activated parameters",
            > 1.2 => string.Create(CultureInfo.InvariantCulture, $", which has {(ratio < 3 ? ratio.ToString("0.0", CultureInfo.InvariantCulture) : Math.Round(ratio).ToString(CultureInfo.InvariantCulture))} times the activated parameters"),
            < 0.83 => string.Create(CultureInfo.InvariantCulture, $", with {1 / ratio:0.0} times its activated parameters"),
            _ => ", with about as many activated parameters",
        };
    }

    private static string Setting(ModelComparison comparison)
    {
        var measured = comparison.Columns.Count(c => !c.IsPublished);
        var published = comparison.Columns.Where(c => c.IsPublished).Select(c => c.Name).ToList();
        var own = measured switch { 0 => string.Empty, 1 => "One model was evaluated by this program. ", _ => $"All {measured} models that were evaluated by this program share the same setting in every task. " };
        return own + (published.Count > 0 ? $"The scores of {List(published)} are published ones (Table 3 of the DeepSeek-V3 report), measured by their publisher in one setting of its own." : string.Empty).Trim();
    }

    private static string Overall(string subject, List<Pair> pairs)
    {
        List<string> parts = [];
        Add("comprehensively outperforms", p => p.Wins >= Comprehensive * p.Count);
        Add("surpasses", p => p.Wins < Comprehensive * p.Count && 2 * p.Wins > p.Count, " in the majority of benchmarks");
        Add("is level with or split against", p => 2 * p.Wins <= p.Count && 2 * p.Losses <= p.Count);
        Add("is behind", p => 2 * p.Losses > p.Count, " in the majority of benchmarks");
        var strongest = pairs.TrueForAll(p => 2 * p.Wins > p.Count) ? ", which makes it the strongest of the models compared" : string.Empty;
        return $"Overall, {subject} {List(parts)}{strongest}.";

        void Add(string verb, Func<Pair, bool> holds, string where = "")
        {
            var names = pairs.Where(holds).Select(p => p.Other.Name).ToList();
            if (names.Count > 0)
                parts.Add($"{verb} {List(names)}{where}");
        }
    }

    private static string List(IReadOnlyList<string> names) => names.Count switch
    {
        0 => string.Empty,
        1 => names[0],
        2 => $"{names[0]} and {names[1]}",
        _ => $"{string.Join(", ", names.SkipLast(1))}, and {names[^1]}",
    };

    // One model against another.
    private sealed class Pair
    {
        private readonly ModelColumn subject;
        private readonly List<(ComparisonRow Row, double Lead, int Sign, string Scores)> rows = [];

        public Pair(ModelComparison comparison, int subjectIndex, int otherIndex)
        {
            subject = comparison.Columns[subjectIndex];
            Other = comparison.Columns[otherIndex];
            foreach (var row in comparison.Rows)
            {
                if (row.Lead(subjectIndex, otherIndex) is not { } lead)
                    continue;
                var (own, theirs) = (row.Scores[subjectIndex]!.Value, row.Scores[otherIndex]!.Value);
                var sign = ModelComparison.AreLevel(row.Metric, own, theirs) ? 0 : Math.Sign(lead);
                rows.Add((row, lead, sign, $"{Reports.Figures.Score(row.Metric, own)} against {Reports.Figures.Score(row.Metric, theirs)}"));
            }
        }

        public ModelColumn Other { get; }

        public int Count => rows.Count;

        public int Wins => rows.Count(r => r.Sign > 0);

        public int Losses => rows.Count(r => r.Sign < 0);

        public string Sentence
        {
            get
            {
                var groups = rows.GroupBy(r => r.Row.Group).OrderBy(g => g.Key).ToList();
                var remarkable = groups.Where(IsRemarkable).ToList();
                var text = $"Compared with {Other.Name}{Size(subject, Other)}, {subject.Name} is better on {Wins}, level on {Count - Wins - Losses} and behind on {Losses} of {Count} benchmarks";
                if (remarkable.Count > 0)
                    text += $", with remarkable advantages on {List([.. remarkable.Select(g => Name(g.Key))])}";
                return text + "." + string.Concat(groups.Where(g => !IsRemarkable(g)).Select(g => " " + Group(g)));
            }
        }

        private static bool IsRemarkable(IGrouping<BenchmarkGroup, (ComparisonRow Row, double Lead, int Sign, string Scores)> group)
        {
            // Bits per byte are no points.
            var points = group.Where(r => r.Row.Metric != "BPB").ToList();
            return points.Count > 0 && points.Average(r => r.Lead) >= RemarkableLead && points.Count(r => r.Sign > 0) >= Comprehensive * points.Count;
        }

        private string Group(IGrouping<BenchmarkGroup, (ComparisonRow Row, double Lead, int Sign, string Scores)> group)
        {
            var behind = group.Where(r => r.Sign < 0).ToList();
            var (wins, name) = (group.Count(r => r.Sign > 0), Name(group.Key));
            if (wins == group.Count())
                return $"As for {name} benchmarks, it is better on every one.";
            if (behind.Count == 0)
                return wins > 0 ? $"As for {name} benchmarks, it is better than or level with {Other.Name} on every one." : $"As for {name} benchmarks, the two are level.";
            if (2 * wins > group.Count())
                return $"As for {name} benchmarks, except for {List([.. behind.Select(r => $"{r.Row.Title} ({r.Scores})")])}, it is also better than or level with {Other.Name}.";
            return $"As for {name} benchmarks, it is better on {wins} and behind on {behind.Count} of {group.Count()}: {List([.. behind.Select(r => $"{r.Row.Title} ({r.Scores})")])}.";
        }

        private static string Name(BenchmarkGroup group) => group switch
        {
            BenchmarkGroup.English => "English", BenchmarkGroup.Chinese => "Chinese", BenchmarkGroup.Multilingual => "multilingual", BenchmarkGroup.Code => "code", _ => "math",
        };
    }
}
