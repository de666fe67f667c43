using System.Text;
using Spectre.Console;

namespace Hadal.Cli.Terminals;

/// <summary>
/// The program's three streams. What another program would read goes to <see cref="Out"/>; notices and progress go to <see cref="Error"/>.
/// </summary>
internal sealed class Terminal
{
    // Tables written to a pipe are not folded.
    private const int PipeWidth = 200;

    /// <summary>Describes a set of streams; the flags say which of them are a person's terminal.</summary>
    public Terminal(TextReader input, TextWriter output, TextWriter error, bool inputIsTerminal, bool outputIsTerminal, bool errorIsTerminal)
    {
        In = input;
        Out = output;
        Error = error;
        InputIsTerminal = inputIsTerminal;
        OutputIsTerminal = outputIsTerminal;
        ErrorIsTerminal = errorIsTerminal;
        Rich = Console(output, outputIsTerminal);
        RichError = Console(error, errorIsTerminal);
    }

    /// <summary>Standard input.</summary>
    public TextReader In { get; }

    /// <summary>Standard output.</summary>
    public TextWriter Out { get; }

    /// <summary>Standard error.</summary>
    public TextWriter Error { get; }

    /// <summary>Whether a person types.</summary>
    public bool InputIsTerminal { get; }

    /// <summary>Whether a person reads the output.</summary>
    public bool OutputIsTerminal { get; }

    /// <summary>Whether a person sees notices as they come.</summary>
    public bool ErrorIsTerminal { get; }

    /// <summary>Tables and colours on <see cref="Out"/>; plain text where that is no terminal.</summary>
    public IAnsiConsole Rich { get; }

    /// <summary>Tables and colours on <see cref="Error"/>; plain text where that is no terminal.</summary>
    public IAnsiConsole RichError { get; }

    /// <summary>The streams of this process, as UTF-8 on every system.</summary>
    public static Terminal OfProcess()
    {
        var utf8 = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
        try
        {
            System.Console.OutputEncoding = utf8;
            System.Console.InputEncoding = utf8;
        }
        catch (IOException)
        {
            // There is no console to be told; the streams below are UTF-8 all the same.
        }

        var output = System.Console.IsOutputRedirected
            ? new StreamWriter(System.Console.OpenStandardOutput(), utf8)
            : System.Console.Out;
        return new Terminal(
            System.Console.In,
            output,
            System.Console.Error,
            !System.Console.IsInputRedirected,
            !System.Console.IsOutputRedirected,
            !System.Console.IsErrorRedirected);
    }

    /// <summary>Writes one line for a person, dimmed, to <see cref="Error"/>.</summary>
    public void Notice(string line) => RichError.MarkupLineInterpolated($"[grey]{line}[/]");

    private static IAnsiConsole Console(TextWriter writer, bool isTerminal)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(writer),
            Ansi = isTerminal ? AnsiSupport.Detect : AnsiSupport.No,
            ColorSystem = isTerminal ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
            Interactive = InteractionSupport.No,
        });
        if (!isTerminal)
            console.Profile.Width = PipeWidth;
        return console;
    }
}
