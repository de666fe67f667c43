using System.Text.Json;
using static Hadal.Server.Conformance.ApiProbe;

namespace Hadal.Server.Conformance;

/// <summary>Answers of a given form.</summary>
internal static class FormCases
{
    private const string Path = "chat/completions";

    public static IEnumerable<ConformanceCase> All =>
    [
        new("json", "json_object gives an object", async p => ExpectEqual(JsonValueKind.Object, Parse(ChatCases.Content(await p.OkAsync(Path, p.Body("""
            "max_tokens":200,"response_format":{"type":"json_object"},"messages":[{"role":"user","content":"Answer in JSON."}]
            """)))!).ValueKind, "answer")),
        new("json", "json_schema gives what satisfies the schema", async p => CheckPerson(ChatCases.Content(await p.OkAsync(Path, p.Chat("\"max_tokens\":300," + Person)))!)),
        new("json", "a schema is kept to in streams", async p => CheckPerson(string.Concat(
            StreamCases.Choices(await p.ChunksAsync(Path, p.Chat("\"stream\":true,\"max_tokens\":300," + Person))).Select(c => c.GetProperty("delta").TryGetProperty("content", out var text) ? text.GetString() : "")))),
        new("json", "the type text changes nothing", p => p.OkAsync(Path, p.Chat("\"max_tokens\":2,\"response_format\":{\"type\":\"text\"}"))),
        new("json", "an unknown format is refused", p => p.RefusedAsync(Path, p.Chat("\"response_format\":{\"type\":\"yaml\"}"), 400, "response_format.type")),
        new("json", "a schema that is none is refused", async p =>
        {
            var (status, _) = await p.PostAsync(Path, p.Chat("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":{\"type\":\"colour\"}}}"));
            ExpectEqual(400, status, "status");
        }),
    ];

    private static string Person => """
        "response_format":{"type":"json_schema","json_schema":{"name":"person","strict":true,"schema":{"type":"object","properties":{"name":{"type":"string","maxLength":20},"age":{"type":"integer","minimum":0,"maximum":150},"tags":{"type":"array","items":{"type":"string","enum":["a","b"]},"maxItems":3},"partner":{"anyOf":[{"type":"null"},{"type":"object","properties":{"name":{"type":"string","maxLength":20}},"required":["name"],"additionalProperties":false}]}},"required":["name","age","tags","partner"],"additionalProperties":false}}}
        """;

    private static void CheckPerson(string text)
    {
        var person = Parse(text);
        ExpectEqual(4, person.EnumerateObject().Count(), "properties");
        Expect(person.GetProperty("name").GetString()!.Length <= 40, "name");
        Expect(person.GetProperty("age").GetInt32() is >= 0 and <= 150, "age");
        Expect(person.GetProperty("tags").EnumerateArray().All(t => t.GetString() is "a" or "b") && person.GetProperty("tags").GetArrayLength() <= 3, "tags");
        Expect(person.GetProperty("partner").ValueKind == JsonValueKind.Null || person.GetProperty("partner").GetProperty("name").ValueKind == JsonValueKind.String, "partner");
    }
}
