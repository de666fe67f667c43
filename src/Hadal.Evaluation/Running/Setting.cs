using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Running;

/// <summary>Everything that a score depends on beside the model. Scores may be compared where <see cref="Hash"/> is the same.</summary>
public sealed record Setting
{
    /// <summary>The task.</summary>
    public required string Task { get; init; }

    /// <summary>Its version.</summary>
    public required int Version { get; init; }

    /// <summary>Whose form.</summary>
    public required TaskStyle Style { get; init; }

    /// <summary>Examples asked for.</summary>
    public required int Shots { get; init; }

    /// <summary>Where they come from.</summary>
    public required string ShotSource { get; init; }

    /// <summary>Which they are.</summary>
    public required IReadOnlyList<string> ShotIds { get; init; }

    /// <summary>The metric that is the score.</summary>
    public required string Score { get; init; }

    /// <summary>How outputs are made, or options compared.</summary>
    public required string Decoding { get; init; }

    /// <summary>Questions of the task that are asked; null for all.</summary>
    public int? Limit { get; init; }

    /// <summary>SHA-256 of every data file that was read.</summary>
    public required IReadOnlyDictionary<string, string> Data { get; init; }

    /// <summary>SHA-256 of all prompts, options, stop strings and right answers, in order.</summary>
    public required string Prompts { get; init; }

    /// <summary>SHA-256 of all of this.</summary>
    public string Hash => Convert.ToHexStringLower(SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(
        new object?[] { Task, Version, Style, Shots, ShotSource, ShotIds, Score, Decoding, Limit, Data, Prompts }, RunResults.JsonLine)));

    /// <summary>The hash of prompts, options, stop strings and right answers.</summary>
    internal static string HashPrompts(IEnumerable<Question> questions)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var question in questions)
        {
            Add(question.Id, question.Category);
            switch (question)
            {
                case ChoiceQuestion choice:
                    foreach (var option in choice.Options)
                        Add(option.Context, option.Continuation, option.UnconditionalContext ?? string.Empty);
                    Add([.. choice.Gold.Select(g => g.ToString(CultureInfo.InvariantCulture))]);
                    break;
                case OpenQuestion open:
                    Add([open.Input.Prompt, open.Gold, open.Input.MaxTokens.ToString(CultureInfo.InvariantCulture), .. open.Input.Stop]);
                    break;
                case TextQuestion text:
                    Add(text.Text);
                    break;
            }
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());

        // Lengths before texts, so that no two lists of texts give the same bytes.
        void Add(params ReadOnlySpan<string> texts)
        {
            foreach (var text in texts)
            {
                var bytes = Encoding.UTF8.GetBytes(text);
                hash.AppendData(BitConverter.GetBytes(bytes.LongLength));
                hash.AppendData(bytes);
            }
        }
    }

    /// <summary>The hash of setting and model: what an interrupted run has to have in common with the one that takes it up.</summary>
    internal string With(ModelIdentity model) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{Hash} {model.Hash} {model.Description}")));
}
