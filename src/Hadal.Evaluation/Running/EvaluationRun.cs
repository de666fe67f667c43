using System.Globalization;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Reports;
using Hadal.Evaluation.Sandbox;
using Hadal.Evaluation.Scoring;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Running;

/// <summary>
/// Evaluates a model on tasks: reads the data, puts the questions, scores the answers, writes the results as they come. The call that <c>hadal eval</c> makes,
/// and that training makes for a checkpoint.
/// </summary>
/// <param name="model">The model; stays the caller's.</param>
/// <param name="options">What is run.</param>
/// <param name="progress">Told how it is getting on; null for nobody.</param>
public sealed class EvaluationRun(IEvaluationModel model, RunOptions options, IRunProgress? progress = null)
{
    // Questions between two writes; those of a subject share their examples, so that more at a time means less to compute.
    private const int ChoicesAtOnce = 32;
    private const int OutputsAtOnce = 32;
    private const int TextsAtOnce = 8;

    private PythonSandbox? sandbox;

    /// <summary>Runs the tasks in their order.</summary>
    /// <param name="tasks">Which.</param>
    /// <param name="named">Whether each was asked for by name: what cannot be run is then an error, and otherwise skipped with its reason.</param>
    /// <param name="cancellation">Ends the run; with an output folder it can be taken up again.</param>
    /// <exception cref="ModelUnfitException">The model cannot do what a task asks.</exception>
    /// <exception cref="SandboxUnavailableException">A code task was named, and programs cannot be run here.</exception>
    /// <exception cref="FileNotFoundException">A task was named whose data is not there.</exception>
    /// <exception cref="InvalidDataException">Data is malformed, or the output folder holds results of another setting or model.</exception>
    public async Task<RunResults> RunAsync(IReadOnlyList<EvaluationTask> tasks, bool named, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(tasks);
        var skipped = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var ready = new List<(EvaluationTask Task, TaskContent Content, TaskData Data)>();

        // Everything that can be known beforehand is: data, sandbox, what the model can do.
        foreach (var task in tasks)
        {
            if (await PrepareAsync(task, named, cancellation) is var (content, data, reason) && reason is null)
            {
                ready.Add((task, content!, data!));
                continue;
            }

            skipped[task.Info.Name] = reason!;
            progress?.Skip(task.Info, reason!);
        }

        if (ready.Count == 0 && !named)
            throw new FileNotFoundException($"{options.Data}: no task has its data here");
        await model.CheckAsync(ready.Exists(r => r.Content.Questions.Any(q => q is not OpenQuestion)), cancellation);
        var store = new ResultStore(options.Output, model.Identity);
        var results = new List<TaskResult>();
        foreach (var (task, content, data) in ready)
        {
            cancellation.ThrowIfCancellationRequested();
            var (result, items) = await RunAsync(task, content, data, cancellation);
            results.Add(result);
            store.Add(result, items);
            progress?.End(task.Info, result);
        }

        var all = new RunResults { Model = model.Identity, Tasks = results, Skipped = skipped };
        store.Write(all);
        return all;
    }

    /// <summary>The questions that a limit leaves: from each category in turn, in the order of the data.</summary>
    internal static IReadOnlyList<Question> Limited(IReadOnlyList<Question> questions, int? limit)
    {
        if (limit is not { } most || most >= questions.Count)
            return questions;
        var chosen = questions.Select((q, i) => (Question: q, Index: i)).GroupBy(q => q.Question.Category).SelectMany(g => g.Select((q, rank) => (q.Index, Rank: rank)))
            .OrderBy(q => q.Rank).ThenBy(q => q.Index).Take(most).Select(q => q.Index).Order();
        return [.. chosen.Select(i => questions[i])];
    }

    private async Task<(TaskContent? Content, TaskData? Data, string? Reason)> PrepareAsync(EvaluationTask task, bool named, CancellationToken cancellation)
    {
        try
        {
            if (task.Info.RunsPrograms)
                sandbox ??= await PythonSandbox.OpenAsync(cancellation);
            var data = new TaskData(options.Data, task.Info.Folder);
            if (!named && !data.IsOwnFolder)
                return (null, null, $"there is no folder {task.Info.Folder}");
            if (options.Style == TaskStyle.LmEval && task.Info.LmEval is null)
                throw new NotSupportedException($"lm-evaluation-harness has no form of {task.Info.Title} that could be taken");
            var content = task.Build(data, new TaskOptions(options.Style, options.Shots));
            var questions = Limited(content.Questions, options.Limit);
            return questions.Count > 0 ? (content with { Questions = questions }, data, null) : throw new FileNotFoundException($"{data.Shown(string.Empty)}: {task.Info.Title} has no questions here");
        }
        catch (Exception e) when (!named && e is NotSupportedException or FileNotFoundException or DirectoryNotFoundException or SandboxUnavailableException)
        {
            return (null, null, e.Message);
        }
    }

    private async Task<(TaskResult Result, IReadOnlyList<ItemResult> Items)> RunAsync(EvaluationTask task, TaskContent content, TaskData data, CancellationToken cancellation)
    {
        var setting = Describe(task, content, data);
        using var log = ItemLog.Open(options.Output, task.Info.Name, setting.With(model.Identity));
        var items = content.Questions.Select(q => log.Done.GetValueOrDefault(q.Id)).ToArray();
        var missing = Enumerable.Range(0, items.Length).Where(i => items[i] is null).ToList();
        progress?.Begin(task.Info, items.Length, items.Length - missing.Count);
        var runner = new QuestionRunner(model, task.Info.RunsPrograms ? sandbox : null, options) { ScoreMetric = setting.Score };
        var atOnce = content.Questions[0] switch { ChoiceQuestion => ChoicesAtOnce, OpenQuestion => OutputsAtOnce, _ => TextsAtOnce };
        foreach (var part in missing.Chunk(atOnce))
        {
            var done = await runner.RunAsync([.. part.Select(i => content.Questions[i])], cancellation);
            log.Add(done);
            for (var i = 0; i < part.Length; i++)
                items[part[i]] = done[i];
            progress?.Advance(task.Info, items.Count(i => i is not null), Summary.ScoreOf(task.Info, setting.Score, [.. items.OfType<ItemResult>()]));
        }

        return (Summary.Of(task.Info, setting, items!, data.Notes), items!);
    }

    private Setting Describe(EvaluationTask task, TaskContent content, TaskData data)
    {
        var score = content.Questions[0] is ChoiceQuestion && options.Normalization is { } normalization ? ChoiceScore.Metric(normalization) : task.Info.ScoreIn(options.Style);
        var decoding = string.Join("; ", content.Questions.DistinctBy(q => q.GetType()).Select(q => q switch
        {
            ChoiceQuestion => "log-likelihood of options",
            OpenQuestion when task.Info.RunsPrograms && options.Samples > 1 => string.Create(CultureInfo.InvariantCulture, $"{options.Samples} samples at temperature {options.Temperature}, top-p 0.95"),
            OpenQuestion => "greedy",
            _ => "log-likelihood of texts",
        }));
        return new Setting
        {
            Task = task.Info.Name, Version = task.Info.Version, Style = options.Style, Shots = task.Info.ShotsIn(new TaskOptions(options.Style, options.Shots)), ShotSource = content.ShotSource,
            ShotIds = content.ShotIds, Score = score, Decoding = decoding, Limit = options.Limit, Data = data.Hashes, Prompts = Setting.HashPrompts(content.Questions),
        };
    }
}
