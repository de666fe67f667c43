using System.Text;

namespace Hadal.Inference.Sampling;

/// <summary>
/// Looks for stop strings in text that arrives in pieces. Text that may yet turn out to be the beginning of a stop string is held back, so that no part
/// of one is ever shown. Of several stop strings the one that is complete first counts.
/// </summary>
public sealed class StopMatcher
{
    private readonly string[] stops;
    private readonly StringBuilder held = new();

    /// <summary>Looks for any of these strings.</summary>
    /// <exception cref="ArgumentException">One of them is empty.</exception>
    public StopMatcher(IEnumerable<string> stops)
    {
        this.stops = stops.ToArray();
        if (Array.Exists(this.stops, string.IsNullOrEmpty))
            throw new ArgumentException("a stop string is empty", nameof(stops));
    }

    /// <summary>Whether a stop string was found; everything after it is dropped.</summary>
    public bool Stopped { get; private set; }

    /// <summary>Takes a piece of text and gives what may be shown.</summary>
    public string Push(string piece)
    {
        if (Stopped)
            return string.Empty;
        if (stops.Length == 0)
            return piece;
        held.Append(piece);
        var text = held.ToString();
        if (FirstMatch(text) is { } start)
        {
            Stopped = true;
            held.Clear();
            return text[..start];
        }

        var keep = 0;
        foreach (var stop in stops)
            keep = Math.Max(keep, OverlapLength(text, stop));
        held.Clear();
        held.Append(text, text.Length - keep, keep);
        return text[..^keep];
    }

    /// <summary>The text still held back, when no more will come.</summary>
    public string Flush()
    {
        var text = held.ToString();
        held.Clear();
        return text;
    }

    // Where the stop string begins that is complete first, the longest of several: the same however the text is cut into pieces.
    private int? FirstMatch(string text)
    {
        (int End, int Start)? first = null;
        foreach (var stop in stops)
        {
            var start = text.IndexOf(stop, StringComparison.Ordinal);
            if (start >= 0 && (first is not { } f || (start + stop.Length, start).CompareTo(f) < 0))
                first = (start + stop.Length, start);
        }

        return first?.Start;
    }

    // Length of the longest end of text that is a proper beginning of stop.
    private static int OverlapLength(string text, string stop)
    {
        for (var n = Math.Min(text.Length, stop.Length - 1); n > 0; n--)
        {
            if (text.AsSpan(text.Length - n).SequenceEqual(stop.AsSpan(0, n)))
                return n;
        }

        return 0;
    }
}
