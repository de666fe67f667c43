using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Files;
using Hadal.Checkpoints.Synthetic;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Training.Recipes;

/// <summary>
/// Reads recipes: JSON with comments, a difference to another recipe where it names one under <c>base</c>, then what the command line sets. Strict: a key
/// that means nothing is an error, with its path and the keys that are allowed there. Paths in a recipe are relative to the working folder.
/// </summary>
public static class RecipeReader
{
    private const string Base = "base";
    private const string Shape = "shape";
    private const int LargestFile = 1 << 20;
    private const int MostBases = 8;

    private static readonly string[] ModelKeys =
    [
        Shape, "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "q_lora_rank",
        "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "n_routed_experts", "n_shared_experts", "num_experts_per_tok", "moe_intermediate_size",
        "first_k_dense_replace", "moe_layer_freq", "n_group", "topk_group", "routed_scaling_factor", "scoring_func", "topk_method", "norm_topk_prob", "num_nextn_predict_layers",
        "rms_norm_eps", "rope_theta", "rope_scaling", "max_position_embeddings", "tie_word_embeddings",
    ];

    private static readonly JsonDocumentOptions Commented = new() { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true, AllowDuplicateProperties = false };

    /// <summary>Reads a recipe.</summary>
    /// <param name="path">The file.</param>
    /// <param name="settings">Changes such as <c>schedule.tokens=1e6</c>: a key's path, and its value as JSON or, where that is none, as text.</param>
    /// <exception cref="IOException">A file is not there.</exception>
    /// <exception cref="InvalidDataException">Something is wrong; file, path, expected and found are named.</exception>
    public static Recipe Read(string path, IEnumerable<string>? settings = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        var node = Load(path, 0);
        foreach (var setting in settings ?? [])
            Set(node, setting);
        return Bind(path, node);
    }

    /// <summary>The recipe that a text holds; for a run that keeps its own.</summary>
    public static Recipe Parse(string text, string file) => Bind(file, ParseObject(file, Encoding.UTF8.GetBytes(text)));

    /// <summary>A recipe as one object with nothing left to look up: what <see cref="Parse"/> reads again.</summary>
    public static string Resolve(string path, IEnumerable<string>? settings = null)
    {
        var node = Load(path, 0);
        foreach (var setting in settings ?? [])
            Set(node, setting);
        return node.ToJsonString(new JsonSerializerOptions { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
    }

    /// <summary>What the model of a recipe is.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="tokenizer">Gives the size of the vocabulary, where the recipe does not, and the ids that begin and end a text; null leaves all as it is.</param>
    /// <exception cref="InvalidDataException">The model's keys are wrong, or its vocabulary is smaller than the tokenizer's.</exception>
    public static ModelConfig ModelOf(Recipe recipe, Tokenizer? tokenizer)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        var file = $"recipe {recipe.Name}: model";
        var keys = (JsonObject)recipe.Model.DeepClone();
        ModelConfig config;
        if (keys[Shape] is { } shape)
        {
            if (keys.Count > 1)
                throw BadFile.Error(file, $"expected {Shape} alone, or the keys of config.json without it");
            try
            {
                config = PublishedShapes.Find(shape.GetValueKind() == JsonValueKind.String ? shape.GetValue<string>() : shape.ToJsonString());
            }
            catch (ArgumentException e)
            {
                throw BadFile.Error(file, e.Message);
            }
        }
        else
        {
            keys["vocab_size"] ??= tokenizer?.VocabSize ?? throw BadFile.Error(file, "vocab_size: expected this key where there is no tokenizer to tell, found none");
            config = ConfigReader.Parse(Encoding.UTF8.GetBytes(keys.ToJsonString()), file);
        }

        if (tokenizer is null)
            return config;
        if (config.VocabSize < tokenizer.VocabSize)
            throw BadFile.Error(file, $"vocab_size: expected at least the tokenizer's {tokenizer.VocabSize}, found {config.VocabSize}");
        return config with { BosTokenId = tokenizer.BosId, EosTokenIds = tokenizer.EosId is { } eos ? [eos] : [] };
    }

    private static Recipe Bind(string file, JsonObject node)
    {
        var recipe = RecipeJson.Bind<Recipe>(file, node);
        foreach (var (key, _) in recipe.Model)
        {
            if (!ModelKeys.Contains(key))
                throw BadFile.Error(file, $"model.{BadFile.Quote(key)}: there is no such key; allowed here: {string.Join(", ", ModelKeys.Order(StringComparer.Ordinal))}");
        }

        RecipeChecks.Check(file, recipe);
        return recipe;
    }

    private static JsonObject Load(string path, int depth)
    {
        if (depth > MostBases)
            throw BadFile.Error(path, $"{Base}: expected at most {MostBases} recipes one over the other");
        var node = ParseObject(path, JsonFile.ReadBytes(path, LargestFile));
        if (node[Base] is not { } named)
            return node;
        if (named.GetValueKind() != JsonValueKind.String)
            throw BadFile.Error(path, $"{Base}: expected the name of a recipe beside this one, found {BadFile.Quote(named.ToJsonString())}");
        node.Remove(Base);
        var below = Load(Path.Combine(Path.GetDirectoryName(path) ?? string.Empty, named.GetValue<string>()), depth + 1);
        RecipeJson.Merge(below, node);
        return below;
    }

    private static JsonObject ParseObject(string file, byte[] bytes)
    {
        try
        {
            return JsonNode.Parse(bytes, documentOptions: Commented) as JsonObject ?? throw BadFile.Error(file, "expected a JSON object");
        }
        catch (JsonException e)
        {
            throw JsonFile.NotJson(file, e);
        }
    }

    private static void Set(JsonObject root, string setting)
    {
        var equals = setting.IndexOf('=');
        if (equals <= 0)
            throw new InvalidDataException($"setting {BadFile.Quote(setting)}: expected key.key=value");
        var keys = setting[..equals].Split('.');
        JsonNode? value;
        try
        {
            value = JsonNode.Parse(setting[(equals + 1)..], documentOptions: Commented);
        }
        catch (JsonException)
        {
            value = JsonValue.Create(setting[(equals + 1)..]);
        }

        JsonNode at = root;
        for (var i = 0; i < keys.Length; i++)
        {
            var last = i + 1 == keys.Length;
            if (at is JsonArray array)
            {
                if (!int.TryParse(keys[i], out var index) || index < 0 || index >= array.Count)
                    throw new InvalidDataException($"setting {BadFile.Quote(setting)}: expected an index below {array.Count} at {keys[i]}");
                if (last)
                    array[index] = value;
                else
                    at = array[index]!;
                continue;
            }

            if (at is not JsonObject map)
                throw new InvalidDataException($"setting {BadFile.Quote(setting)}: {string.Join('.', keys.Take(i))} has no keys below it");
            if (last)
                map[keys[i]] = value;
            else
                at = map[keys[i]] ??= new JsonObject();
        }
    }
}
