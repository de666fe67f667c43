using System.Text.Json.Nodes;
using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Tokenization;
using Hadal.Training.Model;
using Hadal.Training.Precision;
using Hadal.Training.Recipes;

namespace Hadal.Training.Tests.Recipes;

public sealed class RecipeTests
{
    internal const string Small = """
        {
          "name": "small",
          "model": { "model_type": "deepseek_v3", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "kv_lora_rank": 16, "q_lora_rank": null,
            "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
            "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "num_nextn_predict_layers": 1 },
          "tokenizer": { "path": "t" },
          "data": { "sources": [{ "shards": "s" }], "sequence_length": 32 },
          "schedule": { "tokens": 1000, "learning_rate": 1e-3, "sequences": 2 }
        }
        """;

    private static readonly string Folder = Path.Combine(Root(), "recipes");

    public static TheoryData<string> Files => [.. Directory.GetFiles(Folder, "*.jsonc").Select(f => Path.GetFileName(f)!)];

    [Theory]
    [MemberData(nameof(Files))]
    public void Every_recipe_of_the_repository_loads_and_is_called_like_its_file(string file)
    {
        var recipe = RecipeReader.Read(Path.Combine(Folder, file));
        Assert.Equal(Path.GetFileNameWithoutExtension(file), recipe.Name);
        if (recipe.StartFrom is { } start)
            Assert.Contains(start, Directory.GetFiles(Folder, "*.jsonc").Select(f => $"runs/{Path.GetFileNameWithoutExtension(f)}/model"));
        else
            Assert.True(RecipeReader.ModelOf(recipe, recipe.Model.ContainsKey("shape") ? null : Tokenizer.CreateByteLevel()).HiddenSize > 0);
        Assert.Equal(RecipeReader.Resolve(Path.Combine(Folder, file)), RecipeReader.Resolve(Path.Combine(Folder, file)));
        Assert.Equal(recipe.Schedule.Tokens, RecipeReader.Parse(RecipeReader.Resolve(Path.Combine(Folder, file)), file).Schedule.Tokens);
    }

    [Fact]
    public void DeepSeek_V3_is_the_published_one()
    {
        var recipe = RecipeReader.Read(Path.Combine(Folder, "deepseek-v3.jsonc"));
        var (schedule, total) = (recipe.Schedule, recipe.Schedule.Tokens!.Value);
        Assert.Equal(14_800_000_000_000, total);
        Assert.Equal(2.2e-4, schedule.LearningRate.At(9.99e12, total));
        Assert.Equal((2.2e-4 + 2.2e-5) / 2, schedule.LearningRate.At(12.15e12, total), 1e-12);
        Assert.Equal(2.2e-5, schedule.LearningRate.At(14.31e12, total));
        Assert.Equal(7.3e-6, schedule.LearningRate.At(14.7e12, total));
        Assert.Equal([3072, 9216, 15360], new[] { 0, 234.5e9, 500e9 }.Select(t => schedule.Sequences.At(t, total)));
        Assert.Equal([0.001, 0.001, 0], new[] { 0, 14.29e12, 14.31e12 }.Select(t => schedule.BiasUpdateSpeed.At(t, total)));
        Assert.Equal([0.3, 0.1], new[] { 9.9e12, 10.1e12 }.Select(t => schedule.MtpLambda.At(t, total)));
        Assert.Equal((0.1, 1e-4, 0.006, 2000), (recipe.Data.FimRate, recipe.Balance.SequenceAlpha, recipe.InitializerRange, schedule.WarmupSteps));
        Assert.Equal((256, 8, 61), (RecipeReader.ModelOf(recipe, null).NRoutedExperts, RecipeReader.ModelOf(recipe, null).NumExpertsPerTok, RecipeReader.ModelOf(recipe, null).NumHiddenLayers));
    }

    [Theory]
    [InlineData("deepseek-v2", 2.4e-4, 0.59, 0.61, 0.91)]
    [InlineData("deepseek-v2-lite", 4.2e-4, 0.79, 0.81, 0.91)]
    public void V2_falls_by_the_root_of_a_tenth_twice(string name, double peak, double before, double after, double last)
    {
        var recipe = RecipeReader.Read(Path.Combine(Folder, $"{name}.jsonc"));
        double At(double share) => recipe.Schedule.LearningRate.At(share * recipe.Schedule.Tokens!.Value, recipe.Schedule.Tokens!.Value);
        Assert.Equal(peak, At(before));
        Assert.Equal(peak * 0.316, At(after), 1e-12);
        Assert.Equal(peak * 0.316 * 0.316, At(last), 1e-12);
        Assert.Equal(BalanceCounts.Selected, recipe.Balance.Counts);
        Assert.Equal(0, recipe.Schedule.BiasUpdateSpeed.At(0, 1));
    }

    [Theory]
    [InlineData("deepseek-llm-7b", 4.2e-4, 2304)]
    [InlineData("deepseek-llm-67b", 3.2e-4, 4608)]
    public void LLM_falls_to_a_third_and_a_tenth(string name, double peak, int sequences)
    {
        var recipe = RecipeReader.Read(Path.Combine(Folder, $"{name}.jsonc"));
        double At(double share) => recipe.Schedule.LearningRate.At(share * 2e12, 2e12) / peak;
        Assert.Equal([1, 0.316, 0.1], new[] { 0.79, 0.81, 0.91 }.Select(s => Math.Round(At(s), 9)));
        Assert.Equal(sequences, recipe.Schedule.Sequences.At(0, 2e12));
        Assert.Equal(Architecture.Llama, RecipeReader.ModelOf(recipe, null).Architecture);
    }

    [Fact]
    public void Defaults_are_DeepSeeks()
    {
        var recipe = RecipeReader.Parse(Small, "r");
        Assert.Equal((0.9, 0.95, 0.1, 1.0, 1e-8), (recipe.Optimizer.Beta1, recipe.Optimizer.Beta2, recipe.Optimizer.WeightDecay, recipe.Optimizer.MaxGradientNorm, recipe.Optimizer.Epsilon));
        Assert.Equal(TrainingPrecision.Bf16, recipe.Precision);
        Assert.False(recipe.Data.MaskDocuments);
        Assert.Equal(0.001, recipe.Schedule.BiasUpdateSpeed.At(0, 1000));
        var tokenizer = Tokenizer.CreateByteLevel();
        var model = RecipeReader.ModelOf(recipe, tokenizer);
        Assert.Equal((tokenizer.VocabSize, 0, 1), (model.VocabSize, model.BosTokenId, model.EosTokenIds[0]));
    }

    [Fact]
    public void A_recipe_is_a_difference_to_its_base_and_settings_come_last()
    {
        using var folder = new TempFolder();
        folder.Write("base.jsonc", Small);
        var path = folder.Write("new.jsonc", """
            {
              "base": "base.jsonc", // and a comment
              "name": "new",
              "model": { "hidden_size": 96 },
              "data": { "sources": [{ "files": ["a.txt"] }, { "stories": { "count": 5 }, "weight": 2 }], },
              /* another */ "recompute": ["norms"],
            }
            """);
        var recipe = RecipeReader.Read(path, ["schedule.tokens=1e6", "tokenizer.path=some/where", "optimizer.beta2=0.99", "data.sources.1.weight=3", "run.sample_prompt=Once upon"]);
        Assert.Equal(("new", 1_000_000L, "some/where", 0.99), (recipe.Name, recipe.Schedule.Tokens, recipe.Tokenizer.Path, recipe.Optimizer.Beta2));
        Assert.Equal((96, 2), ((int)recipe.Model["hidden_size"]!, (int)recipe.Model["num_hidden_layers"]!));
        Assert.Equal([null, 3.0], recipe.Data.Sources.Select(s => s.Weight));
        Assert.Equal([Recompute.Norms], recipe.Recompute);
        Assert.Equal("Once upon", recipe.Run.SamplePrompt);
        var resolved = RecipeReader.Parse(RecipeReader.Resolve(path, ["schedule.tokens=1e6"]), "resolved");
        Assert.Equal((1_000_000L, 96), (resolved.Schedule.Tokens, (int)resolved.Model["hidden_size"]!));
    }

    [Theory]
    [InlineData("optimiser", "{}", "optimiser: there is no such key; allowed here: balance, data, evaluation, initializer_range, model, name, optimizer, precision, recompute, run, schedule, seed, start_from, tokenizer")]
    [InlineData("data.sequence_lenght", "5", "data.sequence_lenght: there is no such key; allowed here: fim_rate, mask_documents, punctuation_split_rate, sequence_length, sources")]
    [InlineData("data.sources", "[{\"shard\": \"x\"}]", "data.sources[0].shard: there is no such key; allowed here: chats, field, files, shards, stories, weight")]
    [InlineData("model.hiden_size", "5", "model.hiden_size: there is no such key; allowed here: first_k_dense_replace")]
    [InlineData("schedule.learning_rate", "{\"stages\": [{\"valu\": 1}]}", "schedule.learning_rate.stages[0].valu: there is no such key; allowed here: cosine_to, linear_to, share, tokens, value")]
    [InlineData("schedule.learning_rate", "\"fast\"", "schedule.learning_rate: expected a number or {\"stages\": [...]}, found \"fast\"")]
    [InlineData("schedule.tokens", "1.5", "schedule.tokens: expected a whole number up to 9223372036854775807, found 1.5")]
    [InlineData("data.sequence_length", "\"12\"", "data.sequence_length: expected a whole number up to 2147483647, found \"12\"")]
    [InlineData("data.mask_documents", "1", "data.mask_documents: expected true or false, found 1")]
    [InlineData("precision", "\"fp4\"", "precision: expected one of fp32, bf16, found \"fp4\"")]
    [InlineData("recompute", "[\"all\"]", "recompute[0]: expected one of none, norms, up_projections, found \"all\"")]
    [InlineData("data", "[]", "data: expected an object, found []")]
    [InlineData("data.fim_rate", "2", "data.fim_rate: expected a number from 0 to 1, found 2")]
    [InlineData("data.sources", "[{\"shards\": \"x\", \"files\": [\"y\"]}]", "data.sources[0]: expected one of shards, files, stories, chats, found several")]
    [InlineData("data.sources", "[]", "data.sources: expected 1 to 1000 sources, found 0")]
    [InlineData("tokenizer", "{}", "tokenizer: expected one of path, train_vocab_size")]
    [InlineData("start_from", "\"m\"", "model: expected nothing beside start_from")]
    [InlineData("model", "{}", "model: expected the keys of config.json")]
    [InlineData("schedule.epochs", "1", "schedule: expected one of tokens, epochs, found both")]
    [InlineData("data.sources", "[{\"shards\": \"x\"}, {\"chats\": [\"y\"]}]", "data.text_share: expected a share above 0 and below 1, with chats and text, found 0")]
    [InlineData("data.text_share", "0.5", "data.text_share: expected nothing, without both chats and text, found 0.5")]
    [InlineData("evaluation", "{\"tasks\": [\"bpb\"]}", "evaluation.data: expected this key, found none")]
    [InlineData("evaluation", "{\"tasks\": [], \"data\": \"d\"}", "evaluation.tasks: expected 1 to 1000 tasks, found 0")]
    [InlineData("evaluation", "{\"tasks\": [\"a\", \"a\"], \"data\": \"d\"}", "evaluation.tasks: expected each task once, found a, a")]
    [InlineData("evaluation", "{\"tasks\": [\"a\"], \"data\": \"d\", \"limit\": 0}", "evaluation.limit: expected a number from 1 to 2147483647, found 0")]
    [InlineData("evaluation", "{\"tasks\": [\"a\"], \"data\": \"d\", \"shots\": 0}", "evaluation.shots: there is no such key; allowed here: data, limit, tasks")]
    [InlineData("run", "{\"evaluation_steps\": 200}", "evaluation: expected tasks and data, there being run.evaluation_steps, found none")]
    [InlineData("run", "{\"evaluation_steps\": 300}", "run.evaluation_steps: expected a multiple of run.checkpoint_steps, 200: checkpoints are what is evaluated, found 300")]
    [InlineData("name", "\"a/b\"", "name: expected a name without slashes, found a/b")]
    [InlineData("schedule.sequences", "null", "schedule.sequences: expected this key, found none")]
    public void What_is_wrong_is_named_with_its_path(string key, string value, string message)
    {
        var error = Assert.Throws<InvalidDataException>(() => RecipeReader.Parse(With(key, value), "r.jsonc")).Message;
        Assert.StartsWith($"r.jsonc: {message}", error);
        Assert.DoesNotContain('\n', error);
    }

    [Fact]
    public void A_model_that_is_none_is_named()
    {
        var tokenizer = Tokenizer.CreateByteLevel();
        string Fails(string key, string value) => Assert.Throws<InvalidDataException>(() => RecipeReader.ModelOf(RecipeReader.Parse(With(key, value), "r"), tokenizer)).Message;
        Assert.Contains("vocab_size: expected at least the tokenizer's 274, found 100", Fails("model.vocab_size", "100"));
        Assert.Contains("\"num_experts_per_tok\"".Trim('"'), Fails("model.num_experts_per_tok", "9"));
        Assert.Contains("no shape is called deepseek-v9", Fails("model", "{\"shape\": \"deepseek-v9\"}"));
        Assert.Contains("expected shape alone", Fails("model.shape", "\"deepseek-v3\""));
    }

    [Theory]
    [InlineData("nonsense", "expected key.key=value")]
    [InlineData("data.sources.9=1", "expected an index below 1 at 9")]
    [InlineData("name.more=1", "name has no keys below it")]
    public void A_senseless_setting_is_refused(string setting, string message)
    {
        using var folder = new TempFolder();
        Assert.Contains(message, Assert.Throws<InvalidDataException>(() => RecipeReader.Read(folder.Write("r.jsonc", Small), [setting])).Message);
    }

    [Fact]
    public void Broken_JSON_and_endless_bases_are_refused()
    {
        using var folder = new TempFolder();
        Assert.Contains("r.jsonc: expected JSON", Assert.Throws<InvalidDataException>(() => RecipeReader.Read(folder.Write("r.jsonc", "{"))).Message);
        Assert.Contains("at most 8", Assert.Throws<InvalidDataException>(() => RecipeReader.Read(folder.Write("loop.jsonc", "{\"base\": \"loop.jsonc\"}"))).Message);
    }

    internal static string With(string key, string value)
    {
        var root = JsonNode.Parse(Small)!;
        var keys = key.Split('.');
        var at = keys[..^1].Aggregate(root, (node, k) => node[k]!);
        at[keys[^1]] = JsonNode.Parse(value);
        return root.ToJsonString();
    }

    private static string Root()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Hadal.slnx")))
                return folder.FullName;
        }

        throw new InvalidOperationException("the tests run from a build inside the repository");
    }
}
