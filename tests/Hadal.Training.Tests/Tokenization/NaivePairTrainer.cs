using System.Text;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Training.Tests.Tokenization;

/// <summary>The definition of byte-pair training, word for word: count every pair anew before each merge.</summary>
internal static class NaivePairTrainer
{
    public static List<(byte[] Left, byte[] Right)> Train(IEnumerable<string> texts, int tokens, long fewest)
    {
        var words = new Words();
        foreach (var text in texts)
            PreTokenizer.CreateByRegex(PreTokenizerRegexes.DeepSeekV3).Split(Encoding.UTF8.GetBytes(text), words);
        var known = Enumerable.Range(0, 256).Select(b => ((char)b).ToString()).ToList();
        var merges = new List<(string Left, string Right)>();
        while (known.Count < tokens)
        {
            var counts = new Dictionary<(int, int), long>();
            foreach (var word in words.List)
            {
                for (var i = 0; i + 1 < word.Count; i++)
                    counts[(word[i], word[i + 1])] = counts.GetValueOrDefault((word[i], word[i + 1])) + 1;
            }

            if (counts.Count == 0)
                break;
            var ((left, right), count) = counts.OrderByDescending(p => p.Value).ThenBy(p => p.Key.Item1).ThenBy(p => p.Key.Item2).First();
            if (count < fewest)
                break;
            var made = known.IndexOf(known[left] + known[right]);
            if (made < 0)
            {
                made = known.Count;
                known.Add(known[left] + known[right]);
            }

            if (!merges.Contains((known[left], known[right])))
                merges.Add((known[left], known[right]));
            foreach (var word in words.List)
            {
                for (var i = 0; i + 1 < word.Count; i++)
                {
                    if (word[i] != left || word[i + 1] != right)
                        continue;
                    word[i] = made;
                    word.RemoveAt(i + 1);
                }
            }
        }

        return [.. merges.Select(m => (Encoding.Latin1.GetBytes(m.Left), Encoding.Latin1.GetBytes(m.Right)))];
    }

    private sealed class Words : PieceSink
    {
        public List<List<int>> List { get; } = [];

        public override void Add(ReadOnlySpan<byte> text, int start, int end) => List.Add([.. text[start..end].ToArray().Select(b => (int)b)]);
    }
}
