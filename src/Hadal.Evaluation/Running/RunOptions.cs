using Hadal.Evaluation.Scoring;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Running;

/// <summary>What is run, and how.</summary>
public sealed record RunOptions
{
    /// <summary>The folder of benchmarks, one benchmark's folder, or a file of texts.</summary>
    public required string Data { get; init; }

    /// <summary>Whose form of each task.</summary>
    public TaskStyle Style { get; init; }

    /// <summary>Examples in prompts; null for each task's own number.</summary>
    public int? Shots { get; init; }

    /// <summary>Questions of each task, taken from its categories in turn; null for all.</summary>
    public int? Limit { get; init; }

    /// <summary>The normalisation whose accuracy is the score of tasks with options; null for each task's own.</summary>
    public Normalization? Normalization { get; init; }

    /// <summary>Outputs for each question of a code task; more than one asks for sampling.</summary>
    public int Samples { get; init; } = 1;

    /// <summary>Temperature of sampling where <see cref="Samples"/> is above 1.</summary>
    public double Temperature { get; init; } = 0.2;

    /// <summary>Where results are written, and interrupted runs taken up; null for nowhere.</summary>
    public string? Output { get; init; }
}

/// <summary>How a run is getting on; told from the thread of the run.</summary>
public interface IRunProgress
{
    /// <summary>A task begins.</summary>
    /// <param name="task">Which.</param>
    /// <param name="questions">Questions it has.</param>
    /// <param name="done">Of these, those that an earlier run has done.</param>
    void Begin(TaskInfo task, int questions, int done);

    /// <summary>Questions were done.</summary>
    /// <param name="task">Of which task.</param>
    /// <param name="done">How many in all.</param>
    /// <param name="score">The score of these, from 0 to 1, or bits per byte.</param>
    void Advance(TaskInfo task, int done, double score);

    /// <summary>A task has ended.</summary>
    void End(TaskInfo task, TaskResult result);

    /// <summary>A task cannot be run.</summary>
    /// <param name="task">Which.</param>
    /// <param name="reason">Why.</param>
    void Skip(TaskInfo task, string reason);
}
