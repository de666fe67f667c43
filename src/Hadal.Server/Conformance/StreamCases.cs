using System.Text.Json;
using static Hadal.Server.Conformance.ApiProbe;

namespace Hadal.Server.Conformance;

/// <summary>Answers that come as events.</summary>
internal static class StreamCases
{
    private const string Path = "chat/completions";

    public static IEnumerable<ConformanceCase> All =>
    [
        new("stream", "chunks have one id, a role first, and one finish_reason at the end", ShapeAsync),
        new("stream", "the pieces are the whole answer", async p =>
        {
            var whole = ChatCases.Content(await p.OkAsync(Path, p.Chat("\"max_tokens\":16,\"seed\":7")));
            var pieces = Choices(await p.ChunksAsync(Path, p.Chat("\"max_tokens\":16,\"seed\":7,\"stream\":true"))).Select(c => c.GetProperty("delta").TryGetProperty("content", out var text) ? text.GetString() : "");
            ExpectEqual(whole, string.Concat(pieces), "text");
        }),
        new("stream", "include_usage gives a last chunk with usage and without choices", async p =>
        {
            var chunks = await p.ChunksAsync(Path, p.Chat("\"max_tokens\":4,\"stream\":true,\"stream_options\":{\"include_usage\":true}"));
            ExpectEqual(0, chunks[^1].GetProperty("choices").GetArrayLength(), "choices of the last chunk");
            Expect(chunks[^1].GetProperty("usage").GetProperty("completion_tokens").GetInt32() is > 0 and <= 4, "usage of the last chunk");
            Expect(chunks.SkipLast(1).All(c => c.GetProperty("choices").GetArrayLength() > 0), "a chunk without choices before the last");
        }),
        new("stream", "without include_usage every chunk has choices", async p =>
            Expect((await p.ChunksAsync(Path, p.Chat("\"max_tokens\":4,\"stream\":true"))).TrueForAll(c => c.GetProperty("choices").GetArrayLength() > 0), "a chunk without choices")),
        new("stream", "n choices come interleaved, each with its index and one finish_reason", async p =>
        {
            var choices = Choices(await p.ChunksAsync(Path, p.Chat("\"max_tokens\":4,\"n\":2,\"stream\":true"))).ToList();
            foreach (var index in (int[])[0, 1])
                ExpectEqual(1, choices.Count(c => c.GetProperty("index").GetInt32() == index && c.GetProperty("finish_reason").ValueKind == JsonValueKind.String), $"finish_reasons of choice {index}");
        }),
        new("stream", "what is wrong is a status, not an event", p => p.RefusedAsync(Path, p.Chat("\"stream\":true,\"temperature\":\"hot\""), 400, "temperature")),
        new("stream", "a client that goes away leaves the server well", async p =>
        {
            for (var i = 0; i < 4; i++)
                await p.LeaveAsync(Path, p.Chat("\"max_tokens\":200,\"stream\":true"));
            await p.OkAsync(Path, p.Chat());
        }),
    ];

    /// <summary>The choices of all chunks.</summary>
    public static IEnumerable<JsonElement> Choices(IEnumerable<JsonElement> chunks) => chunks.SelectMany(c => c.GetProperty("choices").EnumerateArray());

    private static async Task ShapeAsync(ApiProbe p)
    {
        var chunks = await p.ChunksAsync(Path, p.Chat("\"max_tokens\":6,\"stream\":true"));
        ExpectEqual(1, chunks.Select(c => c.GetProperty("id").GetString()).Distinct().Count(), "ids");
        Expect(chunks.TrueForAll(c => c.GetProperty("object").GetString() == "chat.completion.chunk"), "object is not chat.completion.chunk");
        ExpectEqual("assistant", chunks[0].GetProperty("choices")[0].GetProperty("delta").GetProperty("role").GetString(), "role of the first chunk");
        var reasons = Choices(chunks).Select(c => c.GetProperty("finish_reason").GetString()).ToList();
        ExpectEqual(1, reasons.Count(r => r is not null), "finish_reasons");
        Expect(reasons[^1] is "stop" or "length", $"the last finish_reason is {reasons[^1] ?? "null"}");
    }
}
