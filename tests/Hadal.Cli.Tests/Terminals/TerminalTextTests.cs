using Hadal.Cli.Terminals;

namespace Hadal.Cli.Tests.Terminals;

public sealed class TerminalTextTests
{
    [Theory]
    [InlineData("plain 深海 😀\n\ttext", "plain 深海 😀\n\ttext")]
    [InlineData("\u001b]0;owned\u0007", "␛]0;owned␇")]
    [InlineData("a\rb\u007f\u009b", "a␍b\uFFFD\uFFFD")]
    [InlineData("\u202Eevil\u2066", "\uFFFDevil\uFFFD")]
    public void ControlCharactersBecomeVisible(string text, string shown) => Assert.Equal(shown, TerminalText.Printable(text));

    [Theory]
    [InlineData("abc", 3)]
    [InlineData("深海", 4)]
    [InlineData("", 0)]
    public void WideCharactersTakeTwoCells(string text, int cells) => Assert.Equal(cells, TerminalText.Cells(text));
}
