using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Cli.Terminals;
using Hadal.Inference.Cache;
using Spectre.Console;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal inspect</c>: what a model is, read from its headers alone.</summary>
internal static class InspectCommand
{
    private const int DefaultCacheTokens = 4096;

    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "inspect",
            "Show what a model is: architecture, parameters, tensors, types, and the memory it takes.",
            "hadal inspect path/to/model",
            "hadal inspect path/to/model.gguf --context 32768",
            "hadal inspect path/to/model --json");
        var model = new ModelOptions(command, ModelPlace.Argument);
        var context = TypedOptions.Integer("--context", "Tokens to size the cache for. [default: the model's context, at most 4096]", 1);
        var tensors = TypedOptions.Flag("--tensors", "List every tensor.");
        var json = TypedOptions.Flag("--json", "Print one JSON object.");
        command.Add(context);
        command.Add(tensors);
        command.Add(json);
        command.SetAction(result =>
        {
            using var checkpoint = Checkpoint.Open(model.Path(result, terminal));
            var tokens = result.GetValue(context) ?? Math.Min(DefaultCacheTokens, checkpoint.Config.MaxPositionEmbeddings);
            var report = Report(checkpoint, tokens, withTensors: result.GetValue(tensors));
            if (result.GetValue(json))
                terminal.Out.WriteLine(report.ToJsonString(JsonOutput.Indented));
            else
                Show(terminal, checkpoint, report);
            return ExitCode.Success;
        });
        return command;
    }

    private static JsonObject Report(Checkpoint checkpoint, int cacheTokens, bool withTensors)
    {
        var config = checkpoint.Config;
        var parameters = ParameterCount.Of(checkpoint);
        var report = new JsonObject
        {
            ["path"] = checkpoint.Path,
            ["architecture"] = config.Architecture.ToString(),
            ["parameters"] = new JsonObject { ["total"] = parameters.Total, ["activated"] = parameters.Activated, ["mtp"] = parameters.Mtp },
            ["memory"] = new JsonObject
            {
                ["weights_bytes"] = checkpoint.Tensors.Sum(t => t.ByteLength),
                ["cache_bytes_per_token"] = CacheBytes(config, 1),
                ["cache_tokens"] = cacheTokens,
                ["cache_bytes"] = CacheBytes(config, cacheTokens),
            },
            ["tensor_count"] = checkpoint.Tensors.Count,
            ["types"] = new JsonArray([.. ByType(checkpoint).Select(t => (JsonNode)new JsonObject
            {
                ["type"] = t.Type, ["tensors"] = t.Tensors, ["parameters"] = t.Parameters, ["bytes"] = t.Bytes,
            })]),
            ["assumptions"] = new JsonArray([.. config.Assumptions.Select(a => (JsonNode)a)]),
            ["config"] = JsonSerializer.SerializeToNode(config, JsonOutput.Snake),
        };
        if (withTensors)
        {
            report["tensors"] = new JsonArray([.. checkpoint.Tensors.Select(t => (JsonNode)new JsonObject
            {
                ["name"] = t.Name, ["type"] = t.Format.ToString(), ["shape"] = new JsonArray([.. t.Shape.Select(d => (JsonNode)d)]), ["bytes"] = t.ByteLength,
            })]);
        }

        return report;
    }

    private static void Show(Terminal terminal, Checkpoint checkpoint, JsonObject report)
    {
        var config = checkpoint.Config;
        var parameters = ParameterCount.Of(checkpoint);
        void Fact(string name, string value) => terminal.Out.WriteLine($"{name,-13} {value}");
        Fact("model", checkpoint.Path);
        Fact("architecture", Architecture(config));
        Fact("layers", Layers(config));
        Fact("attention", Attention(config));
        if (config.NRoutedExperts > 0)
            Fact("experts", Experts(config));
        Fact("vocabulary", $"{config.VocabSize} tokens");
        Fact("context", $"{config.MaxPositionEmbeddings} tokens{(config.RopeScaling is { } yarn ? $" (YaRN x{yarn.Factor} over {yarn.OriginalMaxPositionEmbeddings})" : string.Empty)}");
        Fact("parameters", $"{Display.Count(parameters.Total)}, activated {Display.Count(parameters.Activated)}{(parameters.Mtp > 0 ? $"; MTP {Display.Count(parameters.Mtp)} besides" : string.Empty)}");
        Fact("weights", $"{Display.Bytes((long)report["memory"]!["weights_bytes"]!)} in {checkpoint.Tensors.Count} tensors");
        Fact("cache", $"{Display.Bytes((long)report["memory"]!["cache_bytes"]!)} for {report["memory"]!["cache_tokens"]} tokens, {Display.Bytes((long)report["memory"]!["cache_bytes_per_token"]!)} each");

        var types = new Table().Border(TableBorder.Rounded).AddColumn("type");
        foreach (var heading in new[] { "tensors", "parameters", "memory" })
            types.AddColumn(new TableColumn(heading).RightAligned());
        foreach (var (type, tensors, count, bytes) in ByType(checkpoint))
            types.AddRow(type, tensors.ToString(CultureInfo.InvariantCulture), Display.Count(count), Display.Bytes(bytes));
        terminal.Rich.Write(types);

        foreach (var assumption in config.Assumptions)
            terminal.Rich.WriteLine($"assumed: {assumption}");
        if (report["tensors"] is JsonArray list)
        {
            foreach (var tensor in list)
                terminal.Out.WriteLine($"{tensor!["name"]}  {tensor["type"]}  {tensor["shape"]!.ToJsonString()}");
        }
    }

    private static string Architecture(ModelConfig config) => config.Architecture switch
    {
        Checkpoints.Config.Architecture.Llama => "DeepSeek LLM (LlamaForCausalLM), dense",
        Checkpoints.Config.Architecture.DeepseekV2 => "DeepSeek-V2 (DeepseekV2ForCausalLM)",
        _ => "DeepSeek-V3 (DeepseekV3ForCausalLM)",
    };

    private static string Layers(ModelConfig config)
    {
        var moe = Enumerable.Range(0, config.NumHiddenLayers).Count(config.IsMoeLayer);
        var kinds = moe == 0 ? "all dense" : $"{config.NumHiddenLayers - moe} dense, {moe} mixture of experts";
        return $"{config.NumHiddenLayers} ({kinds}), width {config.HiddenSize}{(config.NumNextnPredictLayers > 0 ? $"; {config.NumNextnPredictLayers} MTP" : string.Empty)}";
    }

    private static string Attention(ModelConfig config) => config.IsLatentAttention
        ? $"latent (MLA), {config.NumAttentionHeads} heads of {config.QkNopeHeadDim} + {config.QkRopeHeadDim}, values {config.VHeadDim}, latent {config.KvLoraRank}, {(config.QLoraRank is { } rank ? $"query rank {rank}" : "plain queries")}"
        : $"grouped-query, {config.NumAttentionHeads} query and {config.NumKeyValueHeads} key/value heads of {config.HeadDim}";

    private static string Experts(ModelConfig config)
    {
        var groups = config.NGroup > 1 ? $", {config.TopkGroup} of {config.NGroup} groups" : string.Empty;
        return $"{config.NumExpertsPerTok} of {config.NRoutedExperts}{groups}, {config.NSharedExperts} shared, width {config.MoeIntermediateSize}, {config.ScoringFunc.ToString().ToLowerInvariant()} scores x{config.RoutedScalingFactor}";
    }

    private static IEnumerable<(string Type, int Tensors, long Parameters, long Bytes)> ByType(Checkpoint checkpoint) =>
        from tensor in checkpoint.Tensors
        group tensor by tensor.Format into type
        orderby type.Key
        select (type.Key.ToString(), type.Count(), type.Sum(t => t.Shape.Aggregate(1L, (a, b) => a * b)), type.Sum(t => t.ByteLength));

    private static long CacheBytes(ModelConfig config, int tokens) =>
        checked(MemoryPlan.CacheBytesOfToken(config) * tokens);
}
