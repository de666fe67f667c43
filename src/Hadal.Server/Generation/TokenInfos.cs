using System.Text;
using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Sampling;
using Hadal.Server.Answers;

namespace Hadal.Server.Generation;

/// <summary>Tokens with their probabilities, as the wire has them.</summary>
internal static class TokenInfos
{
    // The wire knows no minus infinity; OpenAI writes this for it.
    private const double Least = -9999;

    /// <summary>A token and its alternatives.</summary>
    public static TokenInfo Of(Tokenizer tokenizer, int id, double logprob, IReadOnlyList<TokenLogprob>? top) =>
        One(tokenizer, id, logprob) with { TopLogprobs = [.. (top ?? []).Select(t => One(tokenizer, t.Id, t.Logprob))] };

    /// <summary>A finite number for a logarithm of a probability.</summary>
    public static double Finite(double logprob) => Math.Max(logprob, Least);

    private static TokenInfo One(Tokenizer tokenizer, int id, double logprob)
    {
        var bytes = tokenizer.DecodeBytes(id);
        return new TokenInfo(Encoding.UTF8.GetString(bytes), Finite(logprob), [.. bytes.ToArray().Select(b => (int)b)]);
    }
}
