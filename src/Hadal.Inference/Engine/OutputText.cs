using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Generation;
using Hadal.Inference.Sampling;

namespace Hadal.Inference.Engine;

/// <summary>Turns one sequence's chosen tokens into events: text as it becomes certain, and the conditions that end it.</summary>
internal sealed class OutputText
{
    private readonly StopMatcher stops;
    private readonly StreamingDetokenizer? detokenizer;
    private readonly HashSet<int> stopTokens;

    public OutputText(GenerationRequest request, Tokenizer? tokenizer, IEnumerable<int> endTokens, int limit)
    {
        if (tokenizer is null && request.StopStrings.Count > 0)
            throw new ArgumentException("stop strings need a tokenizer, and this model has none", nameof(request));
        stops = new StopMatcher(request.StopStrings);
        detokenizer = tokenizer is null ? null : new StreamingDetokenizer(tokenizer);
        stopTokens = [.. request.StopTokens];
        if (!request.IgnoreEos)
            stopTokens.UnionWith(endTokens);
        Limit = limit;
    }

    /// <summary>Tokens that end the output.</summary>
    public IReadOnlyCollection<int> EndTokens => stopTokens;

    /// <summary>Tokens that may be generated.</summary>
    public int Limit { get; }

    /// <summary>Tokens generated, a stop token included.</summary>
    public int Count { get; private set; }

    /// <summary>Takes the next token. A stop token gives no id, and no other event comes after one with a reason.</summary>
    /// <param name="id">The token.</param>
    /// <param name="isLast">Whether nothing may follow it.</param>
    public (int? Id, string Text, FinishReason? Reason) Push(int id, bool isLast = false)
    {
        Count++;
        if (stopTokens.Contains(id))
            return (null, Finish(), FinishReason.Stop);
        var text = stops.Push(detokenizer?.Push(id) ?? string.Empty);
        if (stops.Stopped)
            return (id, text, FinishReason.Stop);
        if (isLast)
            return (id, text + Finish(), FinishReason.Stop);
        return Count == Limit ? (id, text + Finish(), FinishReason.Length) : (id, text, null);
    }

    /// <summary>The text still held back.</summary>
    public string Finish() => stops.Push(detokenizer?.Flush() ?? string.Empty) + stops.Flush();
}
