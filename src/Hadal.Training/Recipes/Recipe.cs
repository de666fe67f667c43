using System.Text.Json.Nodes;
using Hadal.Training.Model;
using Hadal.Training.Precision;

namespace Hadal.Training.Recipes;

/// <summary>A training run, as <c>recipes/*.jsonc</c> describe it: every key of the file, checked, with its default. docs/TRAINING.md explains them.</summary>
public sealed record Recipe
{
    /// <summary>What the run is called.</summary>
    public required string Name { get; init; }

    /// <summary>The model, in the keys of config.json; or <c>{"shape": "deepseek-v2-lite"}</c>, a published one. Left out where <see cref="StartFrom"/> tells.</summary>
    public JsonObject Model { get; init; } = [];

    /// <summary>A model folder whose weights, configuration and tokenizer the run begins with: fine-tuning. Left out, weights are drawn.</summary>
    public string? StartFrom { get; init; }

    /// <summary>Where the tokenizer comes from; left out where <see cref="StartFrom"/> tells.</summary>
    public TokenizerRecipe Tokenizer { get; init; } = new();

    /// <summary>What is read.</summary>
    public required DataRecipe Data { get; init; }

    /// <summary>How long, how fast, how much at once.</summary>
    public required ScheduleRecipe Schedule { get; init; }

    /// <summary>AdamW.</summary>
    public OptimizerRecipe Optimizer { get; init; } = new();

    /// <summary>What keeps the experts evenly used.</summary>
    public BalanceRecipe Balance { get; init; } = new();

    /// <summary>What the matrix products read.</summary>
    public TrainingPrecision Precision { get; init; } = TrainingPrecision.Bf16;

    /// <summary>What is computed twice to save memory: <c>norms</c>, <c>up_projections</c>.</summary>
    public IReadOnlyList<Recompute> Recompute { get; init; } = [];

    /// <summary>Standard deviation of initial weights.</summary>
    public double InitializerRange { get; init; } = 0.006;

    /// <summary>Seed of the weights and of the order of the data.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Benchmarks that checkpoints are put to; left out, none.</summary>
    public EvaluationRecipe? Evaluation { get; init; }

    /// <summary>What is written down, and when.</summary>
    public RunRecipe Run { get; init; } = new();
}

/// <summary>Where the tokenizer comes from: a path, or training on the data itself.</summary>
public sealed record TokenizerRecipe
{
    /// <summary>A folder with tokenizer.json, a model folder, or a .gguf file.</summary>
    public string? Path { get; init; }

    /// <summary>Train one of this size on the sources at the start of the run, in place of <see cref="Path"/>.</summary>
    public int? TrainVocabSize { get; init; }
}

/// <summary>What is read.</summary>
public sealed record DataRecipe
{
    /// <summary>What is trained on, mixed.</summary>
    public required IReadOnlyList<SourceRecipe> Sources { get; init; }

    /// <summary>Held-out text, never trained on.</summary>
    public SourceRecipe? Validation { get; init; }

    /// <summary>Most tokens of it that are read; each validation reads the same ones.</summary>
    public int ValidationTokens { get; init; } = 1 << 18;

    /// <summary>Tokens of a sequence.</summary>
    public required int SequenceLength { get; init; }

    /// <summary>Where sources are conversations and text: share of sequences that are text.</summary>
    public double TextShare { get; init; }

    /// <summary>Whether documents packed into one sequence do not see each other.</summary>
    public bool MaskDocuments { get; init; }

    /// <summary>Share of documents turned into fill-in-the-middle form.</summary>
    public double FimRate { get; init; }

    /// <summary>Share of joined punctuation tokens that is split.</summary>
    public double PunctuationSplitRate { get; init; }
}

/// <summary>Text of one kind: exactly one of shards, files, stories and chats.</summary>
public sealed record SourceRecipe
{
    /// <summary>A folder that <c>hadal shards</c> wrote.</summary>
    public string? Shards { get; init; }

    /// <summary>Text files or folders of them, tokenised at the start and kept in memory.</summary>
    public IReadOnlyList<string>? Files { get; init; }

    /// <summary>Stories that are made up at the start.</summary>
    public StoriesRecipe? Stories { get; init; }

    /// <summary>Files of conversations, of which the assistant's tokens are learnt.</summary>
    public IReadOnlyList<string>? Chats { get; init; }

    /// <summary>Field of .jsonl files or column of .parquet files that holds the text.</summary>
    public string Field { get; init; } = Data.TextFiles.DefaultField;

    /// <summary>Share of tokens relative to the other sources'; left out, the source's own size.</summary>
    public double? Weight { get; init; }
}

/// <summary>Made-up stories.</summary>
public sealed record StoriesRecipe
{
    /// <summary>Which ones.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>How many.</summary>
    public required int Count { get; init; }
}

/// <summary>How long, how fast, how much at once. Schedules go by tokens consumed.</summary>
public sealed record ScheduleRecipe
{
    /// <summary>Tokens of the whole run.</summary>
    public long? Tokens { get; init; }

    /// <summary>How often the data is gone through, in place of <see cref="Tokens"/>.</summary>
    public double? Epochs { get; init; }

    /// <summary>Learning rate, before warm-up.</summary>
    public required Schedule LearningRate { get; init; }

    /// <summary>Steps over which the learning rate rises from 0: step s of w uses s/w of it.</summary>
    public int WarmupSteps { get; init; }

    /// <summary>Sequences of a step.</summary>
    public required Schedule Sequences { get; init; }

    /// <summary>Bias update speed gamma of the routers.</summary>
    public Schedule BiasUpdateSpeed { get; init; } = Schedule.Constant(0.001);

    /// <summary>Weight lambda of the MTP losses.</summary>
    public Schedule MtpLambda { get; init; } = Schedule.Constant(0.3);
}

/// <summary>AdamW; the defaults are DeepSeek's.</summary>
public sealed record OptimizerRecipe
{
    /// <summary>Decay of the mean of gradients.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the mean of squared gradients.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Added to the root of the second moment.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Decoupled decay, on matrices only.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>Largest norm of the whole gradient.</summary>
    public double MaxGradientNorm { get; init; } = 1;

    /// <summary>Whether the moments are kept in bfloat16.</summary>
    public bool Bf16Moments { get; init; }
}

/// <summary>Losses that keep the experts evenly used, beside the bias whose speed the schedule has.</summary>
public sealed record BalanceRecipe
{
    /// <summary>Alpha of the sequence-wise loss; 0 leaves it out.</summary>
    public double SequenceAlpha { get; init; } = 1e-4;

    /// <summary>Alpha of the batch-wise loss; 0 leaves it out.</summary>
    public double BatchAlpha { get; init; }

    /// <summary>Which experts the losses count.</summary>
    public BalanceCounts Counts { get; init; }
}

/// <summary>Benchmarks that the finished model is put to, and every <see cref="RunRecipe.EvaluationSteps"/> its checkpoint: what <c>hadal eval</c> does.</summary>
public sealed record EvaluationRecipe
{
    /// <summary>Names of tasks.</summary>
    public required IReadOnlyList<string> Tasks { get; init; }

    /// <summary>A folder with a folder for each benchmark, or a file of texts.</summary>
    public required string Data { get; init; }

    /// <summary>Questions of each task; left out, all.</summary>
    public int? Limit { get; init; }
}

/// <summary>What is written down, and when.</summary>
public sealed record RunRecipe
{
    /// <summary>Sequences that are computed at once; a step accumulates the gradients of as many such parts as it takes. Least memory with 1.</summary>
    public int MicroSequences { get; init; } = 4;

    /// <summary>Steps between checkpoints.</summary>
    public int CheckpointSteps { get; init; } = 200;

    /// <summary>Checkpoints that are kept, the newest ones.</summary>
    public int KeepCheckpoints { get; init; } = 2;

    /// <summary>Steps between validations; 0 for none but at the end.</summary>
    public int ValidationSteps { get; init; } = 200;

    /// <summary>Steps between evaluations, a multiple of <see cref="CheckpointSteps"/>; 0 for none but at the end, where the recipe has an evaluation.</summary>
    public int EvaluationSteps { get; init; }

    /// <summary>Steps between lines of progress where nobody watches.</summary>
    public int ReportSteps { get; init; } = 50;

    /// <summary>What the finished model goes on from, as a sample of what it can do; left out, there is none.</summary>
    public string? SamplePrompt { get; init; }

    /// <summary>Tokens of the sample.</summary>
    public int SampleTokens { get; init; } = 120;
}
