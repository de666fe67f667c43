using System.Text;

namespace Hadal.Cli.Tests;

/// <summary>A text that a running command writes to and a test reads.</summary>
internal sealed class SharedWriter : TextWriter
{
    private readonly StringBuilder text = new();

    public override Encoding Encoding => Encoding.UTF8;

    public override void Write(char value)
    {
        lock (text)
            text.Append(value);
    }

    public override string ToString()
    {
        lock (text)
            return text.ToString();
    }
}
