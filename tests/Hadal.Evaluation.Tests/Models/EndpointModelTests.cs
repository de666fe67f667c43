using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Hadal.Evaluation.Models;

namespace Hadal.Evaluation.Tests.Models;

/// <summary>A server that behaves, and servers that do not: none of them leads to a score that is chance in disguise.</summary>
public sealed class EndpointModelTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task LoglikelihoodsAreSumsOverTheContinuation()
    {
        await using var model = Model(Good);
        await model.CheckAsync(loglikelihood: true, Cancellation);
        var scores = await model.LoglikelihoodsAsync([new("ab", "cd"), new("深海😀", "是蓝😀")], Cancellation);
        Assert.Equal(Logprob('c') + Logprob('d'), scores[0].Sum, 1e-12);
        Assert.Equal((2, 3), (scores[0].Tokens, scores[1].Tokens));
    }

    [Fact]
    public async Task RollingScoresEveryCharacterOnce()
    {
        await using var model = Model(Good, o => o with { WindowCharacters = 7 });
        var text = "exactly once, every one of them";
        var score = (await model.RollingAsync([text], Cancellation))[0];
        Assert.Equal(text.Skip(1).Sum(Logprob), score.Sum, 1e-9);
        Assert.Equal(text.Length - 1, score.Tokens);
    }

    [Theory]
    [InlineData("no logprobs")]
    [InlineData("null logprobs")]
    [InlineData("only generated")]
    [InlineData("constant")]
    [InlineData("zero")]
    [InlineData("cut prompt")]
    [InlineData("nulls inside")]
    [InlineData("no choices")]
    [InlineData("refused")]
    public async Task AServerWithoutPromptLogprobsIsRefusedByTheProbe(string kind)
    {
        await using var model = Model((request, _) => kind switch
        {
            "refused" => Answer(400, new JsonObject { ["error"] = new JsonObject { ["message"] = "echo is not supported" } }),
            "no choices" => Answer(200, new JsonObject()),
            _ => Answer(200, Spoil(Echo(Prompt(request)), kind)),
        });
        var refusal = await Assert.ThrowsAsync<ModelUnfitException>(() => model.CheckAsync(loglikelihood: true, Cancellation));
        Assert.DoesNotContain('\n', refusal.Message);
        await model.CheckAsync(loglikelihood: false, Cancellation);
    }

    [Fact]
    public async Task AServerThatGoesBadDuringTheRunEndsIt()
    {
        var asked = 0;
        await using var model = Model((request, _) => Answer(200, ++asked > 2 ? Spoil(Echo(Prompt(request)), "null logprobs") : Echo(Prompt(request))));
        await model.CheckAsync(loglikelihood: true, Cancellation);
        await Assert.ThrowsAsync<InvalidDataException>(() => model.LoglikelihoodsAsync([new("ab", "cd")], Cancellation));
    }

    [Theory]
    [InlineData("429")]
    [InlineData("500")]
    [InlineData("503 later")]
    [InlineData("cut json")]
    [InlineData("broken")]
    [InlineData("timeout")]
    public async Task WhatMayPassIsTriedAgain(string trouble)
    {
        var attempts = 0;
        await using var model = Model(
            async (request, cancellation) =>
            {
                if (++attempts >= 3)
                    return await Answer(200, Echo(Prompt(request)));
                switch (trouble)
                {
                    case "429": return await Answer(429, new JsonObject());
                    case "500": return await Answer(500, new JsonObject());
                    case "503 later":
                        var later = await Answer(503, new JsonObject());
                        later.Headers.Add("Retry-After", "0");
                        return later;
                    case "cut json": return new HttpResponseMessage(HttpStatusCode.OK) { Content = new StringContent("{\"choices\": [{\"te") };
                    case "broken": throw new HttpRequestException("the connection was closed");
                    default:
                        await Task.Delay(Timeout.Infinite, cancellation);
                        throw new InvalidOperationException();
                }
            },
            o => o with { Timeout = TimeSpan.FromMilliseconds(trouble == "timeout" ? 200 : 10_000) });
        Assert.Equal(Logprob('c'), (await model.LoglikelihoodsAsync([new("ab", "c")], Cancellation))[0].Sum, 1e-12);
        Assert.Equal(3, attempts);
    }

    [Fact]
    public async Task WhatDoesNotPassIsGivenUp()
    {
        var attempts = 0;
        await using var broken = Model((_, _) => { attempts++; return Answer(500, new JsonObject { ["error"] = new JsonObject { ["message"] = "out\nof memory" } }); });
        var failure = await Assert.ThrowsAsync<EndpointException>(() => broken.GenerateAsync([new("a", [], 4)], Cancellation));
        Assert.Contains("HTTP 500: out of memory (after 4 attempts)", failure.Message);
        Assert.Equal(4, attempts);
        attempts = 0;
        await using var unknown = Model((_, _) => { attempts++; return Answer(404, new JsonObject()); });
        await Assert.ThrowsAsync<EndpointException>(() => unknown.GenerateAsync([new("a", [], 4)], Cancellation));
        Assert.Equal(1, attempts);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task GenerationsAreCutAtEveryStopString(bool chat)
    {
        JsonObject? seen = null;
        await using var model = Model(
            (request, _) =>
            {
                seen = request;
                var choice = new JsonObject { ["finish_reason"] = "length" };
                if (chat)
                    choice["message"] = new JsonObject { ["content"] = "one two END three" };
                else
                    choice["text"] = "one two END three";
                return Answer(200, new JsonObject { ["choices"] = new JsonArray(choice) });
            },
            o => o with { Chat = chat });
        var outputs = await model.GenerateAsync([new("p", ["1", "2", "3", "4", "END"], 9), new("p", [], 9)], Cancellation);
        Assert.Equal([new Generation("one two ", false), new Generation("one two END three", true)], outputs);
        Assert.Equal(chat, seen!.ContainsKey("messages"));
    }

    [Fact]
    public async Task NoMoreRequestsAreSentAtOnceThanAllowed()
    {
        var (now, most) = (0, 0);
        await using var model = Model(
            async (request, cancellation) =>
            {
                most = Math.Max(most, Interlocked.Increment(ref now));
                await Task.Delay(10, cancellation);
                Interlocked.Decrement(ref now);
                return await Answer(200, Echo(Prompt(request)));
            },
            o => o with { Concurrency = 3 });
        await model.LoglikelihoodsAsync([.. Enumerable.Range(0, 20).Select(i => new LoglikelihoodRequest("a", $"{i}"))], Cancellation);
        Assert.InRange(most, 2, 3);
    }

    private static double Logprob(char c) => -0.1 - (c % 17 / 10.0);

    private static Task<HttpResponseMessage> Good(JsonObject request, CancellationToken cancellation) => Answer(200, Echo(Prompt(request)));

    private static string Prompt(JsonObject request)
    {
        Assert.True((bool)request["echo"]!);
        return (string)request["prompt"]!;
    }

    // A token for each character, and one that was generated.
    private static JsonObject Echo(string prompt)
    {
        var tokens = prompt.EnumerateRunes().Select(r => r.ToString()).Append("!").ToList();
        return new JsonObject
        {
            ["choices"] = new JsonArray(new JsonObject
            {
                ["text"] = prompt + "!",
                ["logprobs"] = new JsonObject
                {
                    ["tokens"] = new JsonArray([.. tokens.Select(t => (JsonNode)t)]),
                    ["token_logprobs"] = new JsonArray([.. tokens.Select((t, i) => i == 0 ? null : (JsonNode)Logprob(t[0]))]),
                    ["text_offset"] = new JsonArray([.. tokens.Select((_, i) => (JsonNode)i)]),
                },
            }),
        };
    }

    private static JsonObject Spoil(JsonObject answer, string kind)
    {
        var choice = answer["choices"]![0]!.AsObject();
        var logprobs = choice["logprobs"]!.AsObject();
        var values = logprobs["token_logprobs"]!.AsArray();
        switch (kind)
        {
            case "no logprobs":
                choice.Remove("logprobs");
                break;
            case "null logprobs":
                choice["logprobs"] = null;
                break;
            case "only generated":
                choice["text"] = "!";
                logprobs["tokens"] = new JsonArray("!");
                logprobs["token_logprobs"] = new JsonArray(-0.5);
                logprobs["text_offset"] = new JsonArray(0);
                break;
            case "constant" or "zero":
                for (var i = 1; i < values.Count; i++)
                    values[i] = kind == "zero" ? 0 : -1;
                // The two words have different lengths; a server that answers any text alike answers with one token.
                logprobs["token_logprobs"] = values.DeepClone();
                if (kind == "constant")
                {
                    var text = ((string)choice["text"]!)[..^1];
                    var start = text.LastIndexOf(' ');
                    logprobs["tokens"] = new JsonArray(text[..start], text[start..], "!");
                    logprobs["token_logprobs"] = new JsonArray(null, -1, -1);
                    logprobs["text_offset"] = new JsonArray(0, start, text.Length);
                }

                break;
            case "cut prompt":
                choice["text"] = ((string)choice["text"]!)[10..];
                break;
            default:
                values[^3] = null;
                break;
        }

        return answer;
    }

    private static Task<HttpResponseMessage> Answer(int status, JsonObject body) =>
        Task.FromResult(new HttpResponseMessage((HttpStatusCode)status) { Content = new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json") });

    private static EndpointModel Model(Func<JsonObject, CancellationToken, Task<HttpResponseMessage>> answer, Func<EndpointOptions, EndpointOptions>? change = null)
    {
        var options = new EndpointOptions { Endpoint = new Uri("http://server.test/v1"), Model = "m", Attempts = 4, FirstWait = TimeSpan.FromMilliseconds(1) };
        return new EndpointModel(change?.Invoke(options) ?? options, new Fake(answer));
    }

    private sealed class Fake(Func<JsonObject, CancellationToken, Task<HttpResponseMessage>> answer) : HttpMessageHandler
    {
        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            Assert.StartsWith("/v1/", request.RequestUri!.AbsolutePath);
            return await answer(JsonNode.Parse(await request.Content!.ReadAsStringAsync(cancellationToken))!.AsObject(), cancellationToken);
        }
    }
}
