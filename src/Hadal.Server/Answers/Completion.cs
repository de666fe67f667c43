using System.Text.Json.Serialization;

namespace Hadal.Server.Answers;

/// <summary>The answer of <c>POST /v1/completions</c>, whole or a chunk of a stream.</summary>
internal sealed record Completion(string Id, long Created, string Model, IReadOnlyList<CompletionChoice> Choices)
{
    /// <summary>Always <c>text_completion</c>.</summary>
    public string Object => "text_completion";

    /// <summary>As in <see cref="ChatCompletion"/>.</summary>
    public string? SystemFingerprint { get; init; }

    /// <summary>What it took.</summary>
    public Usage? Usage { get; init; }
}

/// <summary>One of the texts.</summary>
internal sealed record CompletionChoice(int Index, string Text)
{
    /// <summary>Probabilities, where asked for.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public CompletionLogprobs? Logprobs { get; init; }

    /// <summary>At its end.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public string? FinishReason { get; init; }
}

/// <summary>Tokens and their probabilities, in four lists of one length. A prompt's first token has none.</summary>
internal sealed record CompletionLogprobs(
    List<string> Tokens, List<double?> TokenLogprobs, List<Dictionary<string, double>?> TopLogprobs, List<int> TextOffset)
{
    /// <summary>None yet.</summary>
    public static CompletionLogprobs Empty => new([], [], [], []);

    /// <summary>Adds one token.</summary>
    public void Add(string token, double? logprob, IEnumerable<(string Token, double Logprob)> top, int offset)
    {
        Tokens.Add(token);
        TokenLogprobs.Add(logprob);
        if (logprob is null)
        {
            TopLogprobs.Add(null);
        }
        else
        {
            // Tokens that are parts of characters may look alike; the more probable one stays.
            var alternatives = new Dictionary<string, double>();
            foreach (var (alternative, value) in top)
                alternatives.TryAdd(alternative, value);
            TopLogprobs.Add(alternatives);
        }

        TextOffset.Add(offset);
    }
}
