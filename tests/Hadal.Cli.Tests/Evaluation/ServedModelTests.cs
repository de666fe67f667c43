using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Tokenization;
using Hadal.Cli.Terminals;
using Hadal.Evaluation.Models;
using Hadal.Inference.Model;
using Hadal.Numerics.Threading;

namespace Hadal.Cli.Tests.Evaluation;

/// <summary>A model evaluated through Hadal's own server and in this process: the three calls give the same.</summary>
public sealed partial class ServedModelTests(DemoFolder folder) : IClassFixture<DemoFolder>, IAsyncLifetime
{
    // The server's log-probabilities are float32.
    private const double Tolerance = 1e-3;

    private readonly Interrupts interrupts = new();
    private readonly SharedWriter notices = new();
    private Task<int>? serving;
    private Uri? address;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        var terminal = new Terminal(TextReader.Null, TextWriter.Null, notices, inputIsTerminal: false, outputIsTerminal: false, errorIsTerminal: false);
        serving = HadalCli.RunAsync(["serve", "--model", $"tiny={folder.Path}", "--port", "0", "--context", "4096", "--threads", "1"], terminal, interrupts);
        Match found;
        while (!(found = Address().Match(notices.ToString())).Success)
        {
            Assert.False(serving.IsCompleted, notices.ToString());
            await Task.Delay(20, Cancellation);
        }

        address = new Uri(found.Value);
    }

    public async ValueTask DisposeAsync()
    {
        interrupts.Interrupt();
        await serving!;
        interrupts.Dispose();
        await notices.DisposeAsync();
    }

    [Fact]
    public async Task LoglikelihoodsAreTheSame()
    {
        LoglikelihoodRequest[] requests =
        [
            new("The sea is", " deep"), new("The sea is", " blue and wide"), new("深海", "在哪里？"), new("a 😀 b", " 😀 c"), new("<｜User｜>", "is text"), new(string.Empty, "a text alone"),
        ];
        await CompareAsync(async model =>
        {
            await model.CheckAsync(loglikelihood: true, Cancellation);
            return await model.LoglikelihoodsAsync(requests, Cancellation);
        });
    }

    [Fact]
    public Task WholeTextsAreTheSame() =>
        CompareAsync(model => model.RollingAsync(["One text, every byte of which is scored once.", "深海 😀", string.Concat(Enumerable.Repeat("long ", 60))], Cancellation));

    [Fact]
    public async Task GenerationsAreTheSame()
    {
        GenerationInput[] inputs =
        [
            new("The sea", [], 24), new("The sea", ["e", "a", "i"], 24), new("深海", [], 12), new("Once", ["\n"], 1),
            new("The sea", [], 24) { Temperature = 0.8, TopP = 0.95, Seed = 7 },
        ];
        var (served, local) = await BothAsync(model => model.GenerateAsync(inputs, Cancellation));
        Assert.Equal(local, served);
        Assert.Contains(local, g => g.Text.Length > 0);
    }

    [Fact]
    public async Task TheCommandGivesTheSameScores()
    {
        using var data = new BenchmarkFolder(lines: 12);
        string[] tasks = ["--tasks", "bpb,ccpm,nq_open", "--data", data.Path, "--limit", "12", "--json"];
        var served = JsonNode.Parse((await CommandLineRun.Hadal(["eval", "--endpoint", address!.ToString(), "--api-model", "tiny", .. tasks])).AssertSucceeded().Out)!;
        var local = JsonNode.Parse((await CommandLineRun.Hadal(["eval", "--model", folder.Path, .. tasks])).AssertSucceeded().Out)!;
        foreach (var task in (string[])["bpb", "ccpm", "nq_open"])
        {
            Assert.Equal((double)local["tasks"]![task]!["score"]!, (double)served["tasks"]![task]!["score"]!, 1e-4);
            Assert.Equal((string)local["tasks"]![task]!["setting"]!, (string)served["tasks"]![task]!["setting"]!);
        }

        var unknown = await CommandLineRun.Hadal(["eval", "--endpoint", address!.ToString(), "--api-model", "other", "--tasks", "nq_open", "--data", data.Path]);
        Assert.Contains("HTTP 404", unknown.AssertFailed(ExitCode.Failed));
    }

    private async Task CompareAsync(Func<IEvaluationModel, Task<IReadOnlyList<Loglikelihood>>> ask)
    {
        var (served, local) = await BothAsync(ask);
        Assert.Equal(local.Count, served.Count);
        for (var i = 0; i < local.Count; i++)
        {
            Assert.Equal(local[i].Sum, served[i].Sum, Tolerance);
            Assert.Equal((i, local[i].Tokens, local[i].IsGreedy), (i, served[i].Tokens, served[i].IsGreedy));
        }
    }

    private async Task<(T Served, T Local)> BothAsync<T>(Func<IEvaluationModel, Task<T>> ask)
    {
        await using var served = new EndpointModel(new EndpointOptions { Endpoint = address!, Model = "tiny", Attempts = 1 });
        using var checkpoint = Checkpoint.Open(folder.Path);
        using var threads = new KernelThreads(1);
        await using var local = new InProcessModel(new DeepSeek(checkpoint, dropMtp: true), Tokenizer.OfModel(folder.Path)!, threads, InProcessModel.IdentityOf(checkpoint, new ForwardOptions(), 4096));
        return (await ask(served), await ask(local));
    }

    [GeneratedRegex(@"http://127\.0\.0\.1:\d+(?=,)")]
    private static partial Regex Address();
}
