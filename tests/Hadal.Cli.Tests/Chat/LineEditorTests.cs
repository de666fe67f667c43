using Hadal.Cli.Chat;
using static System.ConsoleKey;

namespace Hadal.Cli.Tests.Chat;

public sealed class LineEditorTests : IDisposable
{
    private const int Width = 20;
    private readonly Queue<ConsoleKeyInfo> keys = [];
    private readonly StringWriter output = new();
    private readonly LineEditor editor;

    public LineEditorTests() => editor = new LineEditor(output, keys.Dequeue, () => Width, () => keys.Count > 0);

    public void Dispose() => output.Dispose();

    [Fact]
    public void TypingGivesTheText() => Assert.Equal("deep sea", Read(Type("deep sea"), Key(Enter)));

    [Fact]
    public void EditingKeysDoWhatTheyUsuallyDo()
    {
        Assert.Equal("adX", Read(Type("abcd"), Key(LeftArrow), Key(Backspace), Key(Backspace), Key(End), Type("X"), Key(Enter)));
        Assert.Equal("bc", Read(Type("abc"), Key(Home), Key(Delete), Key(Enter)));
        Assert.Equal("one ", Read(Type("one two"), Control(W), Key(Enter)));
        Assert.Equal("head", Read(Type("head tail"), Control(A), Control(F), Control(F), Control(F), Control(F), Control(K), Key(Enter)));
        Assert.Equal("tail", Read(Type("head tail"), Key(LeftArrow), Key(LeftArrow), Key(LeftArrow), Key(LeftArrow), Control(U), Key(Enter)));
    }

    [Fact]
    public void CharactersOfTwoUnitsOrMoreAreOne()
    {
        Assert.Equal("ab", Read(Type("a😀"), Key(Backspace), Type("b"), Key(Enter)));
        Assert.Equal("xe\u0301", Read(Type("e\u0301"), Key(LeftArrow), Type("x"), Key(Enter)));
    }

    [Fact]
    public void MessagesGoOverSeveralLines()
    {
        Assert.Equal("a\nb", Read(Type("a"), [new ConsoleKeyInfo('\r', Enter, false, true, false)], Type("b"), Key(Enter)));
        Assert.Equal("a\nb", Read(Type("a\\"), Key(Enter), Type("b"), Key(Enter)));
        Assert.Equal("a\nb", Read(Type("a"), Key(Escape), Key(Enter), Type("b"), Key(Enter)));
    }

    [Fact]
    public void APasteIsTakenWhole() =>
        Assert.Equal("a\nb    c!", Read(Key(Escape), Type("[200~a"), Key(Enter), Type("b\tc"), Key(Escape, '\u001b'), Type("[201~!"), Key(Enter)));

    [Fact]
    public void UpAndDownGoThroughTheHistoryAndKeepTheDraft()
    {
        Read(Type("first"), Key(Enter));
        Read(Type("second"), Key(Enter));
        Assert.Equal("first", Read(Key(UpArrow), Key(UpArrow), Key(UpArrow), Key(Enter)));
        Assert.Equal("draft!", Read(Type("draft"), Key(UpArrow), Key(DownArrow), Key(DownArrow), Type("!"), Key(Enter)));
    }

    [Fact]
    public void CtrlCAndCtrlDEndTheLine()
    {
        Assert.Equal((LineEditor.Outcome.Interrupted, "ab"), Run(Type("ab"), Control(C)));
        Assert.Equal((LineEditor.Outcome.End, string.Empty), Run(Control(D)));
        Assert.Equal("b", Read(Type("ab"), Key(Home), Control(D), Key(Enter)));
    }

    [Fact]
    public void LongAndWideLinesWrapAndTheCursorStaysInPlace()
    {
        var screen = Shown(Type("0123456789012345678"), Type("深海"), Key(LeftArrow), Key(LeftArrow));
        Assert.Equal(["> 012345678901234567", "8深海"], screen.Rows);
        Assert.Equal((1, 1), screen.Cursor);
    }

    [Fact]
    public void WhatAnotherLineLeftIsWipedWhenTheTextGetsShorter()
    {
        var screen = Shown(Type(new string('a', 50)), Control(U), Type("b"));
        Assert.Equal(["> b"], screen.Rows);
        Assert.Equal((0, 3), screen.Cursor);
    }

    [Fact]
    public void ControlCharactersAreShownAndNotSent()
    {
        Read(Key(Escape), Type("[200~\u001b[31m\u001b[201~"), Key(Enter));
        Assert.DoesNotContain("\u001b[31m", output.ToString());
    }

    private static ConsoleKeyInfo[] Type(string text) => [.. text.Select(c => new ConsoleKeyInfo(c, None, false, false, false))];

    private static ConsoleKeyInfo[] Key(ConsoleKey key, char c = '\0') => [new(key == Enter ? '\r' : c, key, false, false, false)];

    private static ConsoleKeyInfo[] Control(ConsoleKey key) => [new('\0', key, false, false, true)];

    private (LineEditor.Outcome Outcome, string Text) Run(params ConsoleKeyInfo[][] pressed)
    {
        foreach (var key in pressed.SelectMany(k => k))
            keys.Enqueue(key);
        return editor.Read("> ");
    }

    private string Read(params ConsoleKeyInfo[][] pressed)
    {
        var (outcome, text) = Run(pressed);
        Assert.Equal(LineEditor.Outcome.Message, outcome);
        Assert.Empty(keys);
        return text;
    }

    // What the terminal shows once every key is pressed and the editor asks for one more.
    private Screen Shown(params ConsoleKeyInfo[][] pressed)
    {
        Assert.Throws<InvalidOperationException>(() => Run(pressed));
        return new Screen(Width, output.ToString());
    }
}
