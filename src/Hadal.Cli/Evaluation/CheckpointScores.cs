using Hadal.Checkpoints;
using Hadal.Cli.Commands;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Running;
using Hadal.Evaluation.Sandbox;
using Hadal.Evaluation.Tasks;
using Hadal.Inference.Model;
using Hadal.Numerics.Threading;
using Hadal.Training.Recipes;
using Hadal.Training.Runs;

namespace Hadal.Cli.Evaluation;

/// <summary>What <c>hadal eval</c> does, for the checkpoints of a run whose recipe has an evaluation.</summary>
internal static class CheckpointScores
{
    /// <summary>The evaluator of a recipe; null where it asks for none. What can be wrong is found here, before hours of training.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="threads">The run's own threads: it stands still in the meantime.</param>
    /// <param name="cancellation">Ends the check.</param>
    /// <exception cref="InvalidDataException">There is no such task, or its data is malformed.</exception>
    /// <exception cref="IOException">A task's data is not there.</exception>
    /// <exception cref="SandboxUnavailableException">A task runs programs, and that is not possible here.</exception>
    public static CheckpointEvaluator? Of(Recipe recipe, KernelThreads threads, CancellationToken cancellation)
    {
        if (recipe.Evaluation is not { } evaluation)
            return null;
        var tasks = evaluation.Tasks.Select((name, i) => Find(recipe, name, i)).ToList();
        foreach (var task in tasks)
            task.Build(new TaskData(evaluation.Data, task.Info.Folder), new TaskOptions());
        if (tasks.Exists(t => t.Info.RunsPrograms))
            PythonSandbox.OpenAsync(cancellation).GetAwaiter().GetResult();
        return (model, output, stop) => Evaluate(tasks, evaluation, threads, model, output, stop).GetAwaiter().GetResult();
    }

    private static EvaluationTask Find(Recipe recipe, string name, int index)
    {
        try
        {
            return Benchmarks.Find(name);
        }
        catch (ArgumentException unknown)
        {
            throw new InvalidDataException($"{recipe.Name}: evaluation.tasks[{index}]: {unknown.Message.Split(" (Parameter")[0]}", unknown);
        }
    }

    private static async Task<IReadOnlyList<TaskScore>> Evaluate(List<EvaluationTask> tasks, EvaluationRecipe evaluation, KernelThreads threads, string path, string output, CancellationToken cancellation)
    {
        using var checkpoint = Checkpoint.Open(path);
        var options = new InProcessOptions();
        var identity = InProcessModel.IdentityOf(checkpoint, options.Forward, options.Window);
        await using var model = new InProcessModel(new DeepSeek(checkpoint, dropMtp: true, cancellation: cancellation), ModelTokenizer.Open(path), threads, identity, options);
        var results = await new EvaluationRun(model, new RunOptions { Data = evaluation.Data, Limit = evaluation.Limit, Output = output }).RunAsync(tasks, named: true, cancellation);
        return [.. results.Tasks.Select(t => new TaskScore(t.Task, t.Metric, t.Score, t.StandardError, t.Questions))];
    }
}
