using System.Text.Json.Nodes;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;

namespace Hadal.Cli.Tests.Commands;

public sealed class BenchTests
{
    private static readonly string[] Small = ["bench", "--shape", "coder-1.3b:1", "--prompt", "4", "--generate", "2"];

    [Fact]
    public async Task FiguresComeAsJsonAndAreDrawnFromIt()
    {
        var folder = Directory.CreateTempSubdirectory("hadal-bench-").FullName;
        try
        {
            var run = (await CommandLineRun.Hadal([.. Small, "--context", "64", "--cache-type", "q8", "--draft", "2", "--json", "--plot", Path.Combine(folder, "roof.png")])).AssertSucceeded();
            var json = JsonNode.Parse(run.Out)!;
            foreach (var field in new[]
            {
                "prefill_tokens_per_second", "decode_tokens_per_second", "weight_bytes_per_token", "weight_bytes_per_step", "read_bandwidth_gb_s", "plain_read_bandwidth_gb_s", "roofline_fraction", "gc_bytes_per_token",
                "peak_rss_bytes", "weights_bytes", "cache_bytes",
            })
            {
                Assert.True((double)json[field]! >= 0, field);
            }

            Assert.Equal("q8", (string)json["cache_type"]!);
            Assert.Equal(64, (int)json["contexts"]![0]!["context"]!);
            Assert.True((bool)json["speculation"]!["same_tokens"]!);
            Assert.Equal([0x89, (byte)'P', (byte)'N', (byte)'G'], File.ReadAllBytes(Path.Combine(folder, "roof.png"))[..4]);

            var saved = Path.Combine(folder, "figures.json");
            await File.WriteAllTextAsync(saved, run.Out, TestContext.Current.CancellationToken);
            var again = (await CommandLineRun.Hadal("bench", "--from", saved, "--plot", Path.Combine(folder, "roof.svg"))).AssertSucceeded();
            Assert.Contains("coder-1.3b:1, random weights (q4_k_m)", again.Out);
            Assert.Contains("at 64", again.Out);
            Assert.Contains("</svg>", await File.ReadAllTextAsync(Path.Combine(folder, "roof.svg"), TestContext.Current.CancellationToken));
            await File.WriteAllTextAsync(saved, "{}", TestContext.Current.CancellationToken);
            Assert.Contains("figures.json", (await CommandLineRun.Hadal("bench", "--from", saved)).AssertFailed(ExitCode.Failed));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    // One of the two lines, by what the processor can do; HADAL_KERNEL=avx2 shows the other.
    [Fact]
    public async Task WhatBfloat16WouldBringOrCannotIsSaid()
    {
        string[] small = ["bench", "--shape", "coder-1.3b:1", "--format", "bf16", "--prompt", "4", "--generate", "2"];
        var runs = BfloatMatMul.Has(WeightFormat.BF16);
        Assert.Equal(runs, (await CommandLineRun.Hadal(small)).AssertSucceeded().Error.Contains("with --activations bf16 this processor is faster"));
        var rounded = (await CommandLineRun.Hadal([.. small, "--activations", "bf16"])).AssertSucceeded();
        Assert.Equal(!runs, rounded.Error.Contains("no bfloat16 products with BF16 and FP8 weights"));
        Assert.Contains("activations bf16", rounded.Out);
    }

    [Fact]
    public async Task RoundsAreListedAndDrawn()
    {
        var folder = Directory.CreateTempSubdirectory("hadal-bench-").FullName;
        try
        {
            var run = (await CommandLineRun.Hadal([.. Small, "--rounds", "3", "--json"])).AssertSucceeded();
            var rounds = JsonNode.Parse(run.Out)!["rounds"]!.AsArray();
            Assert.Equal(3, rounds.Count);
            Assert.All(rounds, round => Assert.True((double)round!["decode_tokens_per_second"]! > 0 && (double)round["read_bandwidth_before_gb_s"]! > 0 && (double)round["roofline_fraction"]! > 0));

            var (saved, picture) = (Path.Combine(folder, "figures.json"), Path.Combine(folder, "rounds.svg"));
            await File.WriteAllTextAsync(saved, run.Out, TestContext.Current.CancellationToken);
            var again = (await CommandLineRun.Hadal("bench", "--from", saved, "--plot", picture)).AssertSucceeded();
            Assert.Contains("of their own bandwidth, median", again.Out);
            Assert.Contains("rounds of 2 tokens", await File.ReadAllTextAsync(picture, TestContext.Current.CancellationToken));
            foreach (var list in (string[])["rounds", "contexts"])
            {
                foreach (var wrong in (string[])["null", "[null]"])
                {
                    var figures = JsonNode.Parse(run.Out)!;
                    figures[list] = JsonNode.Parse(wrong);
                    await File.WriteAllTextAsync(saved, figures.ToJsonString(), TestContext.Current.CancellationToken);
                    Assert.Contains("expected what 'hadal bench --json' prints", (await CommandLineRun.Hadal("bench", "--from", saved)).AssertFailed(ExitCode.Failed));
                }
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public async Task ASavedModelIsMeasuredLikeAnyOther()
    {
        var path = Path.Combine(Path.GetTempPath(), $"hadal-bench-{Guid.NewGuid():N}.gguf");
        try
        {
            (await CommandLineRun.Hadal([.. Small, "--save", path])).AssertSucceeded();
            var run = (await CommandLineRun.Hadal("bench", "--model", path, "--prompt", "4", "--generate", "2", "--batch", "2", "--json")).AssertSucceeded();
            var json = JsonNode.Parse(run.Out)!;
            Assert.True((double)json["first_token_seconds"]! > 0);
            Assert.Equal(2, (int)json["batch"]!);
            Assert.Contains("exists", (await CommandLineRun.Hadal([.. Small, "--save", path])).AssertFailed(ExitCode.Failed));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public async Task AdviceNeedsNoWeights()
    {
        var run = (await CommandLineRun.Hadal("bench", "--shape", "deepseek-v3", "--advise", "--json")).AssertSucceeded();
        var v3 = JsonNode.Parse(run.Out)!.AsArray();
        Assert.True((long)v3.Single(a => (string)a!["format"]! == "fp8")!["weights_bytes"]! > 600L << 30);
        Assert.Contains("context, cache q8", (await CommandLineRun.Hadal("bench", "--shape", "v2-lite", "--advise")).AssertSucceeded().Out);
    }

    [Theory]
    [InlineData("--save goes with --shape only", "bench", "--model", "x", "--save", "y")]
    [InlineData("--plot: expected a file that ends with .png or .svg, found 'x.bmp'", "bench", "--shape", "v2-lite", "--plot", "x.bmp")]
    [InlineData("--context: expected whole numbers of at least 1", "bench", "--shape", "v2-lite", "--context", "8k")]
    [InlineData("--model and --shape exclude each other", "bench", "--model", "x", "--shape", "v2-lite")]
    public async Task WhatMakesNoSenseIsRefused(string expected, params string[] args) =>
        Assert.Contains(expected, (await CommandLineRun.Hadal(args)).AssertFailed(ExitCode.Usage));
}
