using Hadal.Evaluation.Models;

namespace Hadal.Evaluation.Scoring;

/// <summary>How the log-likelihoods of options are made comparable before the highest is chosen.</summary>
public enum Normalization
{
    /// <summary>Not at all: ln P(option | context).</summary>
    None,

    /// <summary>Divided by the option's tokens: the lowest perplexity wins (DeepSeek LLM report section 5.1, "length normalization").</summary>
    Tokens,

    /// <summary>Divided by the option's characters: acc_norm of lm-evaluation-harness.</summary>
    Characters,

    /// <summary>Divided by the option's UTF-8 bytes.</summary>
    Bytes,

    /// <summary>Minus ln P(option | "Answer:"): what the option is worth without the question (GPT-3, arXiv 2005.14165 section 2.4).</summary>
    Unconditional,
}

/// <summary>Scores of the options of one question under every normalisation.</summary>
public static class ChoiceScore
{
    /// <summary>The name that a normalisation's accuracy has in results.</summary>
    public static string Metric(Normalization normalization) => normalization switch
    {
        Normalization.None => "acc",
        Normalization.Tokens => "acc_ppl",
        Normalization.Characters => "acc_norm",
        Normalization.Bytes => "acc_bytes",
        _ => "acc_uncond",
    };

    /// <summary>The score of one option.</summary>
    /// <param name="normalization">How it is made comparable.</param>
    /// <param name="conditional">Its log-likelihood after the context.</param>
    /// <param name="unconditional">Its log-likelihood without, where that is asked for.</param>
    /// <param name="text">The option as written in the data.</param>
    public static double Of(Normalization normalization, Loglikelihood conditional, Loglikelihood? unconditional, string text)
    {
        ArgumentNullException.ThrowIfNull(conditional);
        ArgumentNullException.ThrowIfNull(text);
        return normalization switch
        {
            Normalization.None => conditional.Sum,
            Normalization.Tokens => conditional.Sum / conditional.Tokens,
            Normalization.Characters => conditional.Sum / Math.Max(1, text.EnumerateRunes().Count()),
            Normalization.Bytes => conditional.Sum / Math.Max(1, System.Text.Encoding.UTF8.GetByteCount(text)),
            _ => conditional.Sum - (unconditional ?? throw new ArgumentNullException(nameof(unconditional))).Sum,
        };
    }

    /// <summary>The option with the highest score, the first among equals.</summary>
    /// <exception cref="InvalidDataException">A score is not a number: the model is broken, and a choice would be chance.</exception>
    public static int Best(IReadOnlyList<double> scores)
    {
        ArgumentNullException.ThrowIfNull(scores);
        var best = 0;
        for (var i = 0; i < scores.Count; i++)
        {
            if (double.IsNaN(scores[i]))
                throw new InvalidDataException("the model gave a log-likelihood that is not a number");
            if (scores[i] > scores[best])
                best = i;
        }

        return best;
    }
}
