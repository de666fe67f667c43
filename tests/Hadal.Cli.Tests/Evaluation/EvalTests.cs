using System.Text.Json.Nodes;
using Hadal.Checkpoints.Safetensors;
using Hadal.Checkpoints.Tokenization;
using Hadal.Cli.Terminals;

namespace Hadal.Cli.Tests.Evaluation;

/// <summary><c>hadal eval</c> and the commands below it, from the command line to what they print.</summary>
public sealed class EvalTests(DemoFolder model) : IClassFixture<DemoFolder>, IDisposable
{
    private readonly BenchmarkFolder data = new(lines: 100);

    public void Dispose() => data.Dispose();

    [Fact]
    public async Task BitsPerByteOfAFileIsOneObjectAndFollowsFromTheLogits()
    {
        var run = await Eval("--tasks", "bpb", "--data", data.Texts, "--json");
        var json = JsonNode.Parse(Assert.Single(run.Lines))!;
        Assert.Equal(27, (double)json["bytes"]!);
        var nats = await Nats("The deep sea is dark.") + await Nats("深海");
        Assert.Equal(nats / (27 * Math.Log(2)), (double)json["bits_per_byte"]!, 1e-5);
        Assert.Equal((double)json["bits_per_byte"]!, (double)json["tasks"]!["bpb"]!["score"]!);
    }

    [Fact]
    public async Task SeveralTasksAreOneObjectWithAScoreEachAndReports()
    {
        var run = await Eval("--tasks", "ccpm,nq_open,bpb", "--data", data.Path, "--limit", "6", "--context", "512", "--output", data.In("out"), "--json");
        var json = JsonNode.Parse(Assert.Single(run.Lines))!;
        Assert.Equal(["bpb", "ccpm", "nq_open"], json["tasks"]!.AsObject().Select(t => t.Key).Order());
        foreach (var (name, task) in json["tasks"]!.AsObject())
        {
            Assert.Equal(name == "bpb" ? 2 : 6, (int)task!["questions"]!);
            Assert.InRange((double)task["score"]!, 0, 100);
            Assert.Equal(64, ((string)task["setting"]!).Length);
        }

        Assert.Equal(25, (double)json["tasks"]!["ccpm"]!["chance"]!);
        var written = JsonNode.Parse(await File.ReadAllTextAsync(data.In("out/results.json"), TestContext.Current.CancellationToken))!;
        Assert.Equal((double)json["tasks"]!["ccpm"]!["score"]!, (double)written["tasks"]!.AsArray().Single(t => (string)t!["task"]! == "ccpm")!["score"]!);
        foreach (var file in (string[])["report.md", "report.html", "items/ccpm.jsonl", "items/nq_open.jsonl", "items/bpb.jsonl"])
            Assert.True(File.Exists(data.In($"out/{file}")), file);
        Assert.Equal(1 + 6, File.ReadAllLines(data.In("out/items/ccpm.jsonl")).Length);
    }

    [Fact]
    public async Task AllTakesWhatThereIsAndSaysWhatThereIsNot()
    {
        var run = await Eval("--tasks", "all", "--data", data.Path, "--limit", "2", "--context", "512");
        Assert.Contains("CCPM", run.Out);
        Assert.Contains("NaturalQuestions", run.Out);
        Assert.Contains("mmlu was not run: there is no folder mmlu", run.Out);
        Assert.Contains("ccpm: Acc.", run.Error);
    }

    [Fact]
    public async Task AnInterruptedRunGoesOnToTheResultOfAStraightOne()
    {
        string[] arguments = ["eval", "--model", model.Path, "--tasks", "ccpm", "--data", data.Path, "--json"];
        using (var interrupts = new Interrupts())
        {
            var terminal = new Terminal(TextReader.Null, TextWriter.Null, TextWriter.Null, false, false, false);
            var running = HadalCli.RunAsync([.. arguments, "--output", data.In("out")], terminal, interrupts);
            while (ItemsDone() == 0 && !running.IsCompleted)
                await Task.Delay(2, TestContext.Current.CancellationToken);
            interrupts.Interrupt();
            Assert.Equal(ExitCode.Interrupted, await running);
        }

        var done = ItemsDone();
        Assert.InRange(done, 1, 99);
        Assert.False(File.Exists(data.In("out/results.json")));
        var resumed = (await CommandLineRun.Hadal([.. arguments, "--output", data.In("out")])).AssertSucceeded();
        Assert.Contains($"ccpm: {done} of 100 questions were done before", resumed.Error);
        var straight = (await CommandLineRun.Hadal(arguments)).AssertSucceeded();
        Assert.Equal(straight.Out, resumed.Out);
        Assert.Equal(100, ItemsDone());

        var other = await CommandLineRun.Hadal([.. arguments, "--output", data.In("out"), "--shots", "0", "--limit", "5"]);
        Assert.Contains("holds results of another setting or model", other.AssertFailed(ExitCode.Failed));
    }

    [Fact]
    public async Task TheListHasEveryTask()
    {
        var tasks = JsonNode.Parse((await CommandLineRun.Hadal("eval", "list", "--json")).AssertSucceeded().Out)!.AsArray();
        Assert.Equal(32, tasks.Count);
        Assert.All(tasks, t => Assert.NotEmpty((string)t!["published"]! + (string)t["licence"]!));
        var table = (await CommandLineRun.Hadal("eval", "list")).AssertSucceeded().Out;
        Assert.All(tasks, t => Assert.Contains((string)t!["name"]!, table));
    }

    [Fact]
    public async Task ACheckSaysWhatIsFoundMissingAndMalformed()
    {
        var good = (await CommandLineRun.Hadal("eval", "check", data.Path)).AssertSucceeded();
        Assert.Matches(@"ccpm +found +100 questions\n", good.Out);
        Assert.Matches(@"mmlu +not there +published at github\.com/hendrycks/test", good.Out);
        Assert.Contains("2 of 32 tasks can be asked, 108 questions, 0 problems", good.Out);

        data.Write("ccpm/valid.jsonl", ["{\"translation\": \"x\", \"choices\": [\"a\", \"b\"], \"answer\": 7}", "{\"translation\": \"y\", \"choices\": [\"a\", \"b\"], \"answer\": 1}"]);
        var bad = await CommandLineRun.Hadal("eval", "check", data.Path);
        Assert.Equal(ExitCode.Failed, bad.ExitCode);
        Assert.Matches(@"ccpm +found +1 questions\n +wrong: .*valid\.jsonl: item 1: 'answer': expected one of 2 options, by letter or number, found 7\n", bad.Out);
        var json = JsonNode.Parse((await CommandLineRun.Hadal("eval", "check", data.Path, "--json")).Out)!;
        Assert.Single(json["tasks"]!.AsArray().Single(t => (string)t!["task"]!["name"]! == "ccpm")!["problems"]!.AsArray());
    }

    [Fact]
    public async Task ResultsOfOneSettingAreComparedAndThoseOfTwoAreRefused()
    {
        using var other = new DemoFolder();
        foreach (var (folder, path, limit) in (ValueTuple<string, string, string>[])[("a", model.Path, "8"), ("b", other.Path, "8"), ("c", other.Path, "7")])
            (await CommandLineRun.Hadal("eval", "--model", path, "--tasks", "ccpm", "--data", data.Path, "--limit", limit, "--output", data.In(folder))).AssertSucceeded();
        var compared = (await CommandLineRun.Hadal("eval", "compare", data.In("a"), data.In("b"), "--published", "DeepSeek-V3", "--output", data.In("table.md"))).AssertSucceeded();
        Assert.Contains("activated parameters", compared.Out);
        Assert.Contains("92.0", compared.Out);
        Assert.Contains("| CCPM", await File.ReadAllTextAsync(data.In("table.md"), TestContext.Current.CancellationToken));
        var json = JsonNode.Parse((await CommandLineRun.Hadal("eval", "compare", data.In("a"), data.In("b"), "--json")).AssertSucceeded().Out)!;
        Assert.Equal((2, 1), (json["columns"]!.AsArray().Count, json["rows"]!.AsArray().Count));
        var refused = (await CommandLineRun.Hadal("eval", "compare", data.In("a"), data.In("c"))).AssertFailed(ExitCode.Failed);
        Assert.Contains("were evaluated in different settings (limit 8 and 7", refused);
    }

    [Theory]
    [InlineData(ExitCode.Usage, "--tasks is missing", "eval", "--data", "x")]
    [InlineData(ExitCode.Usage, "--data is missing", "eval", "--tasks", "bpb")]
    [InlineData(ExitCode.Usage, "there is no task 'mmul'", "eval", "--tasks", "mmul", "--data", "x")]
    [InlineData(ExitCode.Usage, "--tasks: expected names of tasks, found none", "eval", "--tasks", ",", "--data", "x")]
    [InlineData(ExitCode.Usage, "--limit: expected a whole number of at least 1, found '0'", "eval", "--tasks", "bpb", "--data", "x", "--limit", "0")]
    [InlineData(ExitCode.Usage, "--style: expected one of deepseek, deepseek-llm, lm-eval, found 'other'", "eval", "--tasks", "bpb", "--data", "x", "--style", "other")]
    [InlineData(ExitCode.Usage, "--endpoint needs --api-model", "eval", "--tasks", "bpb", "--data", "x", "--endpoint", "http://127.0.0.1:1")]
    [InlineData(ExitCode.Usage, "--endpoint: expected an address", "eval", "--tasks", "bpb", "--data", "x", "--endpoint", "nowhere", "--api-model", "m")]
    [InlineData(ExitCode.Usage, "DATA is missing", "eval", "check")]
    [InlineData(ExitCode.Usage, "nobody", "eval", "compare", "--published", "nobody")]
    [InlineData(ExitCode.Failed, "expected a folder of benchmarks, found nothing", "eval", "check", "no-such-folder")]
    [InlineData(ExitCode.Failed, "expected results of 'hadal eval', found no such file", "eval", "compare", "no-such-folder", "other")]
    public async Task WhatIsWrongIsNamedInOneLine(int exitCode, string line, params string[] args) =>
        Assert.Contains(line, (await CommandLineRun.Hadal(args)).AssertFailed(exitCode));

    [Fact]
    public async Task ATaskThatIsNamedAndHasNoDataIsAnError()
    {
        string[] arguments = ["eval", "--model", model.Path, "--data", data.Path];
        Assert.Contains("expected dev/*_dev.csv", (await CommandLineRun.Hadal([.. arguments, "--tasks", "mmlu"])).AssertFailed(ExitCode.Failed));
        Assert.Contains("no form", (await CommandLineRun.Hadal([.. arguments, "--tasks", "ccpm", "--style", "lm-eval"])).AssertFailed(ExitCode.Failed));
        Assert.Contains("no-such-folder", (await CommandLineRun.Hadal("eval", "--model", model.Path, "--tasks", "ccpm", "--data", "no-such-folder")).AssertFailed(ExitCode.Failed));
        Assert.Equal(ExitCode.Interrupted, (await CommandLineRun.Interrupted([.. arguments, "--tasks", "ccpm"])).ExitCode);
    }

    private async Task<CommandLineRun> Eval(params string[] more) => (await CommandLineRun.Hadal(["eval", "--model", model.Path, .. more])).AssertSucceeded();

    // Lines after the heading.
    private int ItemsDone()
    {
        var file = data.In("out/items/ccpm.jsonl");
        if (!File.Exists(file))
            return 0;
        using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new StreamReader(stream);
        return Math.Max(0, reader.ReadToEnd().Count(c => c == '\n') - 1);
    }

    // A second way: the file of logits that 'hadal logits' writes, and log-softmax in double precision.
    private async Task<double> Nats(string text)
    {
        var tokenizer = Tokenizer.OfModel(model.Path)!;
        int[] ids = [tokenizer.BosId!.Value, .. tokenizer.Encode(text, addBos: false, parseSpecial: false)];
        var output = data.In("logits.safetensors");
        (await CommandLineRun.Hadal("logits", "--model", model.Path, "--tokens", string.Join(',', ids), "--output", output)).AssertSucceeded();
        using var file = SafetensorsFile.Open(output);
        var (logits, width) = (file.ReadSingles("logits"), (int)file.Find("logits").Shape[1]);
        var nats = 0.0;
        for (var i = 1; i < ids.Length; i++)
        {
            var row = logits.AsSpan((i - 1) * width, width).ToArray().Select(x => (double)x).ToArray();
            nats += row.Max() + Math.Log(row.Sum(x => Math.Exp(x - row.Max()))) - row[ids[i]];
        }

        return nats;
    }
}
