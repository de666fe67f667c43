using System.Text;

namespace Hadal.Checkpoints.Tokenization;

/// <summary>Makes tokenizers of DeepSeek V3's kind that no file holds.</summary>
internal static class ByteLevelTokenizers
{
    private const string Name = "new tokenizer";

    /// <summary>Tokens that every such tokenizer has: the bytes, and V3's added tokens but for its placeholders.</summary>
    public static int FewestTokens => Before.Length + 256 + After.Length;

    /// <summary>V3's added tokens: three before the bytes, then placeholders and the others after the merges.</summary>
    private static readonly (string Content, bool Special)[] Before = [("<｜begin▁of▁sentence｜>", true), ("<｜end▁of▁sentence｜>", true), ("<｜▁pad▁｜>", true)];

    private static readonly (string Content, bool Special)[] After =
    [
        ("<｜fim▁hole｜>", false), ("<｜fim▁begin｜>", false), ("<｜fim▁end｜>", false), ("<｜User｜>", false), ("<｜Assistant｜>", false), ("<|EOT|>", true),
        ("<｜tool▁calls▁begin｜>", false), ("<｜tool▁calls▁end｜>", false), ("<｜tool▁call▁begin｜>", false), ("<｜tool▁call▁end｜>", false),
        ("<｜tool▁outputs▁begin｜>", false), ("<｜tool▁outputs▁end｜>", false), ("<｜tool▁output▁begin｜>", false), ("<｜tool▁output▁end｜>", false), ("<｜tool▁sep｜>", false),
    ];

    /// <summary>See <see cref="Tokenizer.CreateByteLevel"/>.</summary>
    public static Tokenizer Create(IEnumerable<(string Left, string Right)> merges, IEnumerable<string> moreTokens, string? chatTemplate, int placeholders)
    {
        var builder = new VocabularyBuilder(Name, "vocab", "merges", "added tokens");
        var next = Before.Length;
        for (var b = 0; b < 256; b++)
            builder.AddToken(Encoding.UTF8.GetBytes([ByteAlphabet.Spell((byte)b)]), next++);
        var pairs = merges.ToList();
        foreach (var (left, right) in pairs)
        {
            var joined = Encoding.UTF8.GetBytes(left + right);
            if (builder.Vocabulary.Find(joined) < 0)
                builder.AddToken(joined, next++);
        }

        builder.CompleteTokens();
        foreach (var (left, right) in pairs)
            builder.EndMerge(builder.BeginMerge(Encoding.UTF8.GetBytes(left)), Encoding.UTF8.GetBytes(right));
        for (var id = 0; id < Before.Length; id++)
            builder.AddAddedToken(new(id, Before[id].Content, Before[id].Special));
        for (var i = 0; i < placeholders; i++)
            builder.AddAddedToken(new(next++, $"<｜place▁holder▁no▁{i}｜>", Special: true));
        foreach (var (content, special) in After.Concat(moreTokens.Select(t => (t, false))))
            builder.AddAddedToken(new(next++, content, special, Normalized: true));
        var config = new TokenizerConfig(Before[0].Content, Before[1].Content, AddBos: true, chatTemplate);
        return new(new(builder.Vocabulary, builder.Merges(), builder.AddedTokens, PreTokenizerRegexes.DeepSeekV3, IgnoreMerges: false, config));
    }
}
