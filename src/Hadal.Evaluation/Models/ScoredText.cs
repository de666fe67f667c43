using System.Text;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Evaluation.Models;

/// <summary>Tokens of a context and its continuation, and where the continuation begins.</summary>
/// <param name="Tokens">At least two: the first is never scored.</param>
/// <param name="Start">Index of the first token that is scored, at least 1.</param>
internal sealed record ScoredText(int[] Tokens, int Start)
{
    /// <summary>
    /// Tokenizes context and continuation as one text: what is scored are the tokens that reach beyond the context, so that a token made of the context's
    /// last and the continuation's first bytes counts. Begins with the beginning-of-text token where the model's prompts do; where the first token would
    /// be scored, the beginning- or end-of-text token comes before it in any case.
    /// </summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="context">Context, may be empty.</param>
    /// <param name="continuation">Continuation.</param>
    /// <param name="window">Most tokens; the context loses its beginning where there are more.</param>
    /// <exception cref="InvalidDataException">The continuation is empty, or alone longer than the window.</exception>
    public static ScoredText Of(Tokenizer tokenizer, string context, string continuation, int window)
    {
        var ids = tokenizer.Encode(context + continuation, tokenizer.AddBos, parseSpecial: false);
        var contextBytes = Encoding.UTF8.GetByteCount(context);
        var first = tokenizer.AddBos ? 1 : 0;
        var start = first;
        for (var bytes = 0; start < ids.Length; start++)
        {
            bytes += tokenizer.DecodeBytes(ids[start]).Length;
            if (bytes > contextBytes)
                break;
        }

        if (start == ids.Length)
            throw new InvalidDataException($"the continuation '{continuation}' has no token to score");
        if (start == 0)
        {
            ids = [Beginning(tokenizer), .. ids];
            start = 1;
        }

        var surplus = ids.Length - window;
        if (surplus <= 0)
            return new ScoredText(ids, start);
        if (start - 1 < surplus)
            throw new InvalidDataException($"a continuation of {ids.Length - start} tokens does not fit a context of {window}");
        return new ScoredText(ids[surplus..], start - surplus);
    }

    /// <summary>The token that stands before a text that nothing precedes.</summary>
    /// <exception cref="InvalidDataException">The tokenizer has no such token.</exception>
    public static int Beginning(Tokenizer tokenizer) =>
        tokenizer.BosId ?? tokenizer.EosId ?? throw new InvalidDataException("the tokenizer has neither a token that begins a text nor one that ends it, and the first token cannot be scored without");
}
