using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Tests.Upstreams;

public sealed class UpstreamTests(RandomModelFolder folder)
{
    private const string Chunk = """data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"theirs","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}""" + "\n\n";
    private const string UsageChunk = """data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"theirs","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}""" + "\n\n";
    private const string Whole = """{"id":"c","object":"chat.completion","created":1,"model":"theirs","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}""";

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AnswersPassThroughWithTheirNamesKeysAndUsage()
    {
        Environment.SetEnvironmentVariable("HADAL_TEST_UPSTREAM_KEY", "secret-1");
        await using var upstream = await FakeUpstream.Start(Answer);
        await using var server = await Start(upstream, u => u with { KeyVariable = "HADAL_TEST_UPSTREAM_KEY" });
        var answer = await server.PostOk("v1/chat/completions", Ask("nice", "\"seed\":1,\"unknown\":{\"kept\":true}"));
        Assert.Equal("Hi", answer.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString());
        var (sent, key) = upstream.Requests[^1];
        Assert.Equal(("theirs", true, "Bearer secret-1"), (sent.GetProperty("model").GetString(), sent.GetProperty("unknown").GetProperty("kept").GetBoolean(), key));

        // Usage is asked for in any case, and shown to those who asked.
        Assert.Equal(Chunk + "data: [DONE]\n\n", await server.PostStream("v1/chat/completions", Ask("nice", "\"stream\":true")));
        Assert.True(upstream.Requests[^1].Body.GetProperty("stream_options").GetProperty("include_usage").GetBoolean());
        Assert.Equal(Chunk + UsageChunk + "data: [DONE]\n\n", await server.PostStream("v1/chat/completions", Ask("nice", "\"stream\":true,\"stream_options\":{\"include_usage\":true}")));
        var metrics = await server.Client.GetStringAsync(new Uri("metrics", UriKind.Relative), Cancellation);
        Assert.Contains("gen_ai_client_token_usage_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"other\",gen_ai_request_model=\"nice\",gen_ai_token_type=\"output\"} 15", metrics);
        var list = await server.Client.GetStringAsync(new Uri("v1/models", UriKind.Relative), Cancellation);
        Assert.Contains("\"nice\"", list);
        Assert.Contains("\"owned_by\":\"other\"", list);
    }

    [Theory]
    [InlineData("500", 502, "upstream_error")]
    [InlineData("401", 502, "upstream_error")]
    [InlineData("429", 429, "rate_limit_exceeded")]
    [InlineData("422", 422, "their_code")]
    [InlineData("stall", 504, "upstream_timeout")]
    [InlineData("abort", 502, "upstream_error")]
    public async Task FailuresBeforeTheAnswerHaveAStatus(string failure, int status, string code)
    {
        await using var upstream = await FakeUpstream.Start(context => Fail(context, failure));
        await using var server = await Start(upstream, u => u);
        foreach (var more in (string[])["\"n\":1", "\"stream\":true"])
        {
            var (found, body) = await server.Post("v1/chat/completions", Ask("theirs", more));
            Assert.Equal((status, code), (found, body.GetProperty("error").GetProperty("code").GetString()));
            Assert.DoesNotContain("secret", body.ToString());
        }
    }

    [Fact]
    public async Task ARetryOrAFallbackAnswersInstead()
    {
        var count = 0;
        await using var flaky = await FakeUpstream.Start(context => Interlocked.Increment(ref count) == 1 ? Fail(context, "500") : Answer(context));
        await using var broken = await FakeUpstream.Start(context => Fail(context, "500"));
        await using (var server = await Start(flaky, u => u with { Retries = 1 }))
            Assert.Equal("Hi", (await server.PostOk("v1/chat/completions", Ask("theirs"))).GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString());
        await using (var server = await Start(broken, u => u, o => o with
        {
            Upstreams = [.. o.Upstreams, new UpstreamOptions { Name = "second", BaseUrl = flaky.Api, Models = ["spare"] }],
            Fallbacks = new Dictionary<string, IReadOnlyList<string>> { ["theirs"] = ["spare", "random"] },
        }))
        {
            Assert.Equal("Hi", (await server.PostOk("v1/chat/completions", Ask("theirs"))).GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString());
            Assert.Equal("spare", flaky.Requests[^1].Body.GetProperty("model").GetString());
        }

        // The last resort is on this machine.
        await using (var server = await Start(broken, u => u, o => o with { Fallbacks = new Dictionary<string, IReadOnlyList<string>> { ["theirs"] = ["random"] } }))
            Assert.StartsWith("hadal-", (await server.PostOk("v1/chat/completions", Ask("theirs", "\"max_tokens\":2"))).GetProperty("system_fingerprint").GetString());
    }

    [Theory]
    [InlineData("cut")]
    [InlineData("cut politely")]
    [InlineData("stall in the middle")]
    public async Task AStreamThatEndsEarlyEndsWithAnError(string failure)
    {
        await using var upstream = await FakeUpstream.Start(async context =>
        {
            context.Response.ContentType = "text/event-stream";
            await context.Response.WriteAsync(Chunk);
            await context.Response.Body.FlushAsync();
            if (failure == "cut")
            {
                // What was sent has to arrive before the connection goes.
                await Task.Delay(300);
                context.Abort();
            }
            else if (failure == "stall in the middle")
                await Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(_ => { }, TaskScheduler.Default);
        });
        await using var server = await Start(upstream, u => u);
        var stream = await server.PostStream("v1/chat/completions", Ask("theirs", "\"stream\":true"));
        Assert.StartsWith(Chunk, stream);
        Assert.DoesNotContain("[DONE]", stream);
        var error = JsonDocument.Parse(stream[Chunk.Length..]["data: ".Length..]).RootElement.GetProperty("error");
        Assert.Equal("upstream_error", error.GetProperty("code").GetString());
    }

    [Fact]
    public async Task AClientThatGoesEndsTheUpstreamsWork()
    {
        var gone = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var upstream = await FakeUpstream.Start(async context =>
        {
            context.Response.ContentType = "text/event-stream";
            try
            {
                while (!context.RequestAborted.IsCancellationRequested)
                {
                    await context.Response.WriteAsync(Chunk, context.RequestAborted);
                    await context.Response.Body.FlushAsync(context.RequestAborted);
                    await Task.Delay(10, context.RequestAborted);
                }
            }
            catch (OperationCanceledException)
            {
                // What the test waits for.
            }

            gone.TrySetResult();
        });
        await using var server = await Start(upstream, u => u);
        using (var request = new HttpRequestMessage(HttpMethod.Post, "v1/chat/completions") { Content = RunningServer.Json(Ask("theirs", "\"stream\":true")) })
        using (var response = await server.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancellation))
            _ = await (await response.Content.ReadAsStreamAsync(Cancellation)).ReadAsync(new byte[10], Cancellation);
        await gone.Task.WaitAsync(TimeSpan.FromSeconds(20), Cancellation);
    }

    [Fact]
    public void AnUpstreamWithoutAddressOrKeyIsRefusedAtOnce()
    {
        HadalServerOptions With(UpstreamOptions upstream) => new() { Upstreams = [upstream], Listen = new ServerBinding { Port = 0 } };
        Assert.Contains("BaseUrl", Assert.Throws<ArgumentException>(() => HadalServer.Build(With(new UpstreamOptions { Name = "x" }))).Message);
        Assert.Contains("HADAL_NO_SUCH", Assert.Throws<ArgumentException>(() => HadalServer.Build(With(new UpstreamOptions { Name = "x", BaseUrl = new("http://localhost/v1"), KeyVariable = "HADAL_NO_SUCH" }))).Message);
    }

    private static string Ask(string model, string more = "\"max_tokens\":4") => $$"""{"model":"{{model}}","messages":[{"role":"user","content":"x"}],{{more}}}""";

    private static async Task Answer(HttpContext context)
    {
        var isStream = context.Features.Get<FakeUpstream.SentBody>()!.Body.TryGetProperty("stream", out var stream) && stream.GetBoolean();
        context.Response.ContentType = isStream ? "text/event-stream" : "application/json";
        await context.Response.WriteAsync(isStream ? Chunk + UsageChunk + "data: [DONE]\n\n" : Whole);
    }

    private static Task Fail(HttpContext context, string how)
    {
        switch (how)
        {
            case "stall":
                return Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(_ => { }, TaskScheduler.Default);
            case "abort":
                context.Abort();
                return Task.CompletedTask;
            default:
                context.Response.StatusCode = int.Parse(how);
                return context.Response.WriteAsJsonAsync(new { error = new { message = "secret detail of theirs"[(how == "422" ? 7 : 0)..], type = "invalid_request_error", param = (string?)null, code = "their_code" } });
        }
    }

    private Task<RunningServer> Start(FakeUpstream upstream, Func<UpstreamOptions, UpstreamOptions> change, Func<HadalServerOptions, HadalServerOptions>? more = null) =>
        RunningServer.OfFolder(folder.Path, o => (more ?? (x => x))(o with
        {
            Upstreams = [change(new UpstreamOptions { Name = "other", BaseUrl = upstream.Api, Models = ["theirs"], Aliases = new Dictionary<string, string> { ["nice"] = "theirs" }, TimeoutSeconds = 1.5, IdleSeconds = 0.6, Retries = 0 })],
        }));
}
