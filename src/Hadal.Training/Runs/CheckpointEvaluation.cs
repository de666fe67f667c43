namespace Hadal.Training.Runs;

/// <summary>
/// Scores the model folder of a checkpoint. Training knows nothing of benchmarks or of running models: whoever starts a run gives it this, and what is scored
/// is the folder that others will run.
/// </summary>
/// <param name="model">The checkpoint, a whole model folder.</param>
/// <param name="output">A folder for whatever is to be kept of it; the same one where the evaluation of this checkpoint was interrupted before.</param>
/// <param name="cancellation">Interrupts it; the run evaluates this checkpoint again when it goes on.</param>
/// <returns>A score for each of the recipe's tasks.</returns>
public delegate IReadOnlyList<TaskScore> CheckpointEvaluator(string model, string output, CancellationToken cancellation);

/// <summary>A model's score on a task.</summary>
/// <param name="Task">The task's name.</param>
/// <param name="Metric">What the score is: <c>acc</c>, <c>em</c>, <c>bits_per_byte</c>.</param>
/// <param name="Score">The score: percent, or bits per byte.</param>
/// <param name="StandardError">Its standard error, where there is one.</param>
/// <param name="Questions">How many questions it is of.</param>
public sealed record TaskScore(string Task, string Metric, double Score, double? StandardError, int Questions);

/// <summary>An evaluation is done.</summary>
/// <param name="Step">Of the checkpoint of this step.</param>
/// <param name="Scores">A score for each task.</param>
public sealed record EvaluationDone(int Step, IReadOnlyList<TaskScore> Scores) : RunEvent;
