using System.Diagnostics;
using System.Globalization;
using Hadal.Inference.Generation;

namespace Hadal.Cli.Commands;

/// <summary>How long a generation took: up to the first token, and from there on.</summary>
internal sealed class GenerationTimes
{
    /// <summary>Tokens generated, the one that ended the text included.</summary>
    public int Tokens { get; private set; }

    /// <summary>Until the first token: the prompt's time.</summary>
    public TimeSpan First { get; private set; }

    /// <summary>From the first token to the last.</summary>
    public TimeSpan Rest { get; private set; }

    /// <summary>Tokens per second after the first one; 0 where there is only one.</summary>
    public double TokensPerSecond => Tokens > 1 ? (Tokens - 1) / Math.Max(Rest.TotalSeconds, 1e-9) : 0;

    /// <summary>What the engine counted; null before the end.</summary>
    public GenerationUsage? Usage { get; private set; }

    /// <summary>Passes events on and takes the times.</summary>
    public IEnumerable<GenerationEvent> Measure(IEnumerable<GenerationEvent> events)
    {
        var started = Stopwatch.GetTimestamp();
        foreach (var step in events)
        {
            if (step.Id is not null || step.FinishReason == FinishReason.Stop)
                Tokens++;
            var elapsed = Stopwatch.GetElapsedTime(started);
            if (Tokens <= 1)
                First = elapsed;
            Rest = elapsed - First;
            Usage = step.Usage ?? Usage;
            yield return step;
        }
    }

    /// <summary>One line for a person.</summary>
    /// <param name="promptTokens">Tokens of the prompt.</param>
    public string Summary(int promptTokens)
    {
        var speed = Tokens > 1 ? string.Create(CultureInfo.InvariantCulture, $", {TokensPerSecond:0.0} tokens/s") : string.Empty;
        var drafts = Usage is { AcceptanceRate: { } rate, AcceptedLength: { } length }
            ? string.Create(CultureInfo.InvariantCulture, $" ({100 * rate:0}% of drafts accepted, {length:0.00} tokens a step)")
            : string.Empty;
        var computed = promptTokens - (Usage?.CachedTokens ?? 0);
        return string.Create(CultureInfo.InvariantCulture, $"{Tokens} token{(Tokens == 1 ? string.Empty : "s")}{speed}{drafts}; prompt of {computed} in {First.TotalSeconds:0.00} s");
    }
}
