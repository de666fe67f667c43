using Hadal.Checkpoints.Files;

namespace Hadal.Training.Recipes;

/// <summary>The ranges of a recipe's numbers, and what goes together.</summary>
internal static class RecipeChecks
{
    private const int MostSequence = 1 << 20;
    private const double MostSequences = 1 << 24;

    /// <summary>Throws at the first thing that is wrong.</summary>
    public static void Check(string file, Recipe recipe)
    {
        void Require(bool holds, string path, string expected, object? found)
        {
            if (!holds)
                throw BadFile.Error(file, FormattableString.Invariant($"{path}: expected {expected}, found {found ?? "none"}"));
        }

        void Range(double value, string path, double least, double most) =>
            Require(value >= least && value <= most, path, FormattableString.Invariant($"a number from {least} to {most}"), value);

        void Over(Schedule schedule, string path, double least, double most)
        {
            if (schedule.Problem(least, most) is { } problem)
                throw BadFile.Error(file, $"{path}: {problem}");
        }

        Require(recipe.Name.Length > 0 && !recipe.Name.AsSpan().ContainsAny('/', '\\', '\n'), "name", "a name without slashes", recipe.Name);
        if (recipe.StartFrom is null)
        {
            Require(recipe.Model.Count > 0, "model", "the keys of config.json, there being no start_from", "none");
            Require(recipe.Tokenizer.Path is null != recipe.Tokenizer.TrainVocabSize is null, "tokenizer", "one of path, train_vocab_size", recipe.Tokenizer);
        }
        else
        {
            Require(recipe.Model.Count == 0, "model", "nothing beside start_from", recipe.Model.ToJsonString());
            Require(recipe.Tokenizer == new TokenizerRecipe(), "tokenizer", "nothing beside start_from", recipe.Tokenizer);
        }

        Require(recipe.Tokenizer.TrainVocabSize is null or (>= 280 and <= 1 << 20), "tokenizer.train_vocab_size", "a number from 280 to 1048576", recipe.Tokenizer.TrainVocabSize);
        var data = recipe.Data;
        Require(data.Sources.Count is > 0 and <= 1000, "data.sources", "1 to 1000 sources", data.Sources.Count);
        var chats = data.Sources.Count(s => s.Chats is not null);
        var mixed = chats > 0 && chats < data.Sources.Count;
        Require(mixed ? data.TextShare is > 0 and < 1 : data.TextShare == 0, "data.text_share", mixed ? "a share above 0 and below 1, with chats and text" : "nothing, without both chats and text", data.TextShare);
        for (var i = 0; i < data.Sources.Count; i++)
            Source(data.Sources[i], $"data.sources[{i}]");
        if (data.Validation is { } validation)
        {
            Source(validation, "data.validation");
            Require(validation.Chats is null == (chats == 0), "data.validation", chats == 0 ? "text, as in sources" : "chats, as in sources", chats == 0 ? "chats" : "text");
        }

        Range(data.ValidationTokens, "data.validation_tokens", 1, int.MaxValue);
        Range(data.SequenceLength, "data.sequence_length", 2, MostSequence);
        Range(data.FimRate, "data.fim_rate", 0, 1);
        Range(data.PunctuationSplitRate, "data.punctuation_split_rate", 0, 1);
        Require(recipe.Schedule.Tokens is null != recipe.Schedule.Epochs is null, "schedule", "one of tokens, epochs", recipe.Schedule.Tokens is null ? "none" : "both");
        Range(recipe.Schedule.Tokens ?? 1, "schedule.tokens", 1, 1e18);
        Range(recipe.Schedule.Epochs ?? 1, "schedule.epochs", 1e-6, 1e6);
        Over(recipe.Schedule.LearningRate, "schedule.learning_rate", 0, 10);
        Range(recipe.Schedule.WarmupSteps, "schedule.warmup_steps", 0, int.MaxValue);
        Over(recipe.Schedule.Sequences, "schedule.sequences", 1, MostSequences);
        Over(recipe.Schedule.BiasUpdateSpeed, "schedule.bias_update_speed", 0, 1);
        Over(recipe.Schedule.MtpLambda, "schedule.mtp_lambda", 0, 100);
        Range(recipe.Optimizer.Beta1, "optimizer.beta1", 0, 0.999999);
        Range(recipe.Optimizer.Beta2, "optimizer.beta2", 0, 0.999999);
        Range(recipe.Optimizer.Epsilon, "optimizer.epsilon", 0, 1);
        Range(recipe.Optimizer.WeightDecay, "optimizer.weight_decay", 0, 100);
        Range(recipe.Optimizer.MaxGradientNorm, "optimizer.max_gradient_norm", 1e-9, 1e9);
        Range(recipe.Balance.SequenceAlpha, "balance.sequence_alpha", 0, 100);
        Range(recipe.Balance.BatchAlpha, "balance.batch_alpha", 0, 100);
        Range(recipe.InitializerRange, "initializer_range", 1e-6, 10);
        Range(recipe.Run.MicroSequences, "run.micro_sequences", 1, MostSequences);
        Range(recipe.Run.CheckpointSteps, "run.checkpoint_steps", 1, int.MaxValue);
        Range(recipe.Run.KeepCheckpoints, "run.keep_checkpoints", 1, int.MaxValue);
        Range(recipe.Run.ValidationSteps, "run.validation_steps", 0, int.MaxValue);
        Range(recipe.Run.EvaluationSteps, "run.evaluation_steps", 0, int.MaxValue);
        Require(recipe.Run.EvaluationSteps % recipe.Run.CheckpointSteps == 0, "run.evaluation_steps", FormattableString.Invariant($"a multiple of run.checkpoint_steps, {recipe.Run.CheckpointSteps}: checkpoints are what is evaluated"), recipe.Run.EvaluationSteps);
        Require(recipe.Evaluation is not null || recipe.Run.EvaluationSteps == 0, "evaluation", "tasks and data, there being run.evaluation_steps", null);
        if (recipe.Evaluation is { } evaluation)
        {
            Require(evaluation.Tasks.Count is > 0 and <= 1000, "evaluation.tasks", "1 to 1000 tasks", evaluation.Tasks.Count);
            Require(evaluation.Tasks.Distinct().Count() == evaluation.Tasks.Count, "evaluation.tasks", "each task once", string.Join(", ", evaluation.Tasks));
            Require(evaluation.Data.Length > 0, "evaluation.data", "a folder of benchmarks", "none");
            Range(evaluation.Limit ?? 1, "evaluation.limit", 1, int.MaxValue);
        }

        Range(recipe.Run.ReportSteps, "run.report_steps", 1, int.MaxValue);
        Range(recipe.Run.SampleTokens, "run.sample_tokens", 1, MostSequence);

        void Source(SourceRecipe source, string path)
        {
            var kinds = (source.Shards is null ? 0 : 1) + (source.Files is null ? 0 : 1) + (source.Stories is null ? 0 : 1) + (source.Chats is null ? 0 : 1);
            Require(kinds == 1, path, "one of shards, files, stories, chats", kinds == 0 ? "none" : "several");
            Require(source.Files is not { Count: 0 } && source.Chats is not { Count: 0 }, path, "at least one file", 0);
            Require(source.Stories?.Count is null or (> 0 and <= 10_000_000), $"{path}.stories.count", "1 to 10000000 stories", source.Stories?.Count);
            Require(source.Weight is null or (> 0 and <= 1e12), $"{path}.weight", "a number above 0", source.Weight);
        }
    }
}
