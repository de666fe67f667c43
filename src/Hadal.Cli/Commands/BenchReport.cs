using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Hadal.Checkpoints;
using Hadal.Cli.Terminals;
using Hadal.Inference.Benchmarks;
using Hadal.Numerics.Kernels;
using Spectre.Console;

namespace Hadal.Cli.Commands;

/// <summary>The figures of <c>hadal bench</c> as a person reads them, and read back from JSON.</summary>
internal static class BenchReport
{
    private static readonly JsonSerializerOptions Strict = new(JsonOutput.Snake) { RespectNullableAnnotations = true };

    /// <summary>Reads what <c>hadal bench --json</c> printed.</summary>
    /// <exception cref="InvalidDataException">It is something else.</exception>
    public static BenchmarkResult Read(string file)
    {
        try
        {
            var result = JsonSerializer.Deserialize<BenchmarkResult>(File.ReadAllText(file), Strict) ?? throw new JsonException("nothing in it");
            return result.Rounds.All(static round => round is not null) && result.Contexts.All(static context => context is not null)
                ? result
                : throw new JsonException("a list with null in it");
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{file}: expected what 'hadal bench --json' prints, found something else: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    /// <summary>Prints the figures.</summary>
    public static void Show(Terminal terminal, BenchmarkResult r)
    {
        void Line(string name, FormattableString text) => terminal.Out.WriteLine($"{name,-14} {text.ToString(CultureInfo.InvariantCulture)}");
        Line("model", $"{r.Model}: weights {Display.Bytes(r.WeightsBytes)}{(r.HugePagesBytes > 0 ? " (copied into huge pages)" : r.Repacked ? " (repacked at load)" : "")}, activations {r.Activations}, cache {r.CacheType}, {r.Threads} threads");
        Line("prefill", $"{r.PrefillTokensPerSecond:0.0} tokens/s ({r.Batch} x {r.PromptTokens} tokens)");
        Line("decode", $"{r.DecodeTokensPerSecond:0.00} tokens/s (median step {r.MedianStepSeconds * 1e3:0.0} ms, attention {r.AttentionFraction * 100:0} % of it)");
        Line("weights read", $"{r.WeightBytesPerStep / 1e9:0.000} GB a step, {r.WeightBytesPerToken / 1e9:0.000} GB a token");
        Line("read bandwidth", $"{r.ReadBandwidthGbS:0.0} GB/s ({r.ReadBandwidthBeforeGbS:0.0} before, {r.ReadBandwidthAfterGbS:0.0} after): at most {r.WallTokensPerSecond:0.0} tokens/s");
        Line("roofline", $"{r.RooflineFraction:0.00} of what that bandwidth allows, {r.RooflineFraction * r.ReadBandwidthGbS / r.PlainReadBandwidthGbS:0.00} of what a plain loop reads ({r.PlainReadBandwidthGbS:0.0} GB/s)");
        if (r.Rounds.Count > 0)
        {
            var fractions = r.Rounds.Select(static round => round.RooflineFraction).Order().ToList();
            Line("rounds", $"{fractions[0]:0.00} to {fractions[^1]:0.00} of their own bandwidth, median {fractions[fractions.Count / 2]:0.00}");
            foreach (var round in r.Rounds)
                Line(string.Empty, $"{round.ReadBandwidthBeforeGbS:0.0} and {round.ReadBandwidthAfterGbS:0.0} GB/s: {round.DecodeTokensPerSecond:0.00} tokens/s, {round.RooflineFraction:0.00}");
        }

        Line("garbage", $"{r.GcBytesPerToken:0} managed bytes a step");
        Line("memory", $"{Display.Bytes(r.PeakRssBytes)} at most; weights and cache {Display.Bytes(r.WeightsBytes + r.CacheBytes)}");
        if (r.HugePagesWanted > 0 && r.HugePagesBytes == 0)
            Line("huge pages", $"none used; where 'sysctl vm.nr_overcommit_hugepages={r.HugePagesWanted}' allows so many, weights are copied into them, but for --no-repack, and may be read faster (docs/PERFORMANCE.md)");
        if (r.FirstTokenSeconds is { } first)
            Line("first token", $"{first:0.00} s after the start of the process, of a prompt of 32 tokens");
        foreach (var c in r.Contexts)
        {
            Line(
                $"at {c.Context}",
                $"attention {c.DecodeAttentionSeconds * 1e3:0.0} of {c.DecodeStepSeconds * 1e3:0.0} ms a token: cache read at {c.CacheReadGbS:0.0} GB/s, {c.CacheReadFraction:0.00} of the bandwidth; {c.DecodeGflops:0} GFLOP/s, {c.DecodeGflops / c.PeakGflops:0.00} of the float32 peak");
            Line(
                string.Empty,
                $"prefill of {c.PrefillTokens} tokens: attention {c.PrefillAttentionSeconds:0.00} of {c.PrefillSeconds:0.00} s; {c.PrefillGflops:0} GFLOP/s, {c.PrefillGflops / c.PeakGflops:0.00} of the float32 peak");
        }

        if (r.Speculation is { } s)
        {
            Line(
                "speculation",
                $"{s.DraftTokens} drafts a step from {s.Source}: {(s.AcceptanceRate ?? 0) * 100:0.0} % accepted, {s.AcceptedLength:0.00} tokens a pass, {s.TokensPerSecond:0.00} against {s.PlainTokensPerSecond:0.00} tokens/s: gain {s.Gain:0.00}; {(s.SameTokens ? "the same tokens" : "OTHER TOKENS")}");
        }
    }

    /// <summary>Prints what fits.</summary>
    public static void Advise(Terminal terminal, IReadOnlyList<MemoryAdvice> advice, bool json)
    {
        if (json)
        {
            terminal.Out.WriteLine(new JsonArray([.. advice.Select(a => (JsonNode)new JsonObject
            {
                ["format"] = a.Format,
                ["weights_bytes"] = a.WeightBytes,
                ["context_tokens"] = new JsonObject(a.Contexts.Select(c => KeyValuePair.Create(c.Key.ToString().ToLowerInvariant(), (JsonNode?)c.Value))),
            })]).ToJsonString(JsonOutput.Indented));
            return;
        }

        var table = new Table().Border(TableBorder.Rounded).AddColumn("format").AddColumn(new TableColumn("weights").RightAligned());
        foreach (var cache in Enum.GetValues<CacheFormat>())
            table.AddColumn(new TableColumn($"context, cache {cache.ToString().ToLowerInvariant()}").RightAligned());
        foreach (var a in advice)
        {
            table.AddRow([a.Format, Display.Bytes(a.WeightBytes), .. Enum.GetValues<CacheFormat>().Select(
                cache => a.Contexts[cache] == 0 ? "does not fit" : a.Contexts[cache].ToString(CultureInfo.InvariantCulture))]);
        }

        terminal.Rich.Write(table);
        terminal.Out.WriteLine("The longest context, in tokens, that fits this machine's available memory beside the weights.");
    }
}
