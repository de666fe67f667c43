using System.Globalization;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Contamination;

/// <summary>
/// Which of a benchmark's items occur in a corpus: those that share a run of 13 words with it (Brown et al., arXiv 2005.14165, appendix C). Words are runs of
/// letters and digits in lower case; Chinese, which writes no spaces, counts by the character. Items shorter than that are looked for as a whole.
/// </summary>
/// <remarks>Runs are kept as 64-bit hashes: of a billion words about one in 10^9 is taken for another by chance for each item's run.</remarks>
public sealed class OverlapIndex
{
    /// <summary>Words in a run.</summary>
    public const int RunLength = 13;

    // Runs of fewer words occur anywhere.
    private const int ShortestRun = 6;

    private readonly Dictionary<ulong, List<int>> items = [];
    private readonly SortedSet<int> lengths = [];
    private readonly List<OverlapItem> all = [];
    private readonly HashSet<int> found = [];

    /// <summary>Items that are looked for.</summary>
    public IReadOnlyList<OverlapItem> Items => all;

    /// <summary>Items that were found.</summary>
    public IEnumerable<OverlapItem> Found => found.Order().Select(i => all[i]);

    /// <summary>Words of the corpus so far.</summary>
    public long Words { get; private set; }

    /// <summary>Adds an item to be looked for.</summary>
    /// <param name="task">Its benchmark.</param>
    /// <param name="id">Its id.</param>
    /// <param name="text">What is its own: the question with its options, without examples and instructions.</param>
    /// <returns>Whether it has enough words to be told apart.</returns>
    public bool Add(string task, string id, string text)
    {
        var words = Split(text);
        if (words.Count < ShortestRun)
            return false;
        var length = Math.Min(words.Count, RunLength);
        lengths.Add(length);
        all.Add(new OverlapItem(task, id));
        for (var start = 0; start + length <= words.Count; start++)
        {
            ref var list = ref CollectionsMarshal.GetValueRefOrAddDefault(items, Hash(CollectionsMarshal.AsSpan(words).Slice(start, length)), out _);
            (list ??= []).Add(all.Count - 1);
        }

        return true;
    }

    /// <summary>Looks for the items in a text of the corpus.</summary>
    /// <returns>Items newly found.</returns>
    public int Scan(string text)
    {
        var words = Split(text);
        Words += words.Count;
        var before = found.Count;
        foreach (var length in lengths)
        {
            for (var start = 0; start + length <= words.Count; start++)
            {
                if (items.TryGetValue(Hash(CollectionsMarshal.AsSpan(words).Slice(start, length)), out var hits))
                    found.UnionWith(hits);
            }
        }

        return found.Count - before;
    }

    /// <summary>
    /// What is each question's own: what it asks, with its options, without what all questions of its category begin with (instructions, examples).
    /// </summary>
    public static IEnumerable<(Question Question, string Text)> OwnTexts(IReadOnlyList<Question> questions)
    {
        ArgumentNullException.ThrowIfNull(questions);
        foreach (var category in questions.GroupBy(q => q.Category).Select(g => g.ToList()))
        {
            var prompts = category.ConvertAll(Prompt);
            var shared = prompts.Count > 1 ? prompts.Aggregate(prompts[0].Length, (length, p) => prompts[0].AsSpan(0, length).CommonPrefixLength(p)) : 0;
            for (var i = 0; i < category.Count; i++)
                yield return (category[i], prompts[i][shared..] + (category[i] is ChoiceQuestion choice ? $" {string.Join(' ', choice.Options.Select(o => o.Text))}" : string.Empty));
        }
    }

    // Hash of each word, in order.
    internal static List<ulong> Split(string text)
    {
        var words = new List<ulong>();
        var word = new StringBuilder();
        foreach (var rune in text.Normalize(NormalizationForm.FormKC).EnumerateRunes())
        {
            if (IsHan(rune))
            {
                End();
                word.Append(rune.ToString());
                End();
            }
            else if (Rune.IsLetterOrDigit(rune) || Rune.GetUnicodeCategory(rune) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark)
            {
                word.Append(Rune.ToLowerInvariant(rune).ToString());
            }
            else
            {
                End();
            }
        }

        End();
        return words;

        void End()
        {
            if (word.Length > 0)
                words.Add(XxHash3.HashToUInt64(Encoding.UTF8.GetBytes(word.ToString())));
            word.Clear();
        }
    }

    private static bool IsHan(Rune rune) => rune.Value is (>= 0x3400 and <= 0x9FFF) or (>= 0xF900 and <= 0xFAFF) or (>= 0x20000 and <= 0x3FFFF) or (>= 0x3040 and <= 0x30FF);

    private static ulong Hash(ReadOnlySpan<ulong> words) => XxHash3.HashToUInt64(MemoryMarshal.AsBytes(words));

    private static string Prompt(Question question) => question switch
    {
        ChoiceQuestion choice => choice.Options[0].Context,
        OpenQuestion open => open.Input.Prompt,
        _ => ((TextQuestion)question).Text,
    };
}

/// <summary>An item that is looked for.</summary>
/// <param name="Task">Benchmark.</param>
/// <param name="Id">Id.</param>
public sealed record OverlapItem(string Task, string Id);
