using System.Text.Json.Nodes;
using Hadal.Checkpoints;
using Hadal.Numerics.Threading;
using Hadal.Training.Runs;

namespace Hadal.Training.Tests.Runs;

/// <summary>Evaluations of checkpoints: when, of what, what is written, and that training does not notice.</summary>
public sealed class CheckpointEvaluationTests : IDisposable
{
    // 12 steps; checkpoints after 2, 4, …, 12, evaluated after 4, 8 and 12.
    private const string Recipe = """
        {
          "name": "toy",
          "model": { "model_type": "deepseek_v3", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "kv_lora_rank": 16, "q_lora_rank": 16,
            "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "first_k_dense_replace": 1,
            "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "max_position_embeddings": 256 },
          "tokenizer": { "train_vocab_size": 300 },
          "data": { "sources": [{ "stories": { "count": 40 } }], "validation": { "stories": { "seed": 2, "count": 2 } }, "validation_tokens": 128, "sequence_length": 32 },
          "schedule": { "tokens": 768, "learning_rate": 0.01, "sequences": 2 },
          "run": { "micro_sequences": 2, "checkpoint_steps": 2, "keep_checkpoints": 9, "validation_steps": 4, "evaluation_steps": 4 },
          "evaluation": { "tasks": ["bpb"], "data": "somewhere" }
        }
        """;

    private readonly TempFolder folder = new();
    private readonly List<string> evaluated = [];

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Whole_checkpoints_are_scored_every_so_many_steps_and_at_the_end()
    {
        var watch = new Watch();
        var result = Run("a", Recipe, Score, watch);
        Assert.Equal([4, 8, 12], evaluated.Select(StepOf));
        var lines = MetricsLog.Read(result.Folder.Metrics).Where(l => l.ContainsKey("evaluation")).ToList();
        Assert.Equal([(4, 128 * 2), (8, 128 * 4), (12, 128 * 6)], lines.Select(l => ((int)l["step"]!, (int)l["tokens"]!)));
        Assert.Equal("""{"metric":"bits_per_byte","score":4,"standard_error":null,"questions":7}""", lines[0]["evaluation"]!["bpb"]!.ToJsonString());
        Assert.Equal([4, 8, 12], watch.Evaluations.Select(e => e.Step));
        Assert.Equal(8, watch.Evaluations[1].Scores.Single().Score);

        // Evaluated again by nobody: the run is over.
        Run("a", Recipe, Score);
        Assert.Equal(3, evaluated.Count);
    }

    [Fact]
    public void Training_does_not_notice()
    {
        var without = JsonNode.Parse(Recipe)!;
        without.AsObject().Remove("evaluation");
        without["run"]!.AsObject().Remove("evaluation_steps");
        var plain = Run("plain", without.ToJsonString(), null);
        Assert.DoesNotContain(MetricsLog.Read(plain.Folder.Metrics), l => l.ContainsKey("evaluation"));
        AssertSame(plain, Run("evaluated", Recipe, Score));
    }

    [Fact]
    public void Without_steps_the_finished_model_alone_is_scored()
    {
        var recipe = JsonNode.Parse(Recipe)!;
        recipe["run"]!["evaluation_steps"] = 0;
        Run("a", recipe.ToJsonString(), Score);
        Assert.Equal([12], evaluated.Select(StepOf));
    }

    [Theory]
    [InlineData(8)]
    [InlineData(12)]
    public void An_interrupted_evaluation_is_made_when_the_run_goes_on(int step)
    {
        var straight = Run("straight", Recipe, Score);
        evaluated.Clear();
        using var stop = new CancellationTokenSource();
        var stopped = Run("stopped", Recipe, (model, output, cancellation) =>
        {
            if (StepOf(model) < step)
                return Score(model, output, cancellation);
            stop.Cancel();
            cancellation.ThrowIfCancellationRequested();
            throw new InvalidOperationException();
        }, stop: stop);
        Assert.Equal((step, false), (stopped.Step, stopped.Finished));
        Assert.False(Directory.Exists(stopped.Folder.Model));
        var resumed = Run("stopped", Recipe, Score);
        Assert.Equal([4, 8, 12], evaluated.Select(StepOf));
        AssertSame(straight, resumed);
        Assert.Equal([4, 8, 12], MetricsLog.Read(resumed.Folder.Metrics).Where(l => l.ContainsKey("evaluation")).Select(l => (int)l["step"]!));
    }

    [Fact]
    public void A_recipe_with_an_evaluation_needs_somebody_to_do_it() =>
        Assert.Throws<ArgumentException>(() => Run("a", Recipe, null));

    private static int StepOf(string model) => int.Parse(Path.GetFileName(model)["step-".Length..]);

    private IReadOnlyList<TaskScore> Score(string model, string output, CancellationToken cancellation)
    {
        evaluated.Add(model);
        Assert.Equal(Path.GetFileName(model), Path.GetFileName(output));
        using (var checkpoint = Checkpoint.Open(model))
            Assert.Equal(300, checkpoint.Config.VocabSize);
        Assert.True(File.Exists(Path.Combine(model, "training-state.json")));
        return [new("bpb", "bits_per_byte", StepOf(model), null, 7)];
    }

    private RunResult Run(string name, string recipe, CheckpointEvaluator? evaluator, Watch? watch = null, CancellationTokenSource? stop = null)
    {
        using var pool = new KernelThreads(1);
        using var run = TrainingRun.Open(recipe, new RunFolder(folder.File(name)), pool, watch, null, evaluator, TestContext.Current.CancellationToken);
        return run.Run(stop?.Token ?? TestContext.Current.CancellationToken);
    }

    private static void AssertSame(RunResult expected, RunResult actual)
    {
        Assert.Equal((expected.Step, expected.Tokens, true), (actual.Step, actual.Tokens, actual.Finished));
        foreach (var file in new[] { "model.safetensors", "training-state.safetensors" })
            Assert.Equal(File.ReadAllBytes(Path.Combine(expected.Folder.Checkpoint(expected.Step), file)), File.ReadAllBytes(Path.Combine(actual.Folder.Checkpoint(actual.Step), file)));
    }

    private sealed class Watch : IProgress<RunEvent>
    {
        public List<EvaluationDone> Evaluations { get; } = [];

        public void Report(RunEvent value)
        {
            if (value is EvaluationDone done)
                Evaluations.Add(done);
        }
    }
}
