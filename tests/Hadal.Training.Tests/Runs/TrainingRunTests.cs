using System.Text.Json.Nodes;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Numerics.Threading;
using Hadal.Training.Recipes;
using Hadal.Training.Runs;

namespace Hadal.Training.Tests.Runs;

public sealed class TrainingRunTests : IDisposable
{
    // 12 steps of 2 to 4 sequences; checkpoints after 4 and 8.
    private const string Recipe = """
        {
          "name": "toy",
          "model": { "model_type": "deepseek_v3", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "kv_lora_rank": 16, "q_lora_rank": 16,
            "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "first_k_dense_replace": 1,
            "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "num_nextn_predict_layers": 1, "max_position_embeddings": 256 },
          "tokenizer": { "train_vocab_size": 400 },
          "data": { "sources": [{ "stories": { "seed": 1, "count": 60 } }], "validation": { "stories": { "seed": 2, "count": 3 } }, "validation_tokens": 256, "sequence_length": 32,
            "fim_rate": 0.3, "punctuation_split_rate": 0.2 },
          "schedule": { "tokens": 1184, "warmup_steps": 3, "learning_rate": { "stages": [{ "value": 0.01, "share": 0.5 }, { "cosine_to": 0.001 }] },
            "sequences": { "stages": [{ "value": 2, "linear_to": 4, "tokens": 600 }, {}] }, "bias_update_speed": 0.01, "mtp_lambda": { "stages": [{ "value": 0.3, "tokens": 500 }, { "value": 0.1 }] } },
          "initializer_range": 0.02,
          "run": { "micro_sequences": 2, "checkpoint_steps": 4, "keep_checkpoints": 5, "validation_steps": 3 }
        }
        """;

    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_run_ends_in_a_model_folder_with_metrics_and_pictures()
    {
        var watch = new Watch();
        var result = Run("a", watch: watch);
        Assert.True(result.Finished);
        using (var model = Checkpoint.Open(result.Folder.Model))
            Assert.Equal((Architecture.DeepseekV3, 400, 0, 1), (model.Config.Architecture, model.Config.VocabSize, model.Config.BosTokenId, model.Config.EosTokenIds[0]));
        Assert.All(new[] { "loss.png", "loss.svg", "expert-load.png", "expert-load.svg" }, f => Assert.True(new FileInfo(Path.Combine(result.Folder.Plots, f)).Length > 1000));
        var steps = Steps(result.Folder);
        Assert.Equal(Enumerable.Range(1, result.Step), steps.Select(s => (int)s["step"]!));
        Assert.Equal(steps.Count, watch.Steps.Count);

        // Warm-up over 3 steps, then the schedule, by the tokens before each step.
        Assert.Equal([0.003333, 0.006667, 0.01], steps.Take(3).Select(s => Math.Round((double)s["learning_rate"]!, 6)));
        var recipe = RecipeReader.Parse(Recipe, "r");
        for (var i = 3; i < steps.Count; i++)
            Assert.Equal(recipe.Schedule.LearningRate.At((long)steps[i - 1]["tokens"]!, 1184), (double)steps[i]["learning_rate"]!);
        Assert.Equal(64, (long)steps[0]["tokens"]!);
        Assert.Equal(128, (long)steps[^1]["tokens"]! - (long)steps[^2]["tokens"]!);

        // lambda falls from 0.3 to 0.1; every token goes to 2 of 8 experts in the layer and in the MTP module, but for the last of each sequence there.
        double Lambda(JsonObject s) => (double)s["mtp_weighted"]! / (double)s["mtp"]![0]!;
        Assert.Equal((0.3, 0.1), (Math.Round(Lambda(steps[0]), 6), Math.Round(Lambda(steps[^1]), 6)));
        Assert.Equal([1, 2], steps[0]["load_layers"]!.AsArray().Select(l => (int)l!));
        Assert.Equal(2 * 64, steps[0]["loads"]![0]!.AsArray().Sum(c => (int)c!));
        Assert.True((double)steps[^1]["main"]! < (double)steps[0]["main"]!);
        var validations = MetricsLog.Read(result.Folder.Metrics).Where(l => l.ContainsKey("validation")).Select(v => (int)v["step"]!).ToList();
        Assert.Equal(Enumerable.Range(1, result.Step).Where(s => s % 3 == 0).Append(result.Step).Distinct(), validations);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(7)]
    [InlineData(10)]
    public void An_interrupted_run_ends_with_the_same_bits_on_any_number_of_threads(int stopAfter)
    {
        var straight = Run("straight", threads: 2);
        var stopped = Run("stopped", threads: 1, watch: new Watch { StopAfter = stopAfter });
        Assert.Equal((stopAfter, false), (stopped.Step, stopped.Finished));
        var watch = new Watch();
        var resumed = Run("stopped", threads: 3, watch: watch);
        Assert.Equal(stopAfter, watch.Begun!.Step);
        AssertSame(straight, resumed);
    }

    [Fact]
    public void A_killed_process_loses_at_most_what_came_after_its_last_checkpoint()
    {
        var straight = Run("straight");
        var killed = Run("killed", watch: new Watch { StopAfter = 10 });

        // As a kill in the middle of step 11 leaves it: no checkpoint of step 10, half of one, half a line of metrics.
        Directory.Move(killed.Folder.Checkpoint(10), killed.Folder.Checkpoint(10) + ".partial");
        File.Delete(Path.Combine(killed.Folder.Checkpoint(10) + ".partial", "training-state.json"));
        File.AppendAllText(killed.Folder.Metrics, "{\"step\": 11, \"tok");
        var watch = new Watch();
        AssertSame(straight, Run("killed", watch: watch));
        Assert.Equal(8, watch.Begun!.Step);
        Assert.Empty(Directory.GetDirectories(Path.GetDirectoryName(killed.Folder.Checkpoint(1))!, "*.partial"));
    }

    [Fact]
    public void A_damaged_checkpoint_is_left_aside_and_the_one_before_it_taken()
    {
        var straight = Run("straight");
        var stopped = Run("stopped", watch: new Watch { StopAfter = 9 });
        var tensors = Path.Combine(stopped.Folder.Checkpoint(9), "training-state.safetensors");
        var bytes = File.ReadAllBytes(tensors);
        bytes[^100] ^= 1;
        File.WriteAllBytes(tensors, bytes);
        var watch = new Watch();
        AssertSame(straight, Run("stopped", watch: watch));
        Assert.Contains("sha256", Assert.Single(watch.Refused).Reason);
        Assert.Equal(8, watch.Begun!.Step);
    }

    [Fact]
    public void Only_the_newest_checkpoints_are_kept()
    {
        var result = Run("a", recipe: With("run.keep_checkpoints", "1"));
        Assert.Equal([result.Step], result.Folder.Whole().Select(c => c.Step));
    }

    [Fact]
    public void A_finished_run_does_nothing_more()
    {
        var first = Run("a");
        var lines = File.ReadAllLines(first.Folder.Metrics);
        var again = Run("a");
        Assert.Equal((first.Step, first.Finished, first.Validation!.Main), (again.Step, again.Finished, again.Validation!.Main));
        Assert.Equal(lines, File.ReadAllLines(first.Folder.Metrics));
    }

    [Fact]
    public void A_folder_belongs_to_one_recipe()
    {
        Run("a", watch: new Watch { StopAfter = 1 });
        var error = Assert.Throws<RecipeMismatchException>(() => Run("a", recipe: With("schedule.warmup_steps", "9"))).Message;
        Assert.Contains("another recipe (schedule.warmup_steps was 3 and is 9)", error);
    }

    [Fact]
    public void What_is_no_number_stops_the_run_and_leaves_the_last_good_checkpoint()
    {
        var straight = Run("straight");
        var watch = new Watch { BreakAfter = 7 };
        var error = Assert.Throws<TrainingDivergedException>(() => Run("broken", watch: watch)).Message;
        Assert.Contains("step 8: tensor model.", error);
        Assert.EndsWith("step-00000004", error);
        AssertSame(straight, Run("broken"));
    }

    [Fact]
    public void Gradients_of_parts_add_up_to_those_of_the_whole_step()
    {
        // A batch-wise balance loss is over a part; without it the parts' sum is the whole but for rounding.
        var one = Run("one", recipe: With("run.micro_sequences", "1", ("precision", "\"fp32\""), ("balance.sequence_alpha", "0.01")));
        var four = Run("four", recipe: With("run.micro_sequences", "4", ("precision", "\"fp32\""), ("balance.sequence_alpha", "0.01")));
        var (a, b) = (Steps(one.Folder), Steps(four.Folder));
        Assert.Equal((double)a[0]["gradient_norm"]!, (double)b[0]["gradient_norm"]!, 1e-4);
        for (var i = 0; i < 4; i++)
            Assert.Equal((double)a[i]["loss"]!, (double)b[i]["loss"]!, 1e-3);
    }

    [Fact]
    public void Fine_tuning_begins_with_the_model_it_is_given()
    {
        var trained = Run("base");
        var chats = folder.Write("chats.jsonl", string.Concat(Enumerable.Range(0, 30).Select(i => $"{{\"instruction\": \"Say {i % 3}.\", \"output\": \"{i % 3} it is.\"}}\n")));
        var recipe = new JsonObject
        {
            ["name"] = "sft",
            ["start_from"] = trained.Folder.Model,
            ["data"] = new JsonObject { ["sources"] = new JsonArray(new JsonObject { ["chats"] = new JsonArray(chats) }), ["validation"] = new JsonObject { ["chats"] = new JsonArray(chats) }, ["sequence_length"] = 64 },
            ["schedule"] = new JsonObject { ["epochs"] = 8, ["learning_rate"] = 0.01, ["sequences"] = 4 },
            ["run"] = new JsonObject { ["micro_sequences"] = 4, ["validation_steps"] = 1 },
        }.ToJsonString();
        var tuned = Run("sft", recipe: recipe);
        var losses = MetricsLog.Read(tuned.Folder.Metrics).Where(l => l.ContainsKey("validation")).Select(v => (double)v["validation"]!["main"]!).ToList();
        Assert.True(losses[^1] < 0.5 * losses[0], string.Join(", ", losses));
        Assert.Equal(8, MetricsLog.Read(tuned.Folder.Metrics).Where(l => l.ContainsKey("epochs")).Max(l => (double)l["epochs"]!), 1.0);
        Assert.Equal(File.ReadAllBytes(Path.Combine(trained.Folder.Model, "tokenizer.json")), File.ReadAllBytes(Path.Combine(tuned.Folder.Model, "tokenizer.json")));
    }

    [Fact]
    public void Shards_of_another_tokenizer_are_refused()
    {
        using var text = new TempFolder();
        var file = text.Write("a.txt", "the deep sea");
        Hadal.Training.Data.ShardBuilder.Run([file], Hadal.Checkpoints.Tokenization.Tokenizer.CreateByteLevel(), text.File("shards"), new(), null, TestContext.Current.CancellationToken);
        Hadal.Checkpoints.Tokenization.Tokenizer.CreateByteLevel([("t", "h")]).Save(text.File("tokenizer"));
        var recipe = With("data.sources", $"[{{\"shards\": \"{text.File("shards")}\"}}]", ("tokenizer", $"{{\"path\": \"{text.File("tokenizer")}\"}}"));
        Assert.Contains("expected shards made with this run's tokenizer", Assert.Throws<InvalidDataException>(() => Run("a", recipe: recipe)).Message);
    }

    [Fact]
    public void Operations_of_a_token_are_counted_as_on_paper()
    {
        var config = RecipeReader.ModelOf(RecipeReader.Parse(Recipe, "r"), Hadal.Checkpoints.Tokenization.Tokenizer.CreateByteLevel());
        const int V = 274, D = 32;
        const int Attention = (16 * D) + (48 * 16) + (24 * D) + (64 * 16) + (D * 32);
        const int Expert = 3 * D * 16;
        const int Moe = (8 * D) + (3 * Expert);
        const double Weights = (2.0 * V * D) + (3 * Attention) + (3 * D * 48) + (2 * Moe) + (2 * D * D);
        Assert.Equal(6 * (Weights + (3.0 * 2 * 40 * 100 / 2)), Hadal.Training.Presets.ParameterTotals.TrainingFlopsPerToken(config, 100));
    }

    private RunResult Run(string name, int threads = 2, Watch? watch = null, string recipe = Recipe, CheckpointEvaluator? evaluator = null)
    {
        using var pool = new KernelThreads(threads);
        watch ??= new();
        using var run = TrainingRun.Open(recipe, new RunFolder(folder.File(name)), pool, watch, null, evaluator, TestContext.Current.CancellationToken);
        watch.Run = run;
        return run.Run(watch.Stop.Token);
    }

    private static string With(string key, string value, params (string Key, string Value)[] more)
    {
        var root = JsonNode.Parse(Recipe)!;
        foreach (var (path, text) in more.Prepend((key, value)))
        {
            var keys = path.Split('.');
            var at = root.AsObject();
            foreach (var k in keys[..^1])
                at = (at[k] ??= new JsonObject()).AsObject();
            at[keys[^1]] = JsonNode.Parse(text);
        }

        return root.ToJsonString();
    }

    private static List<JsonObject> Steps(RunFolder run) => [.. MetricsLog.Read(run.Metrics).Where(l => l.ContainsKey("main"))];

    private static void AssertSame(RunResult expected, RunResult actual)
    {
        Assert.Equal((expected.Step, expected.Tokens, true), (actual.Step, actual.Tokens, actual.Finished));
        foreach (var file in new[] { "model.safetensors", "training-state.safetensors", "config.json", "tokenizer.json" })
            Assert.Equal(File.ReadAllBytes(Path.Combine(expected.Folder.Checkpoint(expected.Step), file)), File.ReadAllBytes(Path.Combine(actual.Folder.Checkpoint(actual.Step), file)));
        Assert.Equal(Lines(expected), Lines(actual));

        static IEnumerable<string> Lines(RunResult run) => MetricsLog.Read(run.Folder.Metrics).Select(line =>
        {
            line.Remove("tokens_per_second");
            line.Remove("flops_utilisation");
            return line.ToJsonString();
        });
    }

    private sealed class Watch : IProgress<RunEvent>
    {
        public CancellationTokenSource Stop { get; } = new();

        public int StopAfter { get; init; } = int.MaxValue;

        public int BreakAfter { get; init; } = int.MaxValue;

        public TrainingRun? Run { get; set; }

        public RunBegun? Begun { get; private set; }

        public List<StepDone> Steps { get; } = [];

        public List<CheckpointRefused> Refused { get; } = [];

        public void Report(RunEvent value)
        {
            if (value is RunBegun begun)
                Begun = begun;
            if (value is CheckpointRefused refused)
                Refused.Add(refused);
            if (value is not StepDone step)
                return;
            Steps.Add(step);
            if (step.Step >= StopAfter)
                Stop.Cancel();
            if (step.Step != BreakAfter)
                return;
            Run!.Model.Parameters[3].Weight[0] = float.NaN;
            Run.Model.WeightsChanged();
        }
    }
}
