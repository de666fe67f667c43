using System.Text;
using CsCheck;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Checkpoints.Tests.Tokenization;

/// <summary>The hand-written pre-tokenizers against regular expressions.</summary>
public sealed class PreTokenizerTests
{
    /// <summary>Characters at the edges of what the regexes tell apart, and of what regex engines disagree on.</summary>
    private static readonly int[] Edges =
    [
        'a', 'Z', '0', '9', ' ', ' ', ' ', '\t', '\v', '\f', '\r', '\n', '\n', '.', ',', '\'', '_', '$', '+', '`', '~', '(', 0, 1, 0x1C, 0x1F, 0x7F, 0x85, 0xA0, 0xAD, 0xB2, 0xB5, 0xBC, 0xDF,
        0xE9, 0x130, 0x1BB, 0x294, 0x2B0, 0x300, 0x301, 0x345, 0x370, 0x483, 0x5D0, 0x61C, 0x660, 0x903, 0x93F, 0x967, 0xE01, 0xE33, 0x1100, 0x1680, 0x16EE, 0x180E, 0x1F5F, 0x1FBE, 0x2000, 0x200B,
        0x200D, 0x2018, 0x201F, 0x2028, 0x2029, 0x202F, 0x203F, 0x205F, 0x2060, 0x20AC, 0x2126, 0x2160, 0x2460, 0x25CC, 0x3000, 0x3001, 0x3002, 0x3005, 0x3007, 0x3021, 0x3040, 0x3041, 0x3097, 0x3099,
        0x309B, 0x309D, 0x309F, 0x30A0, 0x30A1, 0x30FB, 0x30FC, 0x30FF, 0x3131, 0x3400, 0x4DBF, 0x4E00, 0x6C49, 0x9FA5, 0x9FA6, 0xA000, 0xA7D0, 0xA7F5, 0xA7FA, 0xAB5A, 0xAC00, 0xD7A3, 0xD7FF, 0xE000, 0xF900, 0xFB01, 0xFDD0, 0xFE0F,
        0xFEFF, 0xFF01, 0xFF10, 0xFF21, 0xFF5E, 0xFFFD, 0xFFFF, 0x10000, 0x10107, 0x10140, 0x10400, 0x1044F, 0x104D4, 0x10A01, 0x118A0, 0x11F00, 0x1D400, 0x1D7CE, 0x1E900, 0x1F600, 0x1F3FD, 0x20000,
        0x2A6DF, 0x30000, 0xE0001, 0xE0100, 0xF0000, 0x10FFFF,
    ];

    private static readonly Gen<int> CodePoint = Gen.Frequency(
        (12, Gen.Int[0, Edges.Length - 1].Select(i => Edges[i])),
        (2, Gen.Int[0, 0x10FFFF].Select(c => c is >= 0xD800 and <= 0xDFFF ? ' ' : c)),
        (1, Gen.Int[0x20, 0x7E]));

    /// <summary>Random text, in which a character often repeats: runs are where the regexes differ.</summary>
    private static readonly Gen<string> Text = Gen.Select(CodePoint, Gen.Frequency((3, Gen.Const(1)), (1, Gen.Int[1, 5])))
        .Select(r => string.Concat(Enumerable.Repeat(char.ConvertFromUtf32(r.Item1), r.Item2))).Array[0, 40].Select(string.Concat);

    public static TheoryData<string> Names => [.. PreTokenizerRegexes.Named.Select(n => n.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void Fast_and_regex_pre_tokenizers_cut_alike(string name)
    {
        var regexes = PreTokenizerRegexes.Named.Single(n => n.Name == name).Regexes;
        var fast = PreTokenizer.Create(regexes);
        var slow = PreTokenizer.CreateByRegex(regexes);
        Text.Sample(text => Assert.Equal(Pieces(slow, text), Pieces(fast, text)), iter: 10_000);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Every_pair_of_edge_characters_is_cut_alike(string name)
    {
        var regexes = PreTokenizerRegexes.Named.Single(n => n.Name == name).Regexes;
        var fast = PreTokenizer.Create(regexes);
        var slow = PreTokenizer.CreateByRegex(regexes);
        foreach (var a in Edges.Distinct())
        {
            var text = new StringBuilder();
            foreach (var b in Edges.Distinct())
                text.Append(char.ConvertFromUtf32(a)).Append(char.ConvertFromUtf32(b));
            Assert.Equal(Pieces(slow, text.ToString()), Pieces(fast, text.ToString()));
        }
    }

    [Theory]
    [InlineData("a  b", "a| | b")]
    [InlineData("a  5", "a|  |5")]
    [InlineData("12345", "123|45")]
    [InlineData("x = foo.bar()\r\n\r\n  y", "x| =| foo|.bar|()\r\n\r\n| | y")]
    [InlineData("カタ・カナ", "カタ|・|カナ")]
    [InlineData("a中b", "a|中|b")]
    [InlineData("\u0001\u0002x", "\u0001|\u0002x")]
    [InlineData("naïve—“quoted”", "naïve|—“|quoted|”")]
    public void DeepSeek_V3_cuts_as_its_regexes_read(string text, string pieces) =>
        Assert.Equal(pieces.Split('|'), Pieces(PreTokenizer.Create(PreTokenizerRegexes.DeepSeekV3), text));

    /// <summary>White_Space of Unicode: what Oniguruma's <c>\s</c> is, too.</summary>
    [Fact]
    public void White_space_is_Unicodes_White_Space()
    {
        int[] expected = [9, 10, 11, 12, 13, 0x20, 0x85, 0xA0, 0x1680, .. Enumerable.Range(0x2000, 11), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000];
        Assert.Equal(expected, Enumerable.Range(0, 0x110000).Where(c => CharClasses.Of(c).Has(CharClass.Space)));
        foreach (var c in Enumerable.Range(0, 0x10000))
            Assert.Equal(CharClasses.Of(c).Has(CharClass.Space), System.Text.RegularExpressions.Regex.IsMatch(((char)c).ToString(), @"\A\s\z"));
    }

    [Theory]
    [InlineData(@"\h+")]
    [InlineData(@"[a[b]]")]
    [InlineData(@"[a&&b]")]
    [InlineData(@"a++")]
    [InlineData(@"\p{Han}+")]
    [InlineData(@"(?<n>a)")]
    [InlineData(@"(?m:a)")]
    [InlineData(@"(a")]
    [InlineData(@"\")]
    public void Regexes_of_another_dialect_are_refused(string regex) =>
        Assert.Contains(regex, Assert.Throws<NotSupportedException>(() => PreTokenizer.Create([regex])).Message);

    [Fact]
    public void Characters_beyond_plane_0_have_their_category_in_any_regex()
    {
        var pre = PreTokenizer.Create([@"(?:\p{Lu}|[𐐨-𐑏])+|\p{So}|x"]);
        Assert.Equal(["𐐀", "𐒰", "😀", "中", "x", "𐐨", "𐓘"], Pieces(PreTokenizer.Create([@"\p{Lu}", "[𐐨-𐑏]|😀|x"]), "𐐀𐒰😀中x𐐨𐓘"));
        Assert.Equal(["𐐀𐒰", "😀", "中", "x", "𐐨", "𐓘"], Pieces(pre, "𐐀𐒰😀中x𐐨𐓘"));
    }

    private static List<string> Pieces(PreTokenizer preTokenizer, string text)
    {
        var sink = new Collector();
        preTokenizer.Split(Encoding.UTF8.GetBytes(text), sink);
        Assert.Equal(text, string.Concat(sink.Pieces));
        return sink.Pieces;
    }

    private sealed class Collector : PieceSink
    {
        public List<string> Pieces { get; } = [];

        public override void Add(ReadOnlySpan<byte> text, int start, int end)
        {
            Assert.True(end > start);
            Pieces.Add(Encoding.UTF8.GetString(text[start..end]));
        }
    }
}
