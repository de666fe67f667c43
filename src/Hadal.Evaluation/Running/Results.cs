using System.Text.Json;
using System.Text.Json.Serialization;
using Hadal.Evaluation.Models;

namespace Hadal.Evaluation.Running;

/// <summary>The results of one model on some tasks; what results.json holds.</summary>
public sealed record RunResults
{
    /// <summary>JSON as it is written: snake_case names, indented, readable characters.</summary>
    public static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        WriteIndented = true,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
    };

    /// <summary>One line of it.</summary>
    public static readonly JsonSerializerOptions JsonLine = new(Json) { WriteIndented = false };

    /// <summary>The model.</summary>
    public required ModelIdentity Model { get; init; }

    /// <summary>The tasks, in the order of Table 3.</summary>
    public required IReadOnlyList<TaskResult> Tasks { get; init; }

    /// <summary>Tasks that could not be run, and why.</summary>
    public IReadOnlyDictionary<string, string> Skipped { get; init; } = new Dictionary<string, string>();
}

/// <summary>The result of one task.</summary>
public sealed record TaskResult
{
    /// <summary>The task's name.</summary>
    public required string Task { get; init; }

    /// <summary>Its row in Table 3.</summary>
    public required string Title { get; init; }

    /// <summary>The score's name in Table 3.</summary>
    public required string MetricName { get; init; }

    /// <summary>The metric that is the score.</summary>
    public required string Metric { get; init; }

    /// <summary>The score: percent, or bits per byte.</summary>
    public required double Score { get; init; }

    /// <summary>Its standard error, in the same unit; null where there is none (bits per byte).</summary>
    public double? StandardError { get; init; }

    /// <summary>Its 95% bootstrap interval, low and high.</summary>
    public IReadOnlyList<double>? Interval { get; init; }

    /// <summary>The mean over all items of every metric, in percent.</summary>
    public required IReadOnlyDictionary<string, double> Micro { get; init; }

    /// <summary>The mean over categories of every metric, in percent.</summary>
    public required IReadOnlyDictionary<string, double> Macro { get; init; }

    /// <summary>Score and items of every category.</summary>
    public required IReadOnlyDictionary<string, CategoryResult> Categories { get; init; }

    /// <summary>Questions.</summary>
    public required int Questions { get; init; }

    /// <summary>The score that guessing gets, in percent.</summary>
    public double Chance { get; init; }

    /// <summary>Outputs that the limit of tokens ended, and questions without an extracted answer; null for tasks with options.</summary>
    public int? WithoutAnswer { get; init; }

    /// <summary>Everything that the score depends on beside the model.</summary>
    public required Setting Setting { get; init; }

    /// <summary>What a reader has to know: a split that is missing, items left out.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];
}

/// <summary>A category's part of a result.</summary>
/// <param name="Score">Its score, in the unit of the task's.</param>
/// <param name="Questions">Its questions.</param>
public sealed record CategoryResult(double Score, int Questions);

/// <summary>One question's part of a result: a line of items/TASK.jsonl.</summary>
public sealed record ItemResult
{
    /// <summary>The question.</summary>
    public required string Id { get; init; }

    /// <summary>Its category.</summary>
    public required string Category { get; init; }

    /// <summary>The prompt. Of options with different contexts, the first one's.</summary>
    public required string Prompt { get; init; }

    /// <summary>The options with their scores; null for questions without.</summary>
    public IReadOnlyList<OptionResult>? Options { get; init; }

    /// <summary>What the model wrote; null for questions with options.</summary>
    public IReadOnlyList<string>? Outputs { get; init; }

    /// <summary>The answer that was found in each output, or the option chosen.</summary>
    public IReadOnlyList<string?> Extractions { get; init; } = [];

    /// <summary>The right answer.</summary>
    public required string Gold { get; init; }

    /// <summary>Scores from 0 to 1; for texts <c>nats</c>, <c>bytes</c>, <c>tokens</c>.</summary>
    public required IReadOnlyDictionary<string, double> Metrics { get; init; }

    /// <summary>Whether the limit of tokens ended an output.</summary>
    public bool Truncated { get; init; }

    /// <summary>What went wrong with an output: a program's error.</summary>
    public string? Note { get; init; }
}

/// <summary>One option of a question.</summary>
/// <param name="Text">What was scored.</param>
/// <param name="Context">What came before it, where that differs from the item's prompt.</param>
/// <param name="Loglikelihood">ln P(option | context).</param>
/// <param name="Unconditional">ln P(option | "Answer:"), where asked for.</param>
/// <param name="Tokens">Its tokens.</param>
public sealed record OptionResult(string Text, string? Context, double Loglikelihood, double? Unconditional, int Tokens);
