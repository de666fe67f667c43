using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Sandbox;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// A benchmark: where its data is, what each item becomes (prompts, options, stop strings), and how an output is scored. One file holds one benchmark, with
/// its source on top. Stateless and safe for use from several threads.
/// </summary>
public abstract class EvaluationTask
{
    /// <summary>What the benchmark is.</summary>
    public abstract TaskInfo Info { get; }

    /// <summary>Reads the data as it is published and makes the questions.</summary>
    /// <param name="data">Where the data is.</param>
    /// <param name="options">Style and shots.</param>
    /// <exception cref="InvalidDataException">An item is not as it should be; file, item, field, expected and found are named.</exception>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="NotSupportedException">The benchmark has no form in this style.</exception>
    public abstract TaskContent Build(TaskData data, TaskOptions options);
}

/// <summary>What is asked of a model in a benchmark.</summary>
public enum TaskKind
{
    /// <summary>Options are compared by their log-likelihood.</summary>
    Perplexity,

    /// <summary>The model writes, and what it wrote is parsed and scored.</summary>
    Generation,

    /// <summary>Texts are scored as they are.</summary>
    LanguageModelling,
}

/// <summary>Whose form of a benchmark is used.</summary>
public enum TaskStyle
{
    /// <summary>The prompts of appendix G of the DeepSeek-V2 report (arXiv 2405.04434), shots of Table 3 of the DeepSeek-V3 report.</summary>
    DeepSeek,

    /// <summary>As <see cref="DeepSeek"/>, but options written out where the DeepSeek LLM report (arXiv 2401.02954) scored them so: ARC.</summary>
    DeepSeekLlm,

    /// <summary>The form of EleutherAI's lm-evaluation-harness, where it has the task.</summary>
    LmEval,
}

/// <summary>How a benchmark is to be run.</summary>
/// <param name="Style">Whose form.</param>
/// <param name="Shots">Examples in the prompt; null for the style's own number.</param>
public sealed record TaskOptions(TaskStyle Style = TaskStyle.DeepSeek, int? Shots = null);

/// <summary>What a benchmark is, without its data.</summary>
public sealed record TaskInfo
{
    /// <summary>Its name on the command line.</summary>
    public required string Name { get; init; }

    /// <summary>Its row in Table 3 of the DeepSeek-V3 report.</summary>
    public required string Title { get; init; }

    /// <summary>Goes up whenever a prompt or a score changes.</summary>
    public int Version { get; init; } = 1;

    /// <summary>What is asked of the model.</summary>
    public required TaskKind Kind { get; init; }

    /// <summary>Examples in the prompt, as in Table 3.</summary>
    public required int Shots { get; init; }

    /// <summary>The score's name in Table 3: Acc., EM, F1, Pass@1, BPB.</summary>
    public required string Metric { get; init; }

    /// <summary>The metric that is the score.</summary>
    public required string Score { get; init; }

    /// <summary>Whether the score is the mean of the categories' means, and not of all items.</summary>
    public bool Macro { get; init; }

    /// <summary>Its folder in a folder of benchmarks.</summary>
    public required string Folder { get; init; }

    /// <summary>The paper.</summary>
    public required string Paper { get; init; }

    /// <summary>Where it is published.</summary>
    public required string Published { get; init; }

    /// <summary>Under which licence, as its publisher says.</summary>
    public required string Licence { get; init; }

    /// <summary>The task's name in lm-evaluation-harness; null where there is none, or none of this form.</summary>
    public string? LmEval { get; init; }

    /// <summary>The harness's number of shots.</summary>
    public int LmEvalShots { get; init; }

    /// <summary>The harness's metric that is the score; null for the same.</summary>
    public string? LmEvalScore { get; init; }

    /// <summary>The score of guessing, in percent; 0 where a guess is never right.</summary>
    public double Chance { get; init; }

    /// <summary>Whether outputs are run as programs.</summary>
    public bool RunsPrograms { get; init; }

    /// <summary>Whether a lower score is better.</summary>
    public bool LowerIsBetter => Kind == TaskKind.LanguageModelling;

    /// <summary>Shots in a style.</summary>
    public int ShotsIn(TaskOptions options) => options?.Shots ?? (options?.Style == TaskStyle.LmEval ? LmEvalShots : Shots);

    /// <summary>The metric that is the score in a style.</summary>
    public string ScoreIn(TaskStyle style) => style == TaskStyle.LmEval ? LmEvalScore ?? Score : Score;
}

/// <summary>The questions that a benchmark's data became.</summary>
/// <param name="Questions">In the order of the data.</param>
public sealed record TaskContent(IReadOnlyList<Question> Questions)
{
    /// <summary>Where the examples in the prompts come from.</summary>
    public string ShotSource { get; init; } = "none";

    /// <summary>Which examples there are; those of single categories or items where they differ.</summary>
    public IReadOnlyList<string> ShotIds { get; init; } = [];
}

/// <summary>One item, ready to be put to a model.</summary>
/// <param name="Id">Unique in its benchmark.</param>
/// <param name="Category">Subject, language, sub-task.</param>
public abstract record Question(string Id, string Category);

/// <summary>Options of which the most probable is the model's answer.</summary>
/// <param name="Id">Unique in its benchmark.</param>
/// <param name="Category">Subject, language, sub-task.</param>
/// <param name="Options">The options.</param>
/// <param name="Gold">Indices of the right ones; almost always one.</param>
public sealed record ChoiceQuestion(string Id, string Category, IReadOnlyList<ChoiceOption> Options, IReadOnlyList<int> Gold) : Question(Id, Category);

/// <summary>An option.</summary>
/// <param name="Context">Prompt before it; the same for every option, but for WinoGrande.</param>
/// <param name="Continuation">What is scored.</param>
/// <param name="Text">The option as the data has it.</param>
public sealed record ChoiceOption(string Context, string Continuation, string Text)
{
    /// <summary>The context of unconditional normalisation, such as "Answer:"; null where it is not asked for.</summary>
    public string? UnconditionalContext { get; init; }
}

/// <summary>A prompt to be continued, and how the output is scored.</summary>
/// <param name="Id">Unique in its benchmark.</param>
/// <param name="Category">Subject, language, sub-task.</param>
/// <param name="Input">The prompt.</param>
/// <param name="Gold">The answer, for people.</param>
/// <param name="Judge">Scores an output.</param>
public sealed record OpenQuestion(string Id, string Category, GenerationInput Input, string Gold, Func<string, PythonSandbox?, CancellationToken, Task<Verdict>> Judge) : Question(Id, Category)
{
    /// <summary>A question whose output is scored without running anything.</summary>
    public static OpenQuestion Of(string id, string category, GenerationInput input, string gold, Func<string, Verdict> judge) =>
        new(id, category, input, gold, (output, _, _) => Task.FromResult(judge(output)));
}

/// <summary>A text to be scored as it is.</summary>
/// <param name="Id">Unique in its benchmark.</param>
/// <param name="Category">Its source.</param>
/// <param name="Text">The text.</param>
public sealed record TextQuestion(string Id, string Category, string Text) : Question(Id, Category);

/// <summary>What an output was worth.</summary>
/// <param name="Extraction">The answer found in it; null where there was none.</param>
/// <param name="Metrics">Scores from 0 to 1, by metric.</param>
/// <param name="Note">What a reader of the transcript should know: an error of the program that was run.</param>
public sealed record Verdict(string? Extraction, IReadOnlyDictionary<string, double> Metrics, string? Note = null)
{
    /// <summary>Right or wrong.</summary>
    public static Verdict Of(string? extraction, bool right, string metric = "em", string? note = null) =>
        new(extraction, new Dictionary<string, double> { [metric] = right ? 1 : 0 }, note);
}
