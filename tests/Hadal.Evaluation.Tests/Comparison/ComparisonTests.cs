using Hadal.Evaluation.Comparison;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Running;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Tests.Comparison;

/// <summary>Table 3 and its sentences, made anew from its numbers.</summary>
public sealed class ComparisonTests
{
    private static readonly string[] All = [.. PublishedTable.Models.Select(m => m.Name)];

    [Fact]
    public void TheReportsSentencesFollowFromItsNumbers()
    {
        var findings = Findings.Of(ModelComparison.Of([], All));
        Assert.Equal(
            [
                "The scores of DeepSeek-V2-Base, Qwen2.5 72B Base, LLaMA-3.1 405B Base, and DeepSeek-V3-Base are published ones (Table 3 of the DeepSeek-V3 report), measured by their publisher in one setting of its own.",
                "Overall, DeepSeek-V3-Base comprehensively outperforms DeepSeek-V2-Base and Qwen2.5 72B Base and surpasses LLaMA-3.1 405B Base in the majority of benchmarks, which makes it the strongest of the models compared.",
            ],
            findings.Take(2));
        Assert.StartsWith("(2) Compared with Qwen2.5 72B Base, with only half of the activated parameters, DeepSeek-V3-Base is better on ", findings[3]);
        Assert.Contains("with remarkable advantages on English, multilingual, code, and math.", findings[3]);
        Assert.EndsWith("As for Chinese benchmarks, except for CMMLU (88.8 against 89.5), it is also better than or level with Qwen2.5 72B Base.", findings[3]);
        Assert.StartsWith("(3) Compared with LLaMA-3.1 405B Base, which has 11 times the activated parameters, DeepSeek-V3-Base is better on 20, level on 6 and behind on 6 of 32 benchmarks, with remarkable advantages on multilingual, code, and math.", findings[4]);
    }

    [Fact]
    public void TheNumbersAreThoseOfTheReport()
    {
        using var table = System.Text.Json.JsonDocument.Parse(File.ReadAllBytes(Hadal.Tests.SharedFiles.Path("data", "benchmarks", "deepseek_v3_table3.json")));
        var rows = table.RootElement.GetProperty("rows");
        Assert.Equal(rows.EnumerateObject().Count(), PublishedTable.Rows.Count);
        foreach (var row in PublishedTable.Rows)
        {
            var official = rows.GetProperty(row.Title);
            Assert.Equal(((string[])["DeepSeek-V2", "Qwen2.5-72B", "LLaMA3.1-405B", "DeepSeek-V3-Base"]).Select(m => official.GetProperty(m).GetDouble()), row.Scores);
            Assert.Equal(official.GetProperty("metric").GetString(), row.Metric);
            Assert.Equal(official.GetProperty("shots").GetString(), row.Shots is { } shots ? $"{shots}-shot" : "-");
        }
    }

    [Fact]
    public void EveryTaskIsTheRowOfItsTitle() => Assert.All(Benchmarks.All.Select(t => t.Info), info =>
    {
        var row = Assert.Single(PublishedTable.Rows, r => r.Title == info.Title);
        Assert.Equal((row.Metric, row.Shots ?? 0), (info.Metric, info.Shots));
    });

    [Fact]
    public void GapsOfAtMostThreeTenthsAreLevel()
    {
        Assert.True(ModelComparison.AreLevel("Acc.", 85.2, 84.9));
        Assert.False(ModelComparison.AreLevel("Acc.", 85.3, 84.9));
        Assert.False(ModelComparison.AreLevel("BPB", 0.548, 0.542));
        var rows = ModelComparison.Of([], All).Rows;
        Assert.Equal("88.9 ≈", rows.Single(r => r.Title == "HellaSwag").Marked(3));
        Assert.Equal(["95.3", "95.3"], rows.Single(r => r.Title == "ARC-Challenge") is var arc ? [arc.Marked(2).Trim('*'), arc.Marked(3).Trim('*')] : []);
        Assert.Equal("**0.542**", rows.Single(r => r.Title == "Pile-test").Marked(2));
    }

    [Fact]
    public void DifferentSettingsAreRefusedAndTheSameAreNot()
    {
        var (a, b) = (Results("a", 40, shots: 5), Results("b", 50, shots: 5));
        var comparison = ModelComparison.Of([a, b], ["v3"]);
        Assert.Equal([40, 50, 87.1], comparison.Rows.Single().Scores.Select(s => s!.Value));
        Assert.Contains("| activated parameters | | 1B | 1B | 37B |", comparison.ToMarkdown());
        Assert.Contains("DeepSeek-V3-Base (published)", comparison.ToMarkdown());
        Assert.Contains("All 2 models that were evaluated by this program share the same setting", Findings.Of(comparison)[0]);
        var refusal = Assert.Throws<InvalidDataException>(() => ModelComparison.Of([a, Results("c", 50, shots: 0)], []));
        Assert.Equal("mmlu: a and c were evaluated in different settings (shots 5 and 0) and cannot be compared", refusal.Message);
        Assert.Throws<ArgumentException>(() => ModelComparison.Of([a], []));
        Assert.Throws<ArgumentException>(() => ModelComparison.Of([a], ["nobody"]));
    }

    private static RunResults Results(string name, double score, int shots) => new()
    {
        Model = new ModelIdentity(name, name, 1_000_000_000, 1_000_000_000, "test"),
        Tasks =
        [
            new TaskResult
            {
                Task = "mmlu", Title = "MMLU", MetricName = "Acc.", Metric = "acc", Score = score, Questions = 1, Micro = new Dictionary<string, double>(), Macro = new Dictionary<string, double>(),
                Categories = new Dictionary<string, CategoryResult>(),
                Setting = new Setting { Task = "mmlu", Version = 1, Style = TaskStyle.DeepSeek, Shots = shots, ShotSource = "dev", ShotIds = [], Score = "acc", Decoding = "greedy", Data = new Dictionary<string, string>(), Prompts = "x" },
            },
        ],
    };
}
