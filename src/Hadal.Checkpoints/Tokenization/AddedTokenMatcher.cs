using System.Buffers;
using System.Text;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>
/// Finds added tokens in UTF-8: the leftmost first, of several that start there the longest, as Hugging Face tokenizers' added_vocabulary.rs does.
/// Immutable.
/// </summary>
internal sealed class AddedTokenMatcher
{
    private readonly SearchValues<byte> firstBytes;
    private readonly Dictionary<(int Node, byte Edge), int> edges = [];
    private readonly List<AddedToken?> ending = [null];

    private AddedTokenMatcher(IReadOnlyCollection<AddedToken> tokens)
    {
        foreach (var token in tokens)
        {
            var node = 0;
            foreach (var b in Encoding.UTF8.GetBytes(token.Content))
            {
                if (!edges.TryGetValue((node, b), out var next))
                {
                    edges[(node, b)] = next = ending.Count;
                    ending.Add(null);
                }

                node = next;
            }

            ending[node] = token;
        }

        firstBytes = SearchValues.Create([.. edges.Keys.Where(k => k.Node == 0).Select(k => k.Edge)]);
    }

    /// <summary>A matcher of these tokens; null of none.</summary>
    public static AddedTokenMatcher? Create(IEnumerable<AddedToken> tokens)
    {
        var list = tokens.Where(t => t.Content.Length > 0).ToList();
        return list.Count == 0 ? null : new(list);
    }

    /// <summary>Finds the next token in <c>text[from..]</c>.</summary>
    /// <param name="text">The text, well-formed UTF-8.</param>
    /// <param name="from">Where to look from, and how far back <see cref="AddedToken.StripLeft"/> may reach.</param>
    /// <param name="start">Where the match starts, stripped white space included.</param>
    /// <param name="end">Where it ends.</param>
    public AddedToken? Find(ReadOnlySpan<byte> text, int from, out int start, out int end)
    {
        for (var at = from; at < text.Length; at++)
        {
            var skip = text[at..].IndexOfAny(firstBytes);
            if (skip < 0)
                break;
            at += skip;
            if (Longest(text, at, out end) is not { } token)
                continue;
            if (token.SingleWord && (EndsWithWord(text[..at]) || StartsWithWord(text[end..])))
            {
                at = end - 1;
                continue;
            }

            start = at;
            if (token.StripLeft)
            {
                while (start > from && Rune.DecodeLastFromUtf8(text[from..start], out var before, out var length) == OperationStatus.Done && Rune.IsWhiteSpace(before))
                    start -= length;
            }

            if (token.StripRight)
            {
                while (end < text.Length && CharClasses.Peek(text, end, out var next).Has(CharClass.Space))
                    end = next;
            }

            return token;
        }

        start = end = text.Length;
        return null;
    }

    private AddedToken? Longest(ReadOnlySpan<byte> text, int at, out int end)
    {
        AddedToken? found = null;
        end = at;
        for (var node = 0; at < text.Length && edges.TryGetValue((node, text[at]), out node);)
        {
            at++;
            if (ending[node] is { } token)
                (found, end) = (token, at);
        }

        return found;
    }

    private static bool StartsWithWord(ReadOnlySpan<byte> text) => Rune.DecodeFromUtf8(text, out var rune, out _) == OperationStatus.Done && IsWord(rune);

    private static bool EndsWithWord(ReadOnlySpan<byte> text) => Rune.DecodeLastFromUtf8(text, out var rune, out _) == OperationStatus.Done && IsWord(rune);

    /// <summary>The regex crate's <c>\w</c>, but for the few letters-by-property that are symbols.</summary>
    private static bool IsWord(Rune rune) =>
        CharClasses.Of(rune.Value).Has(CharClass.Letter | CharClass.Mark) || Rune.IsDigit(rune)
        || Rune.GetUnicodeCategory(rune) is System.Globalization.UnicodeCategory.ConnectorPunctuation or System.Globalization.UnicodeCategory.LetterNumber;
}
