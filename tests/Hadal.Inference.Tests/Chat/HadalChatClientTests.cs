using System.Diagnostics;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Chat;
using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Chat;
using Hadal.Inference.Engine;
using Hadal.Inference.Model;
using Hadal.Numerics.Threading;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;
using ChatOptions = Microsoft.Extensions.AI.ChatOptions;
using ChatRole = Microsoft.Extensions.AI.ChatRole;

namespace Hadal.Inference.Tests.Chat;

public sealed class HadalChatClientTests : IDisposable
{
    private static readonly Tokenizer Tokenizer = Tokenizer.CreateByteLevel(moreTokens: ["<think>", "</think>"]);

    private readonly KernelThreads threads = new(1);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => threads.Dispose();

    [Fact]
    public async Task ThinkingAndAnswerComeApartWithUsage()
    {
        using var client = Client("Hm, deep.\n</think>\n\nVery deep: 11 km — 北京 not.", "deepseek-r1", out var model, out var engine);
        using var stopping = engine;
        var updates = new List<ChatResponseUpdate>();
        await foreach (var update in client.GetStreamingResponseAsync("How deep?", new ChatOptions { Instructions = "Be brief.", Temperature = 0.6f }, Cancellation))
            updates.Add(update);
        Assert.Equal("<｜begin▁of▁sentence｜>Be brief.<｜User｜>How deep?<｜Assistant｜><think>\n", Assert.Single(model.Prompts));
        Assert.True(updates.Count > 20, "it streams");
        Assert.Single(updates.Select(u => (u.ResponseId, u.ModelId, u.Role)).Distinct());
        var response = updates.ToChatResponse();
        Assert.Equal("Hm, deep.", string.Concat(response.Messages[0].Contents.OfType<TextReasoningContent>().Select(c => c.Text)));
        Assert.Equal("Very deep: 11 km — 北京 not.", response.Text);
        Assert.Equal(ChatFinishReason.Stop, response.FinishReason);
        var prompt = Tokenizer.Encode(model.Prompts[0]).Length;
        var usage = response.Usage!;
        Assert.Equal((prompt, 0L, prompt + usage.OutputTokenCount), (usage.InputTokenCount, usage.CachedInputTokenCount, usage.TotalTokenCount));
        Assert.Equal("Hm, deep.\n".Length + 1, usage.ReasoningTokenCount);

        // The same conversation going on: R1's template leaves the thoughts out, what comes before them is cached.
        List<ChatMessage> messages = [new(ChatRole.User, "How deep?"), .. response.Messages, new(ChatRole.User, "And how wide?")];
        var next = await client.GetResponseAsync(messages, new ChatOptions { Instructions = "Be brief." }, Cancellation);
        Assert.InRange(next.Usage!.CachedInputTokenCount!.Value, prompt - 3, prompt);
        Assert.Equal(response.Text, next.Text);
    }

    [Theory]
    [InlineData("deepseek-v3", "function<｜tool▁sep｜>weather\n```json\n{\"city\": \"北京\", \"days\": 3}\n```")]
    [InlineData("deepseek-r1-0528", "function<｜tool▁sep｜>weather\n```json\n{\"city\": \"北京\", \"days\": 3}\n```")]
    [InlineData("deepseek-v3.1", "weather<｜tool▁sep｜>{\"city\": \"北京\", \"days\": 3}")]
    public async Task ToolsAreOfferedCalledAndAnswered(string template, string form)
    {
        // V3's first template, as published, writes no calls beside text.
        var text = template == "deepseek-v3" ? string.Empty : "I will look.";
        var answer = $"{text}<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{form}<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
        using var client = Client(answer, template, out var model, out var engine);
        using var stopping = engine;
        var tool = AIFunctionFactory.Create((string city, int days) => $"{city}: {days} sunny days", "weather", "The weather of a city.");
        List<ChatMessage> messages = [new(ChatRole.User, "Weather in 北京?")];
        var response = await client.GetResponseAsync(messages, new ChatOptions { Tools = [tool] }, Cancellation);
        var prompt = Assert.Single(model.Prompts);
        Assert.Contains("### weather\nDescription: The weather of a city.\n\nParameters: {\"type\":\"object\"", prompt);
        Assert.Contains(form.StartsWith("function", StringComparison.Ordinal) ? "function<｜tool▁sep｜>tool_call_name\n```json" : "<｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments", prompt);
        Assert.Equal(ChatFinishReason.ToolCalls, response.FinishReason);
        Assert.Equal(text, response.Text);
        var call = Assert.Single(response.Messages[0].Contents.OfType<FunctionCallContent>());
        Assert.Equal(("weather", null), (call.Name, call.Exception));
        Assert.Equal(["city", "days"], call.Arguments!.Keys);

        var result = await tool.InvokeAsync(new AIFunctionArguments(call.Arguments), Cancellation);
        messages.AddRange(response.Messages);
        messages.Add(new ChatMessage(ChatRole.Tool, [new FunctionResultContent(call.CallId, result)]));
        await client.GetResponseAsync(messages, new ChatOptions { Tools = [tool], ToolMode = ChatToolMode.None }, Cancellation);
        Assert.Contains($"{form.Replace(": ", ":", StringComparison.Ordinal).Replace(", ", ",", StringComparison.Ordinal)}<｜tool▁call▁end｜>", model.Prompts[^1]);
        Assert.Contains("<｜tool▁output▁begin｜>北京: 3 sunny days<｜tool▁output▁end｜>", model.Prompts[^1]);
        Assert.DoesNotContain("### weather", model.Prompts[^1]);
    }

    [Fact]
    public async Task FormatsAndRequiredToolsAreHeldTo()
    {
        // The model would say something else.
        using var client = Client("Let me think about it at length.", "deepseek-v3.1", out _, out var engine);
        using var stopping = engine;
        var schema = System.Text.Json.JsonDocument.Parse("""{"type":"object","properties":{"sky":{"enum":["clear","cloudy"]},"degrees":{"type":"integer","minimum":-90,"maximum":60}},"required":["sky","degrees"],"additionalProperties":false}""").RootElement;
        var response = await client.GetResponseAsync("x", new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(schema), Temperature = 0 }, Cancellation);
        var answer = System.Text.Json.JsonDocument.Parse(response.Text).RootElement;
        Assert.Contains(answer.GetProperty("sky").GetString(), (string[])["clear", "cloudy"]);
        Assert.InRange(answer.GetProperty("degrees").GetInt32(), -90, 60);
        var tool = AIFunctionFactory.Create((int days) => days, "forecast");
        var called = await client.GetResponseAsync("x", new ChatOptions { Tools = [tool], ToolMode = ChatToolMode.RequireSpecific("forecast"), MaxOutputTokens = 200 }, Cancellation);
        var call = Assert.Single(called.Messages[0].Contents.OfType<FunctionCallContent>());
        Assert.Equal(("forecast", null), (call.Name, call.Exception));
        await Assert.ThrowsAsync<Inference.Constraints.ConstraintException>(() => client.GetResponseAsync(
            "x", new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(System.Text.Json.JsonDocument.Parse("""{"not":{}}""").RootElement) }, Cancellation));
    }

    [Fact]
    public async Task ArgumentsThatAreNoJsonAreACallWithAnError()
    {
        using var client = Client("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{oops<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "deepseek-v3.1", out _, out var engine);
        using var stopping = engine;
        var response = await client.GetResponseAsync("x", cancellationToken: Cancellation);
        var call = Assert.Single(response.Messages[0].Contents.OfType<FunctionCallContent>());
        Assert.Equal(("f", true), (call.Name, call.Exception is not null));
    }

    [Fact]
    public async Task OptionsReachTheEngine()
    {
        using var client = Client("one two three four", "deepseek-v3.1", out var model, out var engine);
        using var stopping = engine;
        var cut = await client.GetResponseAsync("x", new ChatOptions { MaxOutputTokens = 5 }, Cancellation);
        Assert.Equal(("one t", ChatFinishReason.Length), (cut.Text, cut.FinishReason));
        var stopped = await client.GetResponseAsync("x", new ChatOptions { StopSequences = [" three"] }, Cancellation);
        Assert.Equal(("one two", ChatFinishReason.Stop), (stopped.Text, stopped.FinishReason));
        await client.GetResponseAsync("another", new ChatOptions { Reasoning = new ReasoningOptions { Effort = ReasoningEffort.High }, Seed = 1L << 40, TopP = 0.9f, TopK = 5 }, Cancellation);
        Assert.EndsWith("<｜Assistant｜><think>", model.Prompts[^1]);

        var late = await client.GetResponseAsync("y", new ChatOptions { AdditionalProperties = new() { ["time_limit"] = TimeSpan.Zero, ["priority"] = 1, ["side_request"] = true } }, Cancellation);
        Assert.Equal("time_limit", late.FinishReason!.Value.Value);
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => client.GetResponseAsync("x", new ChatOptions { TopP = 7 }, Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync([new ChatMessage(ChatRole.User, [new DataContent(new byte[] { 1 }, "image/png")])], cancellationToken: Cancellation));
        await Assert.ThrowsAsync<ContextOverflowException>(() => client.GetResponseAsync(new string('x', 5000), cancellationToken: Cancellation));
        Assert.Same(engine, client.GetService<InferenceEngine>());
        Assert.Equal(("hadal", "replay"), (client.GetService<ChatClientMetadata>()!.ProviderName, client.GetService<ChatClientMetadata>()!.DefaultModelId));
        Assert.Null(client.GetService(typeof(string)));
        Assert.Null(client.GetService(typeof(HadalChatClient), "key"));
    }

    [Fact]
    public async Task CancellationAndManyAtOnce()
    {
        using var client = Client("one two three four", "deepseek-v3.1", out _, out var engine);
        using var stopping = engine;
        using var source = new CancellationTokenSource();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var update in client.GetStreamingResponseAsync("x", cancellationToken: source.Token))
                await source.CancelAsync();
        });
        var texts = await Task.WhenAll(Enumerable.Range(0, 20).Select(i => Task.Run(() => client.GetResponseAsync($"{i}", cancellationToken: Cancellation))));
        Assert.All(texts, t => Assert.Equal("one two three four", t.Text));
        await engine.CheckIntegrityAsync();
    }

    [Fact]
    public async Task ServicesLoadARealModelOnceAndTheSampleRuns()
    {
        var folder = Directory.CreateTempSubdirectory("hadal-");
        try
        {
            RandomModel.Write(folder.FullName, seed: 1);
            await using (var services = new ServiceCollection().AddHadal(folder.FullName, new HadalModelOptions { Threads = 2, ChatTemplate = "deepseek-r1", Engine = new EngineOptions { CacheTokens = 512 } }).BuildServiceProvider())
            {
                var client = services.GetRequiredService<IChatClient>();
                Assert.Same(client, services.GetRequiredService<HadalChatClient>());
                using var other = services.GetRequiredService<HadalModel>().CreateChatClient();
                var options = new ChatOptions { Seed = 3, MaxOutputTokens = 12 };
                var first = await client.GetResponseAsync("How deep?", options, Cancellation);
                var second = await other.GetResponseAsync("How deep?", options, Cancellation);
                Assert.Equal(Text(first), Text(second));
                Assert.Equal((0L, first.Usage!.InputTokenCount - 1), (first.Usage.CachedInputTokenCount, second.Usage!.CachedInputTokenCount));
                Assert.Equal(folder.Name, first.ModelId);
            }

            var sample = Path.Combine(AppContext.BaseDirectory, "Hadal.Samples.Chat.dll");
            using var process = Process.Start(new ProcessStartInfo("dotnet", [sample, folder.FullName]) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true })!;
            var output = await process.StandardOutput.ReadToEndAsync(Cancellation);
            var error = await process.StandardError.ReadToEndAsync(Cancellation);
            await process.WaitForExitAsync(Cancellation);
            Assert.True(process.ExitCode == 0, error);
            Assert.Matches(@"\n\d+ tokens; 0 of the prompt's \d+ were cached\n$", output);
        }
        finally
        {
            folder.Delete(recursive: true);
        }

        static string Text(ChatResponse response) => string.Concat(response.Messages[0].Contents.Select(c => (c as TextReasoningContent)?.Text ?? (c as TextContent)?.Text));
    }

    private HadalChatClient Client(string answer, string template, out ReplayModel model, out InferenceEngine engine)
    {
        model = new ReplayModel(Tokenizer, answer);
        engine = new InferenceEngine(model, Tokenizer, threads, new EngineOptions { CacheTokens = 4096, PageTokens = 16, PrefillTokens = 4096, PrefillTokensBesideDecode = 4096 });
        return new HadalChatClient(engine, Tokenizer, ChatTemplates.ByName(template), "replay");
    }
}
