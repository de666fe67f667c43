using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Hadal.Cli.Tests.Commands;

public sealed class TrainTests : IDisposable
{
    // A second or two: 40 steps of a very small model.
    private const string Recipe = """
        {
          "name": "toy", // with a comment
          "model": { "model_type": "deepseek_v3", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "kv_lora_rank": 16, "q_lora_rank": null,
            "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "first_k_dense_replace": 1,
            "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "num_nextn_predict_layers": 1, "max_position_embeddings": 512 },
          "tokenizer": { "train_vocab_size": 400 },
          "data": { "sources": [{ "stories": { "count": 60 } }], "validation": { "stories": { "seed": 2, "count": 3 } }, "validation_tokens": 256, "sequence_length": 64 },
          "schedule": { "tokens": 10240, "warmup_steps": 5, "learning_rate": 0.01, "sequences": 4 },
          "initializer_range": 0.02,
          "run": { "checkpoint_steps": 5, "validation_steps": 20, "report_steps": 10, "sample_prompt": "One morning", "sample_tokens": 8 }
        }
        """;

    private readonly string folder = Directory.CreateTempSubdirectory("hadal-").FullName;
    private readonly string recipe;

    public TrainTests()
    {
        recipe = Path.Combine(folder, "toy.jsonc");
        File.WriteAllText(recipe, Recipe);
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public async Task ARunEndsByGeneratingFromItsModel()
    {
        var run = (await CommandLineRun.Hadal("train", "--recipe", recipe, "--output", In("run"))).AssertSucceeded();
        Assert.Contains("training a tokenizer of 400 tokens", run.Error);
        Assert.Matches(@"step 10 25\.0% · loss \d\.\d+ · \d\.\d+ bits/byte · \d+ tokens/s · \d+% of peak · busiest expert \d\.\dx · \d+ s left", run.Error);
        Assert.Matches(@"step 40: held-out loss \d\.\d{4}, MTP \d\.\d{4}, \d\.\d{4} bits per byte", run.Error);
        Assert.Contains("trained on 10.2 K tokens in 40 steps", run.Out);
        Assert.Contains("\nOne morning", run.Out);
        var inspected = (await CommandLineRun.Hadal("inspect", In("run/model"))).AssertSucceeded();
        Assert.Contains("DeepseekV3", inspected.Out);
        (await CommandLineRun.Hadal("verify", In("run/model"))).AssertSucceeded();
    }

    [Fact]
    public async Task AProgramGetsOneObject()
    {
        var run = (await CommandLineRun.Hadal("train", "--recipe", recipe, "--set", "schedule.tokens=512", "--output", In("run"), "--json")).AssertSucceeded();
        var report = JsonNode.Parse(run.Out)!;
        Assert.Equal((2, 512, In("run/model")), ((int)report["steps"]!, (int)report["tokens"]!, (string)report["model"]!));
        Assert.InRange((double)report["validation_bits_per_byte"]!, 0.5, 8);
    }

    [Fact]
    public async Task CheckpointsAreEvaluatedAsTheCommandDoes()
    {
        var texts = In("texts.jsonl");
        await File.WriteAllTextAsync(texts, "{\"text\": \"One morning a fox went to the river.\"}\n", TestContext.Current.CancellationToken);
        string[] train = ["train", "--recipe", recipe, "--output", In("run"), "--set", "schedule.tokens=2560", "--set", "run.evaluation_steps=5"];
        string[] evaluation = ["--set", $"evaluation={{\"tasks\": [\"bpb\"], \"data\": {JsonValue.Create(texts).ToJsonString()}}}"];
        Assert.Contains("run.evaluation_steps", (await CommandLineRun.Hadal(train)).AssertFailed(ExitCode.Failed));
        Assert.Contains("evaluation.tasks[0]: there is no task 'ppb'", (await CommandLineRun.Hadal([.. train, .. evaluation, "--set", "evaluation.tasks=[\"ppb\"]"])).AssertFailed(ExitCode.Failed));
        Assert.Contains("nowhere", (await CommandLineRun.Hadal([.. train, .. evaluation, "--set", "evaluation.data=nowhere"])).AssertFailed(ExitCode.Failed));
        Assert.False(Directory.Exists(In("run")));
        var run = (await CommandLineRun.Hadal([.. train, .. evaluation, "--json"])).AssertSucceeded();
        Assert.Matches(@"step 5: bpb \d\.\d{4} bits per byte\n", run.Error);
        var lines = File.ReadLines(In("run/metrics.jsonl")).Select(l => JsonNode.Parse(l)!).Where(l => l["evaluation"] is not null).ToList();
        Assert.Equal([5, 10], lines.Select(l => (int)l["step"]!));
        Assert.Equal((double)lines[1]["evaluation"]!["bpb"]!["score"]!, (double)JsonNode.Parse(run.Out)!["evaluation"]!["bpb"]!);
        foreach (var line in lines)
        {
            var checkpoint = In($"run/checkpoints/step-{(int)line["step"]!:D8}");
            var command = JsonNode.Parse((await CommandLineRun.Hadal("eval", "--model", checkpoint, "--tasks", "bpb", "--data", texts, "--json")).AssertSucceeded().Out)!;
            Assert.Equal((double)command["bits_per_byte"]!, (double)line["evaluation"]!["bpb"]!["score"]!);
            Assert.True(File.Exists(In($"run/evaluations/step-{(int)line["step"]!:D8}/results.json")));
        }
    }

    [Fact]
    public async Task WhatIsWrongIsNamed()
    {
        async Task<string> Fails(params string[] more) => (await CommandLineRun.Hadal(["train", "--recipe", recipe, "--output", In("run"), .. more])).AssertFailed(ExitCode.Failed);
        Assert.Contains("toy.jsonc: schedule.token: there is no such key; allowed here: bias_update_speed", await Fails("--set", "schedule.token=5"));
        Assert.Contains("nowhere: expected token shards", await Fails("--set", "data.sources=[{\"shards\": \"nowhere\"}]", "--set", "tokenizer={\"path\": \"" + Demo() + "\"}"));
        Assert.Contains("hidden_size", await Fails("--set", "model.hidden_size=0"));
        Assert.Contains("none.jsonc", (await CommandLineRun.Hadal("train", "--recipe", In("none.jsonc"))).AssertFailed(ExitCode.Failed));
    }

    [Theory]
    [InlineData("INT")]
    [InlineData("TERM")]
    public async Task CtrlCAndSigtermWriteACheckpointAndSayHowToGoOn(string signal)
    {
        var (error, code) = await Process(TimeSpan.FromSeconds(60), process => File.Exists(In("run/metrics.jsonl")) && File.ReadAllLines(In("run/metrics.jsonl")).Length >= 3 ? signal : null, "--set", "schedule.tokens=1e8");
        Assert.Equal(ExitCode.Interrupted, code);
        Assert.Matches(@"interrupted after step \d+; its checkpoint is .*step-\d{8}", error);
        Assert.Contains("the same command goes on from there", error);
        Assert.Single(Directory.GetDirectories(In("run/checkpoints")), d => error.Contains(Path.GetFileName(d)));
    }

    [Fact]
    public async Task AKilledProcessGoesOnAndEndsWithTheSameBits()
    {
        (await CommandLineRun.Hadal("train", "--recipe", recipe, "--output", In("straight"), "--threads", "1", "--json")).AssertSucceeded();
        for (var kill = 0; kill < 2; kill++)
        {
            var before = Checkpoints();
            await Process(TimeSpan.FromSeconds(60), _ => Checkpoints() > before || Directory.Exists(In("run/model")) ? "KILL" : null);
        }

        (await CommandLineRun.Hadal("train", "--recipe", recipe, "--output", In("run"), "--json")).AssertSucceeded();
        foreach (var file in new[] { "model.safetensors", "tokenizer.json" })
            Assert.Equal(await File.ReadAllBytesAsync(In($"straight/model/{file}"), TestContext.Current.CancellationToken), await File.ReadAllBytesAsync(In($"run/model/{file}"), TestContext.Current.CancellationToken));

        int Checkpoints() => !Directory.Exists(In("run/checkpoints")) ? 0 : Directory.GetFiles(In("run/checkpoints"), "training-state.json", SearchOption.AllDirectories).Select(f => Path.GetFileName(Path.GetDirectoryName(f)!)).Where(n => !n.EndsWith(".partial")).Select(n => int.Parse(n["step-".Length..])).DefaultIfEmpty(0).Max();
    }

    [Fact]
    public async Task AModelIsFineTunedOnConversations()
    {
        (await CommandLineRun.Hadal("train", "--recipe", recipe, "--output", In("base"), "--json")).AssertSucceeded();
        var data = In("chats.jsonl");
        await File.WriteAllTextAsync(data, string.Concat(Enumerable.Range(0, 40).Select(i => $"{{\"messages\": [{{\"role\": \"user\", \"content\": \"Count {i % 2}\"}}, {{\"role\": \"assistant\", \"content\": \"{i % 2} and so on\"}}]}}\n")), TestContext.Current.CancellationToken);
        string[] sft = ["sft", "--model", In("base/model"), "--data", data, "--valid", data, "--epochs", "30", "--batch", "4", "--learning-rate", "0.01", "--sequence-length", "64", "--output", In("sft")];
        var report = JsonNode.Parse((await CommandLineRun.Hadal([.. sft, "--json"])).AssertSucceeded().Out)!;
        Assert.InRange((double)report["validation_loss"]!, 0, 0.5);
        var chat = (await CommandLineRun.WithInput("Count 1\n", "chat", "--model", In("sft/model"), "--max-new-tokens", "8", "--temperature", "0")).AssertSucceeded();
        Assert.Contains("1 and so on", chat.Out);

        // With text beside it: the same, and the text is read too.
        var texts = In("texts.txt");
        await File.WriteAllTextAsync(texts, string.Concat(Enumerable.Repeat("The deep sea is dark. ", 200)), TestContext.Current.CancellationToken);
        (await CommandLineRun.Hadal("shards", "--input", texts, "--tokenizer", In("base/model"), "--output", In("shards"))).AssertSucceeded();
        report = JsonNode.Parse((await CommandLineRun.Hadal([.. sft[..^1], In("mixed"), "--text", In("shards"), "--text-share", "0.25", "--json"])).AssertSucceeded().Out)!;
        Assert.InRange((double)report["validation_loss"]!, 0, 0.5);
        Assert.Contains("chats.jsonl: line 1: expected JSON", await BadData(sft, data));
    }

    private async Task<string> BadData(string[] sft, string data)
    {
        await File.WriteAllTextAsync(data, "oops", TestContext.Current.CancellationToken);
        return (await CommandLineRun.Hadal([.. sft[..^1], In("other")])).AssertFailed(ExitCode.Failed);
    }

    private string In(string name) => Path.Combine(folder, name);

    private string Demo()
    {
        Hadal.Checkpoints.RandomModel.Write(Directory.CreateDirectory(In("demo")).FullName, 1);
        return In("demo").Replace("\\", "\\\\");
    }

    /// <summary>The program in a process of its own, sent a signal as soon as a condition names one.</summary>
    private async Task<(string Error, int ExitCode)> Process(TimeSpan longest, Func<Process, string?> signal, params string[] more)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "signals are sent with kill, and env gives the process its own handling of them");
        var program = Path.Combine(AppContext.BaseDirectory, "hadal.dll");
        var start = new ProcessStartInfo("env", ["--default-signal=INT", "dotnet", program, "train", "--recipe", recipe, "--output", In("run"), .. more]) { RedirectStandardError = true, RedirectStandardOutput = true, UseShellExecute = false };
        using var process = System.Diagnostics.Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        var output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        var clock = Stopwatch.StartNew();
        var sent = false;
        while (!process.HasExited && clock.Elapsed < longest)
        {
            if (!sent && signal(process) is { } name)
            {
                using var kill = System.Diagnostics.Process.Start("kill", [$"-{name}", $"{process.Id}"]);
                sent = true;
            }

            await Task.Delay(5, TestContext.Current.CancellationToken);
        }

        if (!process.HasExited)
            process.Kill();
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        await output;
        return (await error, process.ExitCode);
    }
}
