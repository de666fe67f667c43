using System.Text.Json;
using static Hadal.Server.Conformance.ApiProbe;

namespace Hadal.Server.Conformance;

/// <summary>Functions.</summary>
internal static class ToolCases
{
    private const string Path = "chat/completions";
    private const string Schema = """{"type":"object","properties":{"city":{"type":"string","maxLength":12},"unit":{"type":"string","enum":["c","f"]}},"required":["city","unit"],"additionalProperties":false}""";
    private const string Weather = "{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"description\":\"The weather of a city\",\"parameters\":" + Schema + "}}";
    private const string Time = """{"type":"function","function":{"name":"time","parameters":{"type":"object","properties":{}}}}""";
    private const string Tools = "\"max_tokens\":300,\"tools\":[" + Weather + "," + Time + "]";

    public static IEnumerable<ConformanceCase> All =>
    [
        new("tools", "an empty list of tools is taken", p => p.OkAsync(Path, p.Chat("\"max_tokens\":2,\"tools\":[]"))),
        new("tools", "auto is taken, with text or calls", async p =>
        {
            var choice = (await p.OkAsync(Path, p.Chat("\"tool_choice\":\"auto\"," + Tools.Replace("300", "30", StringComparison.Ordinal)))).GetProperty("choices")[0];
            Expect(choice.GetProperty("finish_reason").GetString() is "stop" or "length" or "tool_calls", "finish_reason");
        }),
        new("tools", "none gives no call", async p =>
            Expect(!(await p.OkAsync(Path, p.Chat("\"tool_choice\":\"none\"," + Tools.Replace("300", "8", StringComparison.Ordinal)))).GetProperty("choices")[0].GetProperty("message").TryGetProperty("tool_calls", out var calls) || calls.ValueKind == JsonValueKind.Null, "there are calls")),
        new("tools", "required gives a call with an id and arguments in JSON", async p =>
        {
            var choice = (await p.OkAsync(Path, p.Chat("\"tool_choice\":\"required\"," + Tools))).GetProperty("choices")[0];
            Check(choice.GetProperty("message").GetProperty("tool_calls")[0], null);
        }),
        new("tools", "a named function is called, with arguments that satisfy its schema", async p =>
        {
            var choice = (await p.OkAsync(Path, p.Chat("""
                "tool_choice":{"type":"function","function":{"name":"weather"}},
                """ + Tools))).GetProperty("choices")[0];
            Check(choice.GetProperty("message").GetProperty("tool_calls")[0], "weather");
        }),
        new("tools", "streamed calls have an index on every piece and an id on the first", StreamAsync),
        new("tools", "calls and results are taken back", p => p.OkAsync(Path, p.Body("\"messages\":" + """
            [{"role":"user","content":"Weather?"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Rome\",\"unit\":\"c\"}"}}]},{"role":"tool","tool_call_id":"call_1","content":"sunny"}],
            """ + Tools.Replace("300", "4", StringComparison.Ordinal)))),
        new("tools", "an assistant's empty content beside calls is taken", p => p.OkAsync(Path, p.Body("\"messages\":" + """
            [{"role":"user","content":"Weather?"},{"role":"assistant","content":"","tool_calls":[{"id":"call_1","type":"function","function":{"name":"time","arguments":""}}]},{"role":"tool","tool_call_id":"call_1","content":[{"type":"text","text":"noon"}]}],"max_tokens":4
            """))),
        new("tools", "tool_choice without tools is refused", p => p.RefusedAsync(Path, p.Chat("\"tool_choice\":\"required\""), 400, "tool_choice")),
        new("tools", "a tool without name is refused with its path", p => p.RefusedAsync(Path, p.Chat("\"tools\":[{\"type\":\"function\",\"function\":{}}]"), 400, "tools[0].function.name")),
    ];

    private static void Check(JsonElement call, string? name)
    {
        Expect(call.GetProperty("id").GetString() is { Length: > 0 }, "a call without id");
        ExpectEqual("function", call.GetProperty("type").GetString(), "type");
        var function = call.GetProperty("function");
        if (name is not null)
            ExpectEqual(name, function.GetProperty("name").GetString(), "name");
        CheckArguments(function.GetProperty("name").GetString()!, function.GetProperty("arguments").GetString()!);
    }

    private static void CheckArguments(string name, string arguments)
    {
        var parsed = Parse(arguments);
        ExpectEqual(JsonValueKind.Object, parsed.ValueKind, "arguments");
        if (name == "weather")
            Expect(parsed.GetProperty("city").ValueKind == JsonValueKind.String && parsed.GetProperty("unit").GetString() is "c" or "f", $"arguments {arguments}");
    }

    private static async Task StreamAsync(ApiProbe p)
    {
        var choices = StreamCases.Choices(await p.ChunksAsync(Path, p.Chat("\"stream\":true,\"tool_choice\":\"required\"," + Tools))).ToList();
        var pieces = choices.SelectMany(c => c.GetProperty("delta").TryGetProperty("tool_calls", out var calls) ? calls.EnumerateArray() : []).ToList();
        Expect(pieces.Count > 0, "no call");
        Expect(pieces.TrueForAll(piece => piece.TryGetProperty("index", out _)), "a piece without index");
        foreach (var call in pieces.GroupBy(piece => piece.GetProperty("index").GetInt32()))
        {
            var first = call.First();
            Expect(first.GetProperty("id").GetString() is { Length: > 0 }, "the first piece has no id");
            CheckArguments(first.GetProperty("function").GetProperty("name").GetString()!, string.Concat(call.Select(piece => piece.GetProperty("function").TryGetProperty("arguments", out var a) ? a.GetString() : "")));
        }
    }
}
