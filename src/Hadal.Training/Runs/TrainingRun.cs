using System.Text.Json.Nodes;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Files;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Threading;
using Hadal.Training.Data;
using Hadal.Training.Model;
using Hadal.Training.Optimization;
using Hadal.Training.Presets;
using Hadal.Training.Recipes;

namespace Hadal.Training.Runs;

/// <summary>
/// A training run, from recipe to model folder. Whatever ends it (the last token, Ctrl-C, a kill, a power cut), the same call goes on from the last checkpoint, and what comes out is
/// the same, bit for bit, as if nothing had happened, on any number of threads.
/// </summary>
public sealed class TrainingRun : IDisposable
{
    private const double Smoothing = 0.95;

    private readonly Recipe recipe;
    private readonly RunFolder folder;
    private readonly RunData data;
    private readonly TrainingModel model;
    private readonly CheckpointStore store;
    private readonly IProgress<RunEvent>? watcher;
    private readonly CheckpointEvaluator? evaluator;
    private readonly int[] tokenBytes;
    private readonly long totalTokens;
    private readonly double flopsPerToken;
    private readonly double peak;
    private RunState state;
    private int evaluated;
    private IReadOnlyList<TaskScore>? scores;

    private TrainingRun(Recipe recipe, RunFolder folder, RunData data, TrainingModel model, IProgress<RunEvent>? watcher, CheckpointEvaluator? evaluator)
    {
        (this.recipe, this.folder, this.data, this.model, this.watcher, this.evaluator) = (recipe, folder, data, model, watcher, evaluator);
        store = new(model, data.Tokenizer, folder, recipe.Run.KeepCheckpoints);
        tokenBytes = [.. Enumerable.Range(0, model.Config.VocabSize).Select(id => data.Tokenizer.IsControl(id) ? 0 : data.Tokenizer.DecodeBytes(id).Length)];
        totalTokens = recipe.Schedule.Tokens ?? (long)Math.Ceiling(recipe.Schedule.Epochs!.Value * data.EpochTokens);
        flopsPerToken = ParameterTotals.TrainingFlopsPerToken(model.Config, recipe.Data.SequenceLength);
        peak = ArithmeticPeak.Measure(model.Threads);
        state = new() { Step = 0, Tokens = 0, Seconds = 0, Data = data.Batches.Position };
    }

    /// <summary>Opens a run: makes its folder, or goes on with the one that is there.</summary>
    /// <param name="resolved">The recipe as <see cref="RecipeReader.Resolve"/> gives it.</param>
    /// <param name="folder">Where it shall be.</param>
    /// <param name="threads">What it computes on; must outlive the run.</param>
    /// <param name="watcher">Told what happens, on the calling thread.</param>
    /// <param name="told">Told what takes long before the first step.</param>
    /// <param name="evaluator">Scores checkpoints, on the calling thread while <paramref name="threads"/> are free; needed where the recipe has an evaluation.</param>
    /// <param name="cancellation">Stops the opening.</param>
    /// <exception cref="ArgumentException">The recipe has an evaluation, and there is nothing to do it with.</exception>
    /// <exception cref="InvalidDataException">Recipe or data are wrong.</exception>
    /// <exception cref="RecipeMismatchException">The folder is of a run with another recipe.</exception>
    public static TrainingRun Open(string resolved, RunFolder folder, KernelThreads threads, IProgress<RunEvent>? watcher = null, IProgress<string>? told = null, CheckpointEvaluator? evaluator = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ArgumentNullException.ThrowIfNull(threads);
        var read = RecipeReader.Parse(resolved, "recipe");
        if (read.Evaluation is not null && evaluator is null)
            throw new ArgumentException("the recipe has an evaluation, which needs an evaluator", nameof(evaluator));
        Directory.CreateDirectory(folder.Path);
        KeepRecipe(resolved, folder);
        folder.RemovePartial();
        var opened = RunData.Open(read, folder, threads.Count, told, cancellation);
        TrainingModel? made = null;
        try
        {
            told?.Report("preparing the model");
            using var start = read.StartFrom is { } path ? Checkpoint.Open(path) : null;
            made = new(start?.Config ?? RecipeReader.ModelOf(read, opened.Tokenizer), Options(read), threads);
            var run = new TrainingRun(read, folder, opened, made, watcher, read.Evaluation is null ? null : evaluator);
            run.Begin(start);
            return run;
        }
        catch
        {
            made?.Dispose();
            opened.Dispose();
            throw;
        }
    }

    /// <summary>Trains to the end, or until it is cancelled: then the step in hand is finished and a checkpoint written.</summary>
    /// <exception cref="TrainingDivergedException">A loss or gradient is no number.</exception>
    public RunResult Run(CancellationToken cancellation)
    {
        var validation = Validated();
        evaluated = Logged("evaluation")?.Step ?? 0;
        using (var metrics = new MetricsLog(folder.Metrics, state.Step))
        {
            var saved = state.Step;
            var smooth = double.NaN;
            Evaluate(metrics, cancellation);
            var speed = new Speed(TimeProvider.System);
            while (state.Tokens < totalTokens && !cancellation.IsCancellationRequested)
            {
                var (done, totals) = Step(speed, ref smooth);
                metrics.Write(Line(done, totals));
                watcher?.Report(done);

                // Before the checkpoint: what is in the log up to a checkpoint is all there is up to it.
                if (recipe.Run.ValidationSteps > 0 && state.Step % recipe.Run.ValidationSteps == 0)
                    validation = Validate(metrics);
                if (state.Step % recipe.Run.CheckpointSteps == 0)
                {
                    store.Begin(state);
                    saved = state.Step;
                    Evaluate(metrics, cancellation);
                }

                speed.Pause();
            }

            var finished = state.Tokens >= totalTokens;
            if (finished && validation?.Step != state.Step)
                validation = Validate(metrics);
            if (saved != state.Step)
                store.Begin(state);
            store.Wait();
            if (!finished || !Evaluate(metrics, cancellation))
                return new(state.Step, state.Tokens, Finished: false, folder, validation, scores);
        }

        RunPlots.Write(folder);
        PlaceModel();
        return new(state.Step, state.Tokens, Finished: true, folder, validation, scores);
    }

    /// <summary>The model, for tests.</summary>
    internal TrainingModel Model => model;

    /// <inheritdoc/>
    public void Dispose()
    {
        store.Dispose();
        model.Dispose();
        data.Dispose();
    }

    private static TrainingOptions Options(Recipe recipe) => new()
    {
        Precision = recipe.Precision,
        MaxTokens = checked(recipe.Run.MicroSequences * recipe.Data.SequenceLength),
        MtpLambda = recipe.Schedule.MtpLambda.At(0, 1),
        SequenceAlpha = recipe.Balance.SequenceAlpha,
        BatchAlpha = recipe.Balance.BatchAlpha,
        BalanceCounts = recipe.Balance.Counts,
        Recompute = recipe.Recompute.Aggregate(Recompute.None, (all, one) => all | one),
        Bf16Moments = recipe.Optimizer.Bf16Moments,
        InitializerRange = recipe.InitializerRange,
    };

    // A folder belongs to one recipe: a run that went on with another would be neither.
    private static void KeepRecipe(string resolved, RunFolder folder)
    {
        if (!File.Exists(folder.Recipe))
        {
            File.WriteAllText(folder.Recipe + ".partial", resolved);
            File.Move(folder.Recipe + ".partial", folder.Recipe);
            return;
        }

        var begun = JsonNode.Parse(File.ReadAllText(folder.Recipe));
        if (Difference(begun, JsonNode.Parse(resolved), string.Empty) is { } difference)
            throw new RecipeMismatchException($"{folder.Path}: holds a run with another recipe ({difference})");
    }

    private static string? Difference(JsonNode? old, JsonNode? now, string path)
    {
        if (JsonNode.DeepEquals(old, now))
            return null;
        if (old is JsonObject a && now is JsonObject b)
        {
            return a.Select(p => p.Key).Union(b.Select(p => p.Key)).Select(key => Difference(a[key], b[key], path.Length == 0 ? key : $"{path}.{key}")).First(d => d is not null);
        }

        return $"{path} was {Show(old)} and is {Show(now)}";

        static string Show(JsonNode? node) => node is null ? "not there" : BadFile.Quote(node.ToJsonString());
    }

    private void Begin(Checkpoint? start)
    {
        string? resumed = null;
        foreach (var (_, path) in folder.Whole())
        {
            try
            {
                state = store.Restore(path);
                data.Batches.Position = state.Data;
                resumed = path;
                break;
            }
            catch (InvalidDataException e)
            {
                watcher?.Report(new CheckpointRefused(path, e.Message));
            }
        }

        if (resumed is null && start is not null)
            model.Load(start);
        else if (resumed is null)
            model.Initialize(recipe.Seed);
        var count = ParameterTotals.Of(model.Config);
        watcher?.Report(new RunBegun(count.Total + count.Mtp, count.Activated, totalTokens, data.Tokens, flopsPerToken, resumed, state.Step));
    }

    private (StepDone Done, StepTotals Totals) Step(Speed speed, ref double smooth)
    {
        var schedule = recipe.Schedule;
        var step = state.Step + 1;
        double At(Schedule of) => of.At(state.Tokens, totalTokens);
        var rate = At(schedule.LearningRate) * Math.Min(1, (double)step / Math.Max(1, schedule.WarmupSteps));
        model.Options.MtpLambda = At(schedule.MtpLambda);
        model.ClearGradients();
        var parts = Parts((int)Math.Round(At(schedule.Sequences)));
        var scored = parts.Sum(Scored);
        var totals = new StepTotals();
        long tokens = 0, bytes = 0;
        foreach (var part in parts)
        {
            tokens += part.Tokens.Length;
            bytes += part.Targets.Sum(t => t < 0 ? 0L : tokenBytes[t]);
            var found = model.ForwardBackward(part, (float)((double)Scored(part) / Math.Max(1, scored)));
            if (!double.IsFinite(found.Losses.Total))
                throw Diverged(step, "the loss of the batch");
            totals.Add(found.Losses);
            totals.Add(found.ExpertLoads);
        }

        var result = AdamW.Step(model, new()
        {
            Step = step, LearningRate = rate, Beta1 = recipe.Optimizer.Beta1, Beta2 = recipe.Optimizer.Beta2, Epsilon = recipe.Optimizer.Epsilon,
            WeightDecay = recipe.Optimizer.WeightDecay, MaxGradientNorm = recipe.Optimizer.MaxGradientNorm,
        });
        if (!result.Applied)
            throw Diverged(step, "the norm of the gradient");
        if (At(schedule.BiasUpdateSpeed) is > 0 and var gamma)
            RouterBiasUpdate.Apply(model, totals.Loads, gamma);
        speed.Add(tokens);
        state = state with { Step = step, Tokens = state.Tokens + tokens, Seconds = state.Seconds + speed.LastSeconds, Data = data.Batches.Position };
        var losses = totals.Losses;
        smooth = double.IsNaN(smooth) ? losses.Main : (Smoothing * smooth) + ((1 - Smoothing) * losses.Main);
        return (new()
        {
            Step = step,
            Tokens = state.Tokens,
            TotalTokens = totalTokens,
            Losses = losses,
            BitsPerByte = BitsPerByte(losses.Main, totals.Scored, bytes),
            SmoothLoss = smooth,
            LearningRate = rate,
            GradientNorm = result.GradientNorm,
            WorstLoad = totals.WorstLoad,
            TokensPerSecond = speed.TokensPerSecond,
            Utilisation = speed.TokensPerSecond * flopsPerToken / peak,
            Epochs = data.Batches.Epochs,
        }, totals);
    }

    // The sequences of a step, in parts that fit the model's memory.
    private List<PackedBatch> Parts(int sequences)
    {
        var parts = new List<PackedBatch>();
        for (var left = Math.Max(1, sequences); left > 0; left -= parts[^1].Sequences)
            parts.Add(data.Batches.Next(Math.Min(left, recipe.Run.MicroSequences)));
        return parts;
    }

    private ValidationDone? Validate(MetricsLog metrics)
    {
        if (data.Validation.Count == 0)
            return null;
        var totals = new StepTotals();
        var bytes = 0L;
        foreach (var batch in data.Validation)
        {
            totals.Add(model.Evaluate(batch));
            bytes += batch.Targets.Sum(t => t < 0 ? 0L : tokenBytes[t]);
        }

        var losses = totals.Losses;
        if (!double.IsFinite(losses.Total))
            throw Diverged(state.Step, "the held-out loss");
        var done = new ValidationDone(state.Step, losses.Main, losses.Mtp, BitsPerByte(losses.Main, totals.Scored, bytes), totals.Scored);
        metrics.Write(new()
        {
            ["step"] = state.Step, ["tokens"] = state.Tokens,
            ["validation"] = new JsonObject { ["main"] = done.Main, ["mtp"] = Array(done.Mtp), ["bits_per_byte"] = done.BitsPerByte, ["scored_tokens"] = done.ScoredTokens },
        });
        watcher?.Report(done);
        return done;
    }

    /// <summary>The last validation up to the checkpoint that the run goes on from.</summary>
    private ValidationDone? Validated()
    {
        return Logged("validation") is not var (step, v) ? null
            : new(step, (double)v["main"]!, [.. v["mtp"]!.AsArray().Select(m => (double)m!)], (double)v["bits_per_byte"]!, (long)v["scored_tokens"]!);
    }

    /// <summary>The last of the lines of one kind up to the checkpoint that the run goes on from.</summary>
    private (int Step, JsonObject Value)? Logged(string kind)
    {
        var line = MetricsLog.Read(folder.Metrics).LastOrDefault(l => l[kind] is JsonObject && l["step"] is JsonValue step && (int)step <= state.Step);
        return line is null ? null : ((int)line["step"]!, (JsonObject)line[kind]!);
    }

    // After the checkpoint that it is of. What a kill left undone is done when the run goes on; it has no influence on what is trained.
    private bool Evaluate(MetricsLog metrics, CancellationToken cancellation)
    {
        var isDue = state.Tokens >= totalTokens || (recipe.Run.EvaluationSteps > 0 && state.Step % recipe.Run.EvaluationSteps == 0);
        if (evaluator is null || !isDue || evaluated == state.Step)
            return true;
        store.Wait();
        try
        {
            scores = evaluator(folder.Checkpoint(state.Step), folder.Evaluation(state.Step), cancellation);
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            return false;
        }

        evaluated = state.Step;
        metrics.Write(new()
        {
            ["step"] = state.Step, ["tokens"] = state.Tokens,
            ["evaluation"] = new JsonObject(scores.Select(s => KeyValuePair.Create<string, JsonNode?>(s.Task, new JsonObject
            {
                ["metric"] = s.Metric, ["score"] = Finite(s.Score), ["standard_error"] = Finite(s.StandardError), ["questions"] = s.Questions,
            }))),
        });
        watcher?.Report(new EvaluationDone(state.Step, scores));
        return true;

        // JSON has no NaN.
        static JsonValue? Finite(double? value) => value is { } number && double.IsFinite(number) ? JsonValue.Create(number) : null;
    }

    private static JsonObject Line(StepDone done, StepTotals totals) => new()
    {
        ["step"] = done.Step,
        ["tokens"] = done.Tokens,
        ["epochs"] = Math.Round(done.Epochs, 4),
        ["loss"] = done.Losses.Total,
        ["main"] = done.Losses.Main,
        ["mtp"] = Array(done.Losses.Mtp),
        ["mtp_weighted"] = done.Losses.MtpWeighted,
        ["sequence_balance"] = done.Losses.SequenceBalance,
        ["batch_balance"] = done.Losses.BatchBalance,
        ["bits_per_byte"] = done.BitsPerByte,
        ["learning_rate"] = done.LearningRate,
        ["gradient_norm"] = done.GradientNorm,
        ["worst_load"] = done.WorstLoad,
        ["loads"] = new JsonArray([.. totals.Loads.Select(l => (JsonNode)new JsonArray([.. l.Counts.Select(c => (JsonNode)c)]))]),
        ["load_layers"] = new JsonArray([.. totals.Loads.Select(l => (JsonNode)l.Layer)]),
        ["tokens_per_second"] = Math.Round(done.TokensPerSecond, 1),
        ["flops_utilisation"] = Math.Round(done.Utilisation, 4),
    };

    private static JsonArray Array(IReadOnlyList<double> values) => new([.. values.Select(v => (JsonNode)v)]);

    private static int Scored(PackedBatch batch) => batch.Targets.Count(t => t >= 0);

    private static double BitsPerByte(double nats, long scored, long bytes) => bytes == 0 ? 0 : nats * scored / (Math.Log(2) * bytes);

    private TrainingDivergedException Diverged(int step, string what)
    {
        store.Wait();
        return new(step, model.FirstNonFinite() is { } tensor ? $"tensor {tensor}" : what, folder.Whole().Select(c => c.Path).FirstOrDefault());
    }

    // The model of the last checkpoint, without the state that only training needs.
    private void PlaceModel()
    {
        var beside = folder.Model + ".partial";
        if (Directory.Exists(beside))
            Directory.Delete(beside, recursive: true);
        Directory.CreateDirectory(beside);
        foreach (var file in Directory.EnumerateFiles(folder.Checkpoint(state.Step)).Where(f => !Path.GetFileName(f).StartsWith("training-state.", StringComparison.Ordinal)))
            File.Copy(file, Path.Combine(beside, Path.GetFileName(file)));
        if (Directory.Exists(folder.Model))
            Directory.Delete(folder.Model, recursive: true);
        Directory.Move(beside, folder.Model);
    }

    // Tokens a second of the last steps, the time between them left out.
    private sealed class Speed(TimeProvider clock)
    {
        private const int Window = 20;
        private readonly Queue<(long Tokens, double Seconds)> steps = new();
        private long since = clock.GetTimestamp();

        public double LastSeconds { get; private set; }

        public double TokensPerSecond => steps.Sum(s => s.Tokens) / Math.Max(1e-9, steps.Sum(s => s.Seconds));

        public void Add(long tokens)
        {
            LastSeconds = clock.GetElapsedTime(since).TotalSeconds;
            steps.Enqueue((tokens, LastSeconds));
            if (steps.Count > Window)
                steps.Dequeue();
        }

        public void Pause() => since = clock.GetTimestamp();
    }
}
