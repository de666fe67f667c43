using CsCheck;
using Hadal.Inference.Chat;

namespace Hadal.Inference.Tests.Chat;

public sealed class AnswerParserTests
{
    private const string V3Call = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"北京\"}\n```<｜tool▁call▁end｜>";
    private const string V31Call = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"北京\"}<｜tool▁call▁end｜>";

    public static TheoryData<bool, string, string> Answers => new()
    {
        { false, "Hello", "T[Hello]" },
        { false, "", "" },
        { false, "\n a < b <think> c", "T[\n a < b <think> c]" },
        { false, "<think>\nI see.\n</think>\n\nYes.\n", "R[I see.]T[Yes.\n]" },
        { true, "\nI see.\n</think>\n\nYes.", "R[I see.]T[Yes.]" },
        { true, "1 < 2, so </thin and\n\n</think>Yes", "R[1 < 2, so </thin and]T[Yes]" },
        { true, "cut off \n", "R[cut off]" },
        { true, "</think>Yes", "T[Yes]" },
        { true, "only thoughts</think>\n", "R[only thoughts]" },
        { false, "Let me see. " + V3Call + "<｜tool▁calls▁end｜>", "T[Let me see. ]C[weather {\"city\": \"北京\"}]" },
        { false, V3Call + "\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>time\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "C[weather {\"city\": \"北京\"}]C[time {}]" },
        { false, V31Call + "<｜tool▁call▁begin｜>time<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "C[weather {\"city\": \"北京\"}]C[time {}]" },
        { true, "I need it.\n</think>\n\n" + V31Call + "<｜tool▁calls▁end｜>", "R[I need it.]C[weather {\"city\": \"北京\"}]" },
        { false, "<｜tool▁call▁begin｜>time<｜tool▁sep｜>{}<｜tool▁call▁end｜>", "C[time {}]" },
        { false, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>time\n```json\n{}\n```", "C[time {}]" },
        { false, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>time<｜tool▁sep｜>{\"zone\": \"U", "T[<｜tool▁call▁begin｜>time<｜tool▁sep｜>{\"zone\": \"U]" },
        { false, "<｜tool▁calls▁begin｜>nonsense<｜tool▁call▁end｜><｜tool▁calls▁end｜>after", "T[nonsenseafter]" },
        { false, V31Call + "<｜tool▁calls▁end｜>\nand more", "C[weather {\"city\": \"北京\"}]T[and more]" },
        { false, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>not json<｜tool▁call▁end｜>", "C[f not json]" },
        { false, "a <｜tool", "T[a <｜tool]" },
    };

    [Theory]
    [MemberData(nameof(Answers))]
    public void AnAnswerIsTakenApartTheSameHoweverItIsCut(bool thinks, string answer, string expected)
    {
        Assert.Equal(expected, Parse(thinks, [answer]));
        Assert.Equal(expected, Parse(thinks, [.. answer.Select(c => c.ToString())]));
        Gen.Int[0, Math.Max(0, answer.Length)].List[0, 6].Sample(
            cuts =>
            {
                int[] at = [0, .. cuts.Order(), answer.Length];
                return Parse(thinks, [.. at.Zip(at.Skip(1), (a, b) => answer[a..b])]) == expected;
            },
            iter: 200);
    }

    [Fact]
    public void TextComesAsSoonAsItIsCertain()
    {
        var parser = new AnswerParser(thinks: false);
        Assert.Equal([new AnswerPart.Text("Hello, ")], parser.Push("Hello, "));
        Assert.Equal([new AnswerPart.Text("a ")], parser.Push("a <"));
        Assert.Equal([new AnswerPart.Text("<b")], parser.Push("b"));
        Assert.Empty(parser.Push("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}"));
        Assert.False(parser.HasToolCalls);
        Assert.Single(parser.Push("<｜tool▁call▁end｜>"));
        Assert.True(parser.HasToolCalls);
    }

    private static string Parse(bool thinks, string[] pieces)
    {
        var parser = new AnswerParser(thinks);
        var parts = pieces.SelectMany(p => parser.Push(p).ToArray()).ToList();
        parts.AddRange(parser.Finish());
        var text = new System.Text.StringBuilder();
        char? open = null;
        foreach (var part in parts)
        {
            var (kind, value) = part switch
            {
                AnswerPart.Text t => ('T', t.Value),
                AnswerPart.Reasoning r => ('R', r.Value),
                AnswerPart.ToolCall c => ('C', $"{c.Call.Name} {c.Call.Arguments}"),
                _ => throw new InvalidOperationException(),
            };
            if (open is not null && (open != kind || kind == 'C'))
                text.Append(']');
            if (open != kind || kind == 'C')
                text.Append(kind).Append('[');
            text.Append(value);
            open = kind;
        }

        return text.Append(open is null ? "" : "]").ToString();
    }
}
