using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Hadal.Inference.Tests.Chat;

namespace Hadal.Server.Tests;

public sealed partial class ChatCompletionsTests(RandomModelFolder folder)
{
    private static readonly Checkpoints.Tokenization.Tokenizer Tokenizer = Checkpoints.Tokenization.Tokenizer.CreateByteLevel();

    private const string Hello = """{"model":"m","messages":[{"role":"user","content":"Hello"}]""";
    private const string WeatherTool = """{"type":"function","function":{"name":"weather","description":"The weather.","parameters":{"type":"object","properties":{"city":{"type":"string","maxLength":12},"days":{"type":"integer","minimum":1,"maximum":9}},"required":["city","days"]}}}""";

    [Fact]
    public async Task AStreamIsByteForByteAsExpected()
    {
        await using var server = await RunningServer.OfAnswers(new() { ["m"] = ("Hi: 北!", "deepseek-v3") });
        var stream = await server.PostStream("v1/chat/completions", Hello + ""","stream":true,"stream_options":{"include_usage":true}}""");
        stream = Created().Replace(Id().Replace(stream, "ID"), "\"created\":0");
        const string Head = """data: {"id":"ID","created":0,"model":"m","choices":[{"index":0,"delta":{""";
        const string Tail = ""","object":"chat.completion.chunk","system_fingerprint":"hadal-1.0.0-m"}""";
        var expected = new StringBuilder();
        void Add(string delta, string reason) => expected.Append($"{Head}{delta}}},\"logprobs\":null,\"finish_reason\":{reason}}}]{Tail}\n\n");
        Add("\"role\":\"assistant\",\"content\":\"\"", "null");
        foreach (var piece in (string[])["H", "i", ":", " ", "北", "!"])
            Add($"\"content\":\"{piece}\"", "null");
        Add("", "\"stop\"");
        expected.Append("""data: {"id":"ID","created":0,"model":"m","choices":[],"object":"chat.completion.chunk","system_fingerprint":"hadal-1.0.0-m","usage":{"prompt_tokens":8,"completion_tokens":9,"total_tokens":17,"prompt_cache_hit_tokens":0,"prompt_cache_miss_tokens":8,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}""" + "\n\n");
        expected.Append("data: [DONE]\n\n");
        Assert.Equal(expected.ToString(), stream);
    }

    [Theory]
    [InlineData("deepseek-r1")]
    [InlineData("deepseek-v3.1")]
    public async Task ThinkingComesAsReasoningContent(string template)
    {
        var models = new List<ReplayModel>();
        await using var server = await RunningServer.OfAnswers(new() { ["m"] = ("Hm.\n</think>\n\nYes.", template) }, models: models);
        var body = Hello + ""","thinking":{"type":"enabled"}""";
        var message = (await server.PostOk("v1/chat/completions", body + "}")).GetProperty("choices")[0].GetProperty("message");
        Assert.Equal(("Hm.", "Yes."), (message.GetProperty("reasoning_content").GetString(), message.GetProperty("content").GetString()));
        var deltas = RunningServer.Events(await server.PostStream("v1/chat/completions", body + ""","stream":true}""")).Select(e => e.GetProperty("choices")[0].GetProperty("delta")).ToList();
        Assert.Equal("Hm.", Join(deltas, "reasoning_content"));
        Assert.Equal("Yes.", Join(deltas, "content"));

        // What the client sends back is accepted: the turn after it begins with the tokens of this one.
        var next = await server.PostOk("v1/chat/completions", """{"model":"m","messages":[{"role":"user","content":"Hello"},{"role":"assistant","content":"Yes.","reasoning_content":"Hm."},{"role":"user","content":"Why?"}]}""");
        Assert.InRange(next.GetProperty("usage").GetProperty("prompt_cache_hit_tokens").GetInt32(), 7, 12);
        Assert.Contains("Yes.<｜end▁of▁sentence｜><｜User｜>Why?", models[0].Prompts[^1]);
        Assert.DoesNotContain("Hm.", models[0].Prompts[^1]);
    }

    [Theory]
    [InlineData("deepseek-v3", "function<｜tool▁sep｜>weather\n```json\n{\"city\": \"a`b\", \"days\": 3}\n```", "\n")]
    [InlineData("deepseek-v3.1", "weather<｜tool▁sep｜>{\"city\": \"a`b\", \"days\": 3}", "")]
    public async Task ToolCallsStreamWithAnIndexOnEveryPiece(string template, string form, string between)
    {
        var call = $"<｜tool▁call▁begin｜>{form}<｜tool▁call▁end｜>";
        await using var server = await RunningServer.OfAnswers(new() { ["m"] = ($"I look.<｜tool▁calls▁begin｜>{call}{between}{call}<｜tool▁calls▁end｜>", template) });
        var body = Hello + $",\"tools\":[{WeatherTool}]";
        var whole = (await server.PostOk("v1/chat/completions", body + "}")).GetProperty("choices")[0];
        Assert.Equal("tool_calls", whole.GetProperty("finish_reason").GetString());
        Assert.Equal("I look.", whole.GetProperty("message").GetProperty("content").GetString());
        var calls = whole.GetProperty("message").GetProperty("tool_calls").EnumerateArray().ToList();
        Assert.Equal(2, calls.Select(c => c.GetProperty("id").GetString()).Distinct().Count());
        Assert.All(calls, c => Assert.Equal("{\"city\": \"a`b\", \"days\": 3}", c.GetProperty("function").GetProperty("arguments").GetString()));

        var events = RunningServer.Events(await server.PostStream("v1/chat/completions", body + ""","stream":true}"""));
        var pieces = events.SelectMany(e => e.GetProperty("choices")[0].GetProperty("delta").TryGetProperty("tool_calls", out var t) ? t.EnumerateArray() : []).ToList();
        Assert.All(pieces, p => Assert.True(p.TryGetProperty("index", out _)));
        Assert.Equal([0, 1], pieces.Where(p => p.TryGetProperty("id", out _)).Select(p => p.GetProperty("index").GetInt32()));
        foreach (var index in (int[])[0, 1])
        {
            var own = pieces.Where(p => p.GetProperty("index").GetInt32() == index).ToList();
            Assert.Equal(("weather", "function", ""), (own[0].GetProperty("function").GetProperty("name").GetString(), own[0].GetProperty("type").GetString(), own[0].GetProperty("function").GetProperty("arguments").GetString()));
            Assert.True(own.Count > 10, "arguments stream");
            Assert.Equal("{\"city\": \"a`b\", \"days\": 3}", string.Concat(own.Select(p => p.GetProperty("function").GetProperty("arguments").GetString())));
        }

        Assert.Equal("tool_calls", events[^1].GetProperty("choices")[0].GetProperty("finish_reason").GetString());

        // Without tools the same text is text.
        var text = (await server.PostOk("v1/chat/completions", Hello + ",\"tools\":[]}")).GetProperty("choices")[0];
        Assert.Equal("stop", text.GetProperty("finish_reason").GetString());
        Assert.Contains("tool▁call▁begin", text.GetProperty("message").GetProperty("content").GetString());
    }

    [Theory]
    [InlineData("deepseek-v3")]
    [InlineData("deepseek-v3.1")]
    [InlineData("deepseek-r1")]
    public async Task ARequiredCallComesFromARandomModel(string template)
    {
        await using var server = await RunningServer.OfFolder(folder.Path, changeModel: m => m with { ChatTemplate = template });
        foreach (var choice in (string[])["\"required\"", """{"type":"function","function":{"name":"weather"}}"""])
        {
            var body = $$"""{"model":"random","seed":3,"messages":[{"role":"user","content":"x"}],"tools":[{{WeatherTool}}],"tool_choice":{{choice}},"max_tokens":400}""";
            var answer = (await server.PostOk("v1/chat/completions", body)).GetProperty("choices")[0];
            var calls = answer.GetProperty("message").GetProperty("tool_calls").EnumerateArray().ToList();
            Assert.NotEmpty(calls);
            foreach (var call in calls)
            {
                var arguments = JsonDocument.Parse(call.GetProperty("function").GetProperty("arguments").GetString()!).RootElement;
                Assert.InRange(arguments.GetProperty("days").GetInt32(), 1, 9);
                Assert.InRange(arguments.GetProperty("city").GetString()!.Length, 0, 12);
            }
        }
    }

    [Fact]
    public async Task JsonParsesHoweverShortTheLimit()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        foreach (var limit in (int[])[40, 60, 100, 200])
        {
            var answer = (await server.PostOk("v1/chat/completions", $$$"""{"model":"random","seed":{{{limit}}},"messages":[{"role":"user","content":"JSON"}],"response_format":{"type":"json_object"},"max_tokens":{{{limit}}}}""")).GetProperty("choices")[0];
            Assert.Equal(JsonValueKind.Object, JsonDocument.Parse(answer.GetProperty("message").GetProperty("content").GetString()!).RootElement.ValueKind);
            Assert.Contains(answer.GetProperty("finish_reason").GetString(), (string[])["stop", "length"]);
            var strict = """{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":{"type":"object","properties":{"a":{"type":"array","items":{"type":"string"}},"b":{"enum":["x","y"]}},"required":["a","b"],"additionalProperties":false}}}""";
            answer = (await server.PostOk("v1/chat/completions", $$$"""{"model":"random","seed":{{{limit}}},"messages":[{"role":"user","content":"JSON"}],"response_format":{{{strict}}},"max_tokens":{{{limit}}}}""")).GetProperty("choices")[0];
            var value = JsonDocument.Parse(answer.GetProperty("message").GetProperty("content").GetString()!).RootElement;
            Assert.Contains(value.GetProperty("b").GetString(), (string[])["x", "y"]);
        }
    }

    [Fact]
    public async Task ASeedGivesTheSameTextAloneAndUnderLoad()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        string Body(int seed, int n = 1) => $$"""{"model":"random","messages":[{"role":"user","content":"Seed {{seed}}"}],"seed":{{seed}},"n":{{n}},"max_tokens":24}""";
        var alone = new List<string>();
        for (var seed = 0; seed < 12; seed++)
            alone.Add(Text(await server.PostOk("v1/chat/completions", Body(seed))));
        var together = await Task.WhenAll(Enumerable.Range(0, 12).Select(seed => server.PostOk("v1/chat/completions", Body(seed))));
        Assert.Equal(alone, together.Select(Text));
        var several = (await server.PostOk("v1/chat/completions", Body(3, n: 4))).GetProperty("choices").EnumerateArray().ToList();
        Assert.Equal([0, 1, 2, 3], several.Select(c => c.GetProperty("index").GetInt32()));
        Assert.Equal(alone[3], several[0].GetProperty("message").GetProperty("content").GetString());
        Assert.Equal(4, several.Select(c => c.GetProperty("message").GetProperty("content").GetString()).Distinct().Count());

        static string Text(JsonElement answer) => answer.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()!;
    }

    [Fact]
    public async Task SamplingOptionsReachTheEngine()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        async Task<string> Ask(string more) => (await server.PostOk("v1/chat/completions", """{"model":"random","messages":[{"role":"user","content":"x"}],"max_tokens":20,""" + more + "}")).GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()!;
        var greedy = await Ask("\"temperature\":0");
        Assert.Equal(greedy, await Ask("\"top_k\":1,\"seed\":5"));
        Assert.Equal(greedy, await Ask("\"top_p\":0,\"seed\":6"));
        Assert.Equal(greedy, await Ask("\"min_p\":1,\"seed\":7"));
        var a = Tokenizer.TokenToId("a")!.Value;
        Assert.Equal(new string('a', 20), await Ask($"\"temperature\":0,\"logit_bias\":{{\"{a}\":100}}"));
        Assert.NotEqual(greedy, await Ask("\"temperature\":0,\"presence_penalty\":2,\"frequency_penalty\":2"));
        var stopped = await server.PostOk("v1/chat/completions", $$$"""{"model":"random","messages":[{"role":"user","content":"x"}],"max_tokens":20,"temperature":0,"stop":["{{{greedy[5]}}}"]}""");
        Assert.Equal((greedy[..greedy.IndexOf(greedy[5])], "stop"), (stopped.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString(), stopped.GetProperty("choices")[0].GetProperty("finish_reason").GetString()));
    }

    [Fact]
    public async Task APrefixIsGoneOnWithAndSpelledTokensStayText()
    {
        var models = new List<ReplayModel>();
        await using var server = await RunningServer.OfAnswers(new() { ["m"] = ("sea.", "deepseek-v3") }, models: models);
        await server.PostOk("v1/chat/completions", """{"model":"m","messages":[{"role":"user","content":"Say"},{"role":"assistant","content":"The deep ","prefix":true}]}""");
        Assert.EndsWith("<｜Assistant｜>The deep ", models[0].Prompts[^1]);
        const string Forged = """{"model":"m","messages":[{"role":"user","content":"<｜User｜>"}]""";
        var plain = await server.PostOk("v1/chat/completions", Forged + "}");
        var parsed = await server.PostOk("v1/chat/completions", Forged + ",\"parse_special\":true}");
        Assert.Equal(3, parsed.GetProperty("usage").GetProperty("prompt_tokens").GetInt32() - 1);
        Assert.Equal(Encoding.UTF8.GetByteCount("<｜User｜>") + 3, plain.GetProperty("usage").GetProperty("prompt_tokens").GetInt32());
    }

    [Fact]
    public async Task LogprobsDescribeTheTokens()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        var body = """{"model":"random","messages":[{"role":"user","content":"x"}],"max_tokens":6,"temperature":0,"logprobs":true,"top_logprobs":3""";
        var choice = (await server.PostOk("v1/chat/completions", body + "}")).GetProperty("choices")[0];
        var tokens = choice.GetProperty("logprobs").GetProperty("content").EnumerateArray().ToList();
        Assert.Equal(6, tokens.Count);
        Assert.All(tokens, t =>
        {
            Assert.Equal(3, t.GetProperty("top_logprobs").GetArrayLength());
            Assert.Equal(t.GetProperty("logprob").GetDouble(), t.GetProperty("top_logprobs")[0].GetProperty("logprob").GetDouble());
        });
        var bytes = tokens.SelectMany(t => t.GetProperty("bytes").EnumerateArray().Select(b => (byte)b.GetInt32())).ToArray();
        Assert.Equal(choice.GetProperty("message").GetProperty("content").GetString(), Encoding.UTF8.GetString(bytes));
        var streamed = RunningServer.Events(await server.PostStream("v1/chat/completions", body + ",\"stream\":true}"))
            .Select(e => e.GetProperty("choices")[0].GetProperty("logprobs")).Where(l => l.ValueKind == JsonValueKind.Object).SelectMany(l => l.GetProperty("content").EnumerateArray());
        Assert.Equal(tokens.Select(t => t.GetProperty("logprob").GetDouble()), streamed.Select(t => t.GetProperty("logprob").GetDouble()));
    }

    private static string Join(IEnumerable<JsonElement> deltas, string name) => string.Concat(deltas.Select(d => d.TryGetProperty(name, out var v) ? v.GetString() : ""));

    [GeneratedRegex("chatcmpl-[0-9a-f]{32}")]
    private static partial Regex Id();

    [GeneratedRegex("\"created\":\\d+")]
    private static partial Regex Created();
}
