using Hadal.Numerics.Threading;
using Hadal.Training.Runs;

namespace Hadal.Training.Tests.Runs;

/// <summary>A whole run, from made-up text to losses, against losses that were written down: nothing in tokenizer, order of data, model or optimiser may move unseen.</summary>
public sealed class LossCurveTests : IDisposable
{
    private static readonly double[] Float32 =
    [
        7.90957, 7.82411, 7.69022, 7.55388, 7.36436, 6.91854, 6.86312, 6.68161, 6.47055, 6.46769, 6.43516, 6.41926, 6.06381, 6.16947, 5.91241, 5.89614, 5.71463, 5.26980, 5.74316, 5.51463,
    ];

    private static readonly double[] Bfloat16 =
    [
        7.90950, 7.82414, 7.69085, 7.54345, 7.36216, 6.91453, 6.86619, 6.67951, 6.47279, 6.45377, 6.45540, 6.42568, 6.08789, 6.21223, 5.95603, 5.92640, 5.74519, 5.31170, 5.77675, 5.57937,
    ];

    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    // Other processors add in another order; bfloat16 rounds what differs.
    [Theory]
    [InlineData("fp32", 2e-4)]
    [InlineData("bf16", 1e-2)]
    public void TwentyStepsHaveTheLossesThatWereWrittenDown(string precision, double tolerance)
    {
        var recipe = $$"""
            {
              "name": "curve", "precision": "{{precision}}", "initializer_range": 0.05, "seed": 7,
              "model": { "model_type": "deepseek_v3", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "kv_lora_rank": 16, "q_lora_rank": 24,
                "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "first_k_dense_replace": 1,
                "n_shared_experts": 1, "n_group": 4, "topk_group": 2, "num_nextn_predict_layers": 1, "max_position_embeddings": 256 },
              "tokenizer": { "train_vocab_size": 420 },
              "data": { "sources": [{ "stories": { "seed": 3, "count": 100 } }], "sequence_length": 48, "fim_rate": 0.1, "punctuation_split_rate": 0.1 },
              "schedule": { "tokens": 3840, "warmup_steps": 4, "learning_rate": { "stages": [{ "value": 0.01, "share": 0.7 }, { "cosine_to": 0.001 }] }, "sequences": 4, "bias_update_speed": 0.01 },
              "run": { "micro_sequences": 2, "checkpoint_steps": 100 }
            }
            """;
        using var threads = new KernelThreads(2);
        using var run = TrainingRun.Open(recipe, new RunFolder(folder.File(precision)), threads, cancellation: TestContext.Current.CancellationToken);
        var result = run.Run(TestContext.Current.CancellationToken);
        double[] losses = [.. MetricsLog.Read(result.Folder.Metrics).Where(line => line.ContainsKey("main")).Select(line => (double)line["loss"]!)];
        Assert.Equal(20, losses.Length);
        var far = (precision == "fp32" ? Float32 : Bfloat16).Zip(losses).Max(pair => Math.Abs(pair.First - pair.Second));
        Assert.True(far <= tolerance, $"{far:g3} away: {string.Join(", ", losses.Select(loss => loss.ToString("F5")))}");
    }
}
