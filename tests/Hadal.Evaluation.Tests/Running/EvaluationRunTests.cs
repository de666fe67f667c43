using System.Text.Json;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Running;
using Hadal.Evaluation.Scoring;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Tests.Running;

/// <summary>Runs: results, settings, resuming, limits, reports.</summary>
public sealed class EvaluationRunTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("hadal-run-").FullName;

    public EvaluationRunTests()
    {
        Directory.CreateDirectory(Path.Combine(root, "ccpm"));
        File.WriteAllLines(Path.Combine(root, "ccpm", "valid.jsonl"), Enumerable.Range(0, 100).Select(i => JsonSerializer.Serialize(new { translation = $"<b>句{i}</b>", choices = (string[])[$"甲{i}", $"乙乙{i}", $"丙丙丙{i}", $"丁{i}"], answer = i % 4 })));
    }

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private string Output => Path.Combine(root, "out");

    public void Dispose() => Directory.Delete(root, recursive: true);

    [Fact]
    public async Task EveryItemIsWrittenWithItsScores()
    {
        await Run(First());
        var items = File.ReadLines(Path.Combine(Output, "items", "ccpm.jsonl")).Skip(1).Select(l => JsonSerializer.Deserialize<ItemResult>(l, RunResults.JsonLine)!).ToList();
        Assert.Equal(100, items.Count);
        Assert.Equal(["甲0", "乙乙0", "丙丙丙0", "丁0"], items[0].Options!.Select(o => o.Text));
        Assert.Equal("甲0", items[0].Gold);
        Assert.Equal(1, items[0].Metrics["acc"]);
        var results = ResultStore.Read(Output);
        Assert.Equal(25, results.Tasks.Single().Score);
        Assert.Equal(100 * Statistics.StandardError([.. items.Select(i => i.Metrics["acc_ppl"])]), results.Tasks.Single().StandardError!.Value, 1e-9);
        var page = File.ReadAllText(Path.Combine(Output, "report.html"));
        Assert.Contains("&lt;b&gt;句0&lt;/b&gt;", page);
        Assert.DoesNotContain("<b>句", page);
        Assert.Contains("| CCPM | Acc. | 25.0 |", File.ReadAllText(Path.Combine(Output, "report.md")));
    }

    [Fact]
    public async Task AnInterruptedRunGoesOnWhereItEnded()
    {
        var interrupted = First();
        interrupted.CallsBeforeInterruption = 2;
        await Assert.ThrowsAsync<OperationCanceledException>(() => Run(interrupted));

        // As a crash leaves it: half a line at the end.
        File.AppendAllText(Path.Combine(Output, "items", "ccpm.jsonl"), "{\"id\":\"half");
        var resumed = First();
        var results = await Run(resumed);
        Assert.Equal((100 - 64) * 4, resumed.Asked);
        var straight = await new EvaluationRun(First(), new RunOptions { Data = root }).RunAsync([Benchmarks.Find("ccpm")], named: true, Cancellation);
        Assert.Equal(JsonSerializer.Serialize(straight.Tasks, RunResults.Json), JsonSerializer.Serialize(results.Tasks, RunResults.Json));
        var again = First();
        await Run(again);
        Assert.Equal(0, again.Asked);
    }

    [Fact]
    public async Task AnotherSettingOrModelDoesNotGoOn()
    {
        await Run(First());
        await Assert.ThrowsAsync<InvalidDataException>(() => Run(First(), o => o with { Limit = 10 }));
        await Assert.ThrowsAsync<InvalidDataException>(() => Run(new ScriptedModel(_ => -1) { Identity = new ModelIdentity("other", "other", null, null, string.Empty) }));
    }

    [Fact]
    public async Task TheHashIsOfEverythingTheScoreDependsOn()
    {
        async Task<string> Hash(Func<RunOptions, RunOptions>? change = null) => (await Run(First(), o => (change?.Invoke(o) ?? o) with { Output = null })).Tasks[0].Setting.Hash;
        var hash = await Hash();
        Assert.Equal(hash, await Hash());
        Assert.NotEqual(hash, await Hash(o => o with { Limit = 10 }));
        Assert.NotEqual(hash, await Hash(o => o with { Normalization = Normalization.None }));
        var file = Path.Combine(root, "ccpm", "valid.jsonl");
        File.AppendAllText(file, "\n");
        Assert.NotEqual(hash, await Hash());
    }

    [Fact]
    public async Task WhatCannotRunIsSaidAndNamedTasksAreErrors()
    {
        var results = await Run(First(), tasks: [.. Benchmarks.All], named: false);
        Assert.Equal("ccpm", results.Tasks.Single().Task);
        Assert.Equal(Benchmarks.All.Count - 1, results.Skipped.Count);
        await Assert.ThrowsAsync<FileNotFoundException>(() => Run(First(), o => o with { Output = null }, [Benchmarks.Find("mmlu")]));
        await Assert.ThrowsAsync<NotSupportedException>(() => Run(First(), o => o with { Output = null, Style = TaskStyle.LmEval }));
    }

    [Fact]
    public void ALimitTakesFromEveryCategoryInTurn()
    {
        var questions = ((string[])["a", "a", "a", "b", "c", "c"]).Select((c, i) => (Question)new TextQuestion($"{i}", c, "x")).ToList();
        Assert.Equal(["0", "1", "3", "4", "5"], EvaluationRun.Limited(questions, 5).Select(q => q.Id));
        Assert.Equal(["0", "3", "4"], EvaluationRun.Limited(questions, 3).Select(q => q.Id));
        Assert.Equal(6, EvaluationRun.Limited(questions, 100).Count);
    }

    [Fact]
    public async Task BitsPerByteIsOverAllTexts()
    {
        var file = Path.Combine(root, "texts.jsonl");
        File.WriteAllLines(file, ["{\"text\": \"deep sea\"}", "{\"text\": \"深海\", \"meta\": {\"pile_set_name\": \"Books\"}}"]);
        var results = await new EvaluationRun(new ScriptedModel(), new RunOptions { Data = file }).RunAsync([Benchmarks.Find("bpb")], named: true, Cancellation);
        Assert.Equal(2, results.Tasks[0].Score, 1e-12);
        Assert.Equal(14, results.Tasks[0].Micro["bytes"]);
        Assert.Equal(["all", "Books"], results.Tasks[0].Categories.Keys);
    }

    // Always the first option.
    private static ScriptedModel First() => new(r => r.Continuation.StartsWith('甲') ? -1 : -2);

    private Task<RunResults> Run(ScriptedModel model, Func<RunOptions, RunOptions>? change = null, IReadOnlyList<EvaluationTask>? tasks = null, bool named = true)
    {
        var options = new RunOptions { Data = root, Output = Output };
        return new EvaluationRun(model, change?.Invoke(options) ?? options).RunAsync(tasks ?? [Benchmarks.Find("ccpm")], named, Cancellation);
    }
}
