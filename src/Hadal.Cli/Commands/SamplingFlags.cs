using System.CommandLine;
using System.Globalization;
using Hadal.Inference.Sampling;

namespace Hadal.Cli.Commands;

/// <summary>The options that say how tokens are chosen.</summary>
internal sealed class SamplingFlags
{
    private readonly double defaultTemperature;
    private readonly Option<double?> temperature;
    private readonly Option<int?> topK = TypedOptions.Integer("--top-k", "Choose among the N most probable tokens only; 0 is off.", 0);
    private readonly Option<double?> topP = TypedOptions.Number(
        "--top-p", "Choose among the most probable tokens whose probabilities reach this sum.", static x => x is > 0 and <= 1, "a number above 0 and at most 1");

    private readonly Option<double?> minP = TypedOptions.Number(
        "--min-p", "Choose among tokens at least this fraction as probable as the most probable one.", static x => x is >= 0 and <= 1, "a number from 0 to 1");

    private readonly Option<double?> repetition = TypedOptions.Number(
        "--repetition-penalty", "Divide the logits of tokens seen before by this; 1 is off.", static x => x > 0, "a number above 0");

    private readonly Option<double?> presence = TypedOptions.Number(
        "--presence-penalty", "Subtract this from the logits of tokens generated before.", static _ => true, "a number");

    private readonly Option<double?> frequency = TypedOptions.Number(
        "--frequency-penalty", "Subtract this from a token's logit for every time it was generated.", static _ => true, "a number");

    private readonly Option<Dictionary<int, double>> bias = new("--logit-bias")
    {
        Description = "Add a value to the logit of a token; may be given several times.",
        HelpName = "ID=X",
        AllowMultipleArgumentsPerToken = true,
        Arity = ArgumentArity.ZeroOrMore,
        DefaultValueFactory = _ => [],
        CustomParser = result =>
        {
            var biases = new Dictionary<int, double>();
            foreach (var token in result.Tokens)
            {
                var parts = token.Value.Split('=');
                if (parts.Length != 2
                    || !int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var id)
                    || !double.TryParse(parts[1], NumberStyles.Float, CultureInfo.InvariantCulture, out var value)
                    || double.IsNaN(value))
                {
                    result.AddError($"--logit-bias: expected a token id and a number such as 1234=-5, found '{token.Value}'");
                    return [];
                }

                biases[id] = value;
            }

            return biases;
        },
    };

    private readonly Option<int?> seed = TypedOptions.Integer("--seed", "Seed of the choices; the same seed gives the same text.", 0);

    /// <summary>The options with a default temperature.</summary>
    public SamplingFlags(double defaultTemperature)
    {
        this.defaultTemperature = defaultTemperature;
        temperature = TypedOptions.Number(
            "--temperature",
            $"Randomness of the choice; 0 takes the most probable token. [default: {defaultTemperature.ToString(CultureInfo.InvariantCulture)}]",
            static x => x >= 0,
            "a number of at least 0");
    }

    /// <summary>Adds every option to a command.</summary>
    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { temperature, topK, topP, minP, repetition, presence, frequency, bias, seed })
            command.Add(option);
    }

    /// <summary>What was asked for.</summary>
    public SamplingOptions Read(ParseResult result)
    {
        var off = new SamplingOptions();
        return new SamplingOptions
        {
            Temperature = result.GetValue(temperature) ?? defaultTemperature,
            TopK = result.GetValue(topK) ?? off.TopK,
            TopP = result.GetValue(topP) ?? off.TopP,
            MinP = result.GetValue(minP) ?? off.MinP,
            RepetitionPenalty = result.GetValue(repetition) ?? off.RepetitionPenalty,
            PresencePenalty = result.GetValue(presence) ?? off.PresencePenalty,
            FrequencyPenalty = result.GetValue(frequency) ?? off.FrequencyPenalty,
            LogitBias = result.GetValue(bias) ?? [],
            Seed = result.GetValue(seed),
        };
    }
}
