using System.Text.Json;
using static Hadal.Server.Conformance.ApiProbe;

namespace Hadal.Server.Conformance;

/// <summary>Models, and answers that come whole.</summary>
internal static class ChatCases
{
    private const string Path = "chat/completions";

    public static IEnumerable<ConformanceCase> All =>
    [
        new("models", "the list has an id for each model", ListAsync),
        new("models", "a model can be asked for by its id", async p =>
        {
            var (status, model) = await p.GetAsync($"models/{p.Model}");
            ExpectEqual((200, p.Model, "model"), (status, model.GetProperty("id").GetString(), model.GetProperty("object").GetString()), "model");
        }),
        new("models", "a model that is not there is 404 model_not_found", p => p.RefusedAsync(Path, """{"model":"no-such-model","messages":[{"role":"user","content":"x"}]}""", 404, null, "model_not_found")),
        new("chat", "an answer has id, choices, message, finish_reason and usage", ShapeAsync),
        new("chat", "usage adds up", async p =>
        {
            var usage = (await p.OkAsync(Path, p.Chat())).GetProperty("usage");
            var (input, output, total) = (usage.GetProperty("prompt_tokens").GetInt32(), usage.GetProperty("completion_tokens").GetInt32(), usage.GetProperty("total_tokens").GetInt32());
            Expect(input > 0 && output is > 0 and <= 8 && total == input + output, $"{input} + {output} = {total}");
        }),
        new("chat", "max_completion_tokens limits the answer", async p => ExpectEqual(2, (await p.OkAsync(Path, p.Chat("""
            "max_completion_tokens":2,"logit_bias":{},"temperature":0
            """))).GetProperty("usage").GetProperty("completion_tokens").GetInt32(), "completion_tokens")),
        new("chat", "a stop string ends the answer and is not part of it", StopAsync),
        new("chat", "n gives so many choices, numbered", async p =>
        {
            var choices = (await p.OkAsync(Path, p.Chat("\"max_tokens\":4,\"n\":3"))).GetProperty("choices").EnumerateArray().Select(c => c.GetProperty("index").GetInt32()).Order();
            Expect(choices.SequenceEqual([0, 1, 2]), string.Join(',', choices));
        }),
        new("chat", "a seed gives the same text again", async p =>
        {
            var body = p.Chat("\"max_tokens\":12,\"seed\":42,\"temperature\":1");
            ExpectEqual(Content(await p.OkAsync(Path, body)), Content(await p.OkAsync(Path, body)), "text");
        }),
        new("chat", "system, developer, user and assistant messages are taken", p => p.OkAsync(Path, p.Body("""
            "max_tokens":2,"messages":[{"role":"system","content":"a"},{"role":"developer","content":"b"},{"role":"user","content":"c","name":"me"},{"role":"assistant","content":"d"},{"role":"user","content":"e"}]
            """))),
        new("chat", "content may be parts of text", p => p.OkAsync(Path, p.Body("""
            "max_tokens":2,"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]
            """))),
        new("chat", "fields that are null count as absent", p => p.OkAsync(Path, p.Chat("""
            "max_tokens":2,"temperature":null,"stop":null,"tools":null,"tool_choice":null,"response_format":null,"stream":null,"stream_options":null,"user":null,"seed":null,"logit_bias":null
            """))),
        new("chat", "unknown fields are ignored", p => p.OkAsync(Path, p.Chat("\"max_tokens\":2,\"no_such_field\":{\"a\":[1]},\"metadata\":{\"x\":\"y\"},\"store\":false"))),
        new("chat", "logprobs have token, bytes and alternatives", LogprobsAsync),
        new("chat", "reasoning_content that is sent back is taken", p => p.OkAsync(Path, p.Body("""
            "max_tokens":2,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"c"},{"role":"user","content":"d"}]
            """))),
    ];

    /// <summary>The text of an answer's first choice.</summary>
    public static string? Content(JsonElement answer) => answer.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString();

    private static async Task ListAsync(ApiProbe p)
    {
        var (status, list) = await p.GetAsync("models");
        ExpectEqual((200, "list"), (status, list.GetProperty("object").GetString()), "list");
        Expect(list.GetProperty("data").EnumerateArray().All(m => m.GetProperty("id").GetString() is { Length: > 0 } && m.GetProperty("object").GetString() == "model"), "a model without id");
    }

    private static async Task ShapeAsync(ApiProbe p)
    {
        var answer = await p.OkAsync(Path, p.Chat());
        ExpectEqual("chat.completion", answer.GetProperty("object").GetString(), "object");
        Expect(answer.GetProperty("id").GetString() is { Length: > 0 }, "the id is empty");
        Expect(answer.GetProperty("created").GetInt64() > 1_000_000_000, "created is no time in seconds");
        var choice = answer.GetProperty("choices")[0];
        ExpectEqual(("assistant", 0), (choice.GetProperty("message").GetProperty("role").GetString(), choice.GetProperty("index").GetInt32()), "role and index");
        Expect(choice.GetProperty("finish_reason").GetString() is "stop" or "length", $"finish_reason {choice.GetProperty("finish_reason")}");
        Expect(choice.TryGetProperty("logprobs", out var logprobs) && logprobs.ValueKind == JsonValueKind.Null, "logprobs is not null");
    }

    private static async Task StopAsync(ApiProbe p)
    {
        var whole = Content(await p.OkAsync(Path, p.Chat("\"max_tokens\":24,\"temperature\":0"))) ?? "";
        var stop = whole.Skip(1).FirstOrDefault(c => !char.IsSurrogate(c) && c != '\uFFFD' && !whole.StartsWith(c));
        if (stop == default)
            return;
        var answer = await p.OkAsync(Path, p.Chat($"\"max_tokens\":24,\"temperature\":0,\"stop\":[{JsonSerializer.Serialize(stop.ToString())}]"));
        ExpectEqual(whole[..whole.IndexOf(stop, StringComparison.Ordinal)], Content(answer), "text");
        ExpectEqual("stop", answer.GetProperty("choices")[0].GetProperty("finish_reason").GetString(), "finish_reason");
    }

    private static async Task LogprobsAsync(ApiProbe p)
    {
        var answer = await p.OkAsync(Path, p.Chat("\"max_tokens\":4,\"temperature\":0,\"logprobs\":true,\"top_logprobs\":2"));
        var tokens = answer.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content").EnumerateArray().ToList();

        // A model may still be thinking: probabilities are of the answer's tokens.
        var thinks = answer.GetProperty("choices")[0].GetProperty("message").TryGetProperty("reasoning_content", out var thought) && thought.ValueKind == JsonValueKind.String;
        Expect(tokens.Count <= 4 && (tokens.Count > 0 || thinks), $"{tokens.Count} tokens");
        foreach (var token in tokens)
        {
            Expect(token.GetProperty("logprob").GetDouble() <= 0, "a logprob above 0");
            ExpectEqual(2, token.GetProperty("top_logprobs").GetArrayLength(), "alternatives");
            _ = token.GetProperty("token").GetString();
            _ = token.GetProperty("bytes").EnumerateArray().Select(b => b.GetByte()).ToList();
        }
    }
}
