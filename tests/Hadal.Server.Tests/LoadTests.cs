using System.Text.Json;
using Hadal.Checkpoints.Chat;
using Hadal.Server.Models;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hadal.Server.Tests;

/// <summary>Many clients, clients that go, a server that stops, models that make room for each other. By themselves: the handles of this process are counted.</summary>
[CollectionDefinition(nameof(LoadTests), DisableParallelization = true)]
[Collection(nameof(LoadTests))]
public sealed class LoadTests(RandomModelFolder folder)
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    // A short run; HADAL_LOAD_SECONDS makes it a long one.
    private static TimeSpan Duration => TimeSpan.FromSeconds(double.TryParse(Environment.GetEnvironmentVariable("HADAL_LOAD_SECONDS"), out var seconds) ? seconds : 4);

    [Fact]
    public async Task ConnectionsDroppedAtRandomLeakNothing()
    {
        await using var server = await RunningServer.OfFolder(folder.Path, changeModel: m => m with { CacheTokens = 8192 });
        await server.PostOk("v1/chat/completions", Ask("warm up", 4));
        var handles = Handles();
        var (begun, finished) = (0, 0);
        using var until = new CancellationTokenSource(Duration);
        await Task.WhenAll(Enumerable.Range(0, 200).Select(Visit));
        Assert.True(begun > 200 && finished > 0, $"{finished} of {begun} finished");

        // Sequences end with the step after their client has gone, sockets a moment later.
        var statistics = server.Engine.Statistics;
        for (var i = 0; i < 200 && (statistics.Running > 0 || statistics.Waiting > 0 || Handles() > handles + 20); i++)
        {
            await Task.Delay(50, Cancellation);
            statistics = server.Engine.Statistics;
        }

        Assert.Equal((0, 0), (statistics.Running, statistics.Waiting));
        Assert.Equal(statistics.Pages, statistics.FreePages + statistics.PrefixPages);
        await server.Engine.CheckIntegrityAsync();
        Assert.InRange(Handles(), 0, handles + 20);
        Assert.All(server.Shelf.Loaded, l => Assert.False(l.InUse));

        async Task Visit(int visitor)
        {
            var random = new Random(visitor);
            while (!until.IsCancellationRequested)
            {
                using var client = new HttpClient { BaseAddress = server.Client.BaseAddress };
                using var leave = new CancellationTokenSource(TimeSpan.FromMilliseconds(random.Next(1, 600)));
                Interlocked.Increment(ref begun);
                try
                {
                    using var request = new HttpRequestMessage(HttpMethod.Post, "v1/chat/completions") { Content = RunningServer.Json(Ask($"{visitor % 20} {random.Next(3)}", random.Next(1, 200), stream: random.Next(2) == 0, n: random.Next(1, 3))) };
                    using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, leave.Token);
                    await response.Content.ReadAsStringAsync(leave.Token);
                    Interlocked.Increment(ref finished);
                }
                catch (Exception e) when (e is OperationCanceledException or HttpRequestException or IOException)
                {
                    // It has gone, as it was to.
                }
            }
        }

        static int Handles() => OperatingSystem.IsLinux() ? Directory.GetFiles("/proc/self/fd").Length : 0;
    }

    [Fact]
    public async Task AFullQueueIs429WithRetryAfter()
    {
        await using var server = await RunningServer.OfFolder(folder.Path, changeModel: m => m with { MaxSequences = 1, MaxWaiting = 1 });
        await server.PostOk("v1/chat/completions", Ask("warm up", 1));
        var statuses = await Task.WhenAll(Enumerable.Range(0, 12).Select(async i =>
        {
            using var response = await server.Client.PostAsync(new Uri("v1/chat/completions", UriKind.Relative), RunningServer.Json(Ask($"{i}", 300)), Cancellation);
            if ((int)response.StatusCode == 429)
            {
                Assert.NotNull(response.Headers.RetryAfter);
                Assert.Equal("rate_limit_exceeded", JsonDocument.Parse(await response.Content.ReadAsStringAsync(Cancellation)).RootElement.GetProperty("error").GetProperty("code").GetString());
            }

            return (int)response.StatusCode;
        }));
        Assert.Contains(200, statuses);
        Assert.Contains(429, statuses);
        Assert.All(statuses, s => Assert.Contains(s, (int[])[200, 429]));
    }

    [Fact]
    public async Task ADeadlineEndsAnAnswerWithWhatThereIs()
    {
        await using var server = await RunningServer.OfFolder(folder.Path, o => o with { MaxSeconds = 0.3 });
        var answer = await server.PostOk("v1/chat/completions", """{"model":"random","messages":[{"role":"user","content":"x"}],"max_tokens":4000,"logit_bias":{"1":-100}}""");
        Assert.Equal("length", answer.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        Assert.InRange(answer.GetProperty("usage").GetProperty("completion_tokens").GetInt32(), 0, 3990);
    }

    [Fact]
    public async Task AServerThatStopsFinishesWhatRunsAndRefusesTheRest()
    {
        var server = await RunningServer.OfFolder(folder.Path, o => o with { ShutdownSeconds = 20 });
        var running = await Task.WhenAll(Enumerable.Range(0, 6).Select(i => server.OpenStream("v1/chat/completions", Unending($"{i}", 300))));
        using var late = new HttpClient { BaseAddress = server.Client.BaseAddress };
        using (var first = await late.GetAsync(new Uri("health", UriKind.Relative), Cancellation))
            Assert.True(first.IsSuccessStatusCode);

        var stopping = server.App.StopAsync(CancellationToken.None);
        Assert.Contains(await AskLate(), (int[])[503, 0]);
        foreach (var response in running)
        {
            var events = RunningServer.Events(await response.Content.ReadAsStringAsync(Cancellation));
            Assert.Equal("length", events.Last(e => e.GetProperty("choices").GetArrayLength() > 0).GetProperty("choices")[0].GetProperty("finish_reason").GetString());
            response.Dispose();
        }

        await stopping;
        await server.DisposeAsync();

        // The refusal is an answer where the connection was open already, and no connection (0) where the socket was closed before.
        async Task<int> AskLate()
        {
            try
            {
                using var answer = await late.PostAsync(new Uri("v1/chat/completions", UriKind.Relative), RunningServer.Json(Ask("late", 4)), Cancellation);
                return (int)answer.StatusCode;
            }
            catch (HttpRequestException)
            {
                return 0;
            }
        }
    }

    [Fact]
    public async Task WhatDoesNotFinishInTimeIsToldSo()
    {
        var server = await RunningServer.OfFolder(folder.Path, o => o with { ShutdownSeconds = 0.2 });
        using var running = await server.OpenStream("v1/chat/completions", Unending("x", 4000));
        await server.App.StopAsync(CancellationToken.None);
        var stream = await running.Content.ReadAsStringAsync(Cancellation);
        Assert.DoesNotContain("[DONE]", stream);
        Assert.EndsWith("""data: {"error":{"message":"The server is shutting down.","type":"server_error","param":null,"code":"server_shutting_down"}}""" + "\n\n", stream);
        await server.DisposeAsync();
    }

    [Fact]
    public async Task AServerThatStopsGivesUpTheModelThatItLoads()
    {
        var begun = new TaskCompletionSource();
        var errors = new List<string>();
        var endless = new LocalModel("endless", 4, Resident: true, (_, _, cancellation) =>
        {
            begun.SetResult();
            cancellation.WaitHandle.WaitOne();
            throw new OperationCanceledException(cancellation);
        });
        await using var server = await RunningServer.Start(new HadalServerOptions(), builder =>
        {
            builder.Services.AddSingleton<IReadOnlyList<LocalModel>>([endless]);
            builder.Logging.AddProvider(new ErrorLog(errors));
        });
        await begun.Task;
        var asked = server.Client.PostAsync(new Uri("v1/completions", UriKind.Relative), RunningServer.Json("""{"model":"endless","prompt":"x"}"""), Cancellation);
        await server.App.StopAsync(Cancellation);
        try
        {
            using var answer = await asked;
            Assert.Equal(503, (int)answer.StatusCode);
        }
        catch (HttpRequestException)
        {
            // The socket was closed first.
        }

        Assert.Empty(errors);
    }

    [Fact]
    public async Task ModelsMakeRoomForEachOther()
    {
        var loads = new List<string>();
        LocalModel Model(string name, long bytes, bool resident = false) => new(name, bytes, resident, (_, _, _) =>
        {
            loads.Add(name);
            var model = Inference.Chat.HadalModel.Load(folder.Path, new Inference.Chat.HadalModelOptions { Threads = 1, Engine = new Inference.Engine.EngineOptions { CacheTokens = 256 } }, cancellation: Cancellation);
            return new ServedModel(name, model.Engine, model.Tokenizer, model.Template, model);
        });
        await using var shelf = new ModelShelf([Model("a", 4), Model("b", 4), Model("c", 4), Model("big", 11), Model("stays", 2, resident: true)], 10, TimeProvider.System, NullLogger.Instance);
        async Task Use(string name) => (await shelf.TakeAsync(name, Cancellation)).Dispose();
        await Use("stays");
        await Use("a");
        await Use("b");
        await Use("a");
        await Use("c");
        Assert.Equal(["stays", "a", "c"], shelf.Loaded.Select(l => l.Model.Name).OrderBy(n => n.Length > 1 ? 0 : 1).ThenBy(n => n));
        using (await shelf.TakeAsync("a", Cancellation))
        using (await shelf.TakeAsync("c", Cancellation))
        {
            var busy = await Assert.ThrowsAsync<Requests.RequestRejectedException>(() => Use("b"));
            Assert.Equal((503, "model_busy"), (busy.Status, busy.Code));
        }

        await Use("b");
        Assert.Equal("insufficient_memory", (await Assert.ThrowsAsync<Requests.RequestRejectedException>(() => Use("big"))).Code);
        Assert.Equal(["stays", "a", "b", "c", "b"], loads);

        // Many at once load it once.
        loads.Clear();
        await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => Use("c")));
        Assert.Equal(["c"], loads);
    }

    [Fact]
    public async Task OpenWebUIConnectsChatsAndAsksForATitleWithoutLosingTheConversation()
    {
        // The connection is verified by the list of models; then a chat, its title, its tags and follow-up questions, and the chat goes on.
        await using var server = await RunningServer.OfFolder(folder.Path, changeModel: m => m with { CacheTokens = 2048 });
        Assert.Equal("random", JsonDocument.Parse(await server.Client.GetStringAsync(new Uri("v1/models", UriKind.Relative), Cancellation)).RootElement.GetProperty("data")[0].GetProperty("id").GetString());
        var history = """{"role":"system","content":"SYSTEM"},{"role":"user","content":"Tell me of the deep."}""".Replace("SYSTEM", string.Concat(Enumerable.Repeat("You are a patient guide to the sea. ", 20)));
        async Task<(string Text, int Cached, int Prompt)> Turn()
        {
            var chunks = RunningServer.Events(await server.PostStream("v1/chat/completions", $$"""{"stream":true,"model":"random","messages":[{{history}}],"stream_options":{"include_usage":true},"max_tokens":32,"seed":5}"""));
            var usage = chunks[^1].GetProperty("usage");
            return (string.Concat(chunks.SelectMany(c => c.GetProperty("choices").EnumerateArray()).Select(c => c.GetProperty("delta").TryGetProperty("content", out var t) ? t.GetString() : "")),
                usage.GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32(), usage.GetProperty("prompt_tokens").GetInt32());
        }

        var first = await Turn();
        foreach (var task in (string[])["Generate a concise, 3-5 word title", "Generate 1-3 broad tags", "Suggest 3-5 relevant follow-up questions", "Analyze the chat history to determine the necessity of generating search queries"])
        {
            var prompt = $"### Task:\n{task}\n### Chat History:\n<chat_history>\nUSER: Tell me of the deep.\nASSISTANT: {first.Text}\n</chat_history>{new string('.', 500)}";
            await server.PostOk("v1/chat/completions", $$"""{"model":"random","messages":[{"role":"user","content":{{JsonSerializer.Serialize(prompt)}}}],"stream":false,"max_completion_tokens":20}""");
        }

        history += $$""",{"role":"assistant","content":{{JsonSerializer.Serialize(first.Text)}}},{"role":"user","content":"And deeper?"}""";
        var second = await Turn();
        Assert.True(second.Cached >= first.Prompt - 2, $"{second.Cached} of {first.Prompt} tokens were still cached");

        // A side request can say so itself, and one that is none can deny it.
        var pages = await PrefixPages();
        await server.PostOk("v1/chat/completions", $$"""{"model":"random","messages":[{"role":"user","content":"{{new string('y', 300)}}"}],"max_tokens":1,"side_request":true}""");
        Assert.Equal(pages, await PrefixPages());
        await server.PostOk("v1/chat/completions", $$"""{"model":"random","messages":[{"role":"user","content":"### Task: {{new string('z', 300)}}"}],"max_tokens":1,"side_request":false}""");
        Assert.True(await PrefixPages() > pages);

        // An answer ends before the step that made it does, and its pages are kept and counted.
        async Task<int> PrefixPages()
        {
            int seen;
            do
            {
                seen = server.Engine.Statistics.PrefixPages;
                await Task.Delay(50, Cancellation);
            }
            while (server.Engine.Statistics.Running > 0 || server.Engine.Statistics.PrefixPages != seen);
            return seen;
        }
    }

    [Fact]
    public async Task NothingConnectsToAnywhereElse()
    {
        using var watcher = new ConnectionWatcher();
        await using (var server = await RunningServer.OfFolder(folder.Path))
        {
            await server.PostOk("v1/chat/completions", Ask("x", 4));
            foreach (var path in (string[])["", "v1/models", "metrics", "health", "ready", "openapi.json"])
                await server.Client.GetStringAsync(new Uri(path, UriKind.Relative), Cancellation);
        }

        Assert.NotEmpty(watcher.Connections);
        Assert.All(watcher.Connections, c => Assert.Contains("127.0.0.1", c));
    }

    [Fact]
    public async Task MetricsAndReadinessTellTheState()
    {
        await using var server = await RunningServer.OfFolder(folder.Path, changeModel: m => m with { Resident = true });
        for (var i = 0; i < 200 && !(await server.Client.GetAsync(new Uri("ready", UriKind.Relative), Cancellation)).IsSuccessStatusCode; i++)
            await Task.Delay(20, Cancellation);
        Assert.Single(server.Shelf.Loaded);
        await server.PostOk("v1/chat/completions", Ask("secret words", 4));
        var metrics = await server.Client.GetStringAsync(new Uri("metrics", UriKind.Relative), Cancellation);
        foreach (var name in (string[])["gen_ai_server_request_duration_count", "gen_ai_server_time_to_first_token_count", "gen_ai_server_time_per_output_token_count", "gen_ai_client_token_usage_sum", "hadal_engine_cache_free_pages", "hadal_engine_generated_tokens"])
            Assert.Contains(name, metrics);
        Assert.DoesNotContain("secret", metrics);
    }

    private static string Ask(string text, int tokens, bool stream = false, int n = 1) =>
        $$"""{"model":"random","messages":[{"role":"user","content":"{{text}}"}],"max_tokens":{{tokens}},"stream":{{(stream ? "true" : "false")}},"n":{{n}}}""";

    // The end token can not come up, so the answer has all its tokens.
    private static string Unending(string text, int tokens) =>
        $$$"""{"model":"random","messages":[{"role":"user","content":"{{{text}}}"}],"max_tokens":{{{tokens}}},"stream":true,"logit_bias":{"1":-100}}""";
}
