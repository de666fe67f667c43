using System.Text.Json;
using static Hadal.Server.Conformance.ApiProbe;

namespace Hadal.Server.Conformance;

/// <summary>The responses API: text, streams, functions.</summary>
internal static class ResponseCases
{
    private const string Path = "responses";
    private const string Weather = """
        "tools":[{"type":"function","name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string","maxLength":12}},"required":["city"],"additionalProperties":false},"strict":true}],"tool_choice":"required"
        """;

    public static IEnumerable<ConformanceCase> All =>
    [
        new("responses", "a text gives a message of output_text, and usage", async p =>
        {
            var answer = await p.OkAsync(Path, p.Body("\"input\":\"Say hello.\",\"max_output_tokens\":16"));
            ExpectEqual("response", answer.GetProperty("object").GetString(), "object");
            Expect(answer.GetProperty("status").GetString() is "completed" or "incomplete", "status");
            Expect(answer.GetProperty("output").EnumerateArray().All(i => i.GetProperty("type").GetString() is "message" or "reasoning"), "output");
            Expect(answer.GetProperty("usage").GetProperty("output_tokens").GetInt32() is > 0 and <= 16, "usage");
        }),
        new("responses", "messages, calls and results are taken", p => p.OkAsync(Path, p.Body("""
            "max_output_tokens":16,"instructions":"Be brief.","input":[{"role":"user","content":[{"type":"input_text","text":"Weather?"}]},{"type":"function_call","call_id":"c1","name":"weather","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"sunny"}]
            """))),
        new("responses", "a required function is called with arguments in JSON", async p =>
        {
            var output = (await p.OkAsync(Path, p.Body("\"input\":\"Weather?\",\"max_output_tokens\":300," + Weather))).GetProperty("output").EnumerateArray().ToList();
            var call = output.Find(i => i.GetProperty("type").GetString() == "function_call");
            Expect(call.ValueKind == JsonValueKind.Object, "no call");
            Expect(Parse(call.GetProperty("arguments").GetString()!).GetProperty("city").ValueKind == JsonValueKind.String && call.GetProperty("call_id").GetString() is { Length: > 0 }, "call");
        }),
        new("responses", "events are named, numbered, and end with the whole response", async p =>
        {
            var events = await p.EventsAsync(Path, p.Body("\"input\":\"Say hello.\",\"max_output_tokens\":16,\"stream\":true"));
            Expect(events.TrueForAll(e => e.Name == Parse(e.Data).GetProperty("type").GetString()), "an event whose name is not its type");
            ExpectEqual("response.created", events[0].Name, "the first event");
            Expect(events[^1].Name is "response.completed" or "response.incomplete", $"the last event is {events[^1].Name}");
            Expect(events.Select(e => Parse(e.Data).GetProperty("sequence_number").GetInt32()).SequenceEqual(Enumerable.Range(0, events.Count)), "sequence numbers");
            var pieces = string.Concat(events.Where(e => e.Name == "response.output_text.delta").Select(e => Parse(e.Data).GetProperty("delta").GetString()));
            var whole = string.Concat(Parse(events[^1].Data).GetProperty("response").GetProperty("output").EnumerateArray().Where(i => i.GetProperty("type").GetString() == "message").Select(i => i.GetProperty("content")[0].GetProperty("text").GetString()));
            ExpectEqual(whole, pieces, "text");
        }),
        new("responses", "text.format keeps to a schema", async p =>
        {
            var answer = await p.OkAsync(Path, p.Body("\"input\":\"x\",\"max_output_tokens\":200,\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"x\",\"schema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"boolean\"}},\"required\":[\"a\"],\"additionalProperties\":false}}}"));
            var message = answer.GetProperty("output").EnumerateArray().First(i => i.GetProperty("type").GetString() == "message");
            Expect(Parse(message.GetProperty("content")[0].GetProperty("text").GetString()!).GetProperty("a").ValueKind is JsonValueKind.True or JsonValueKind.False, "answer");
        }),
        new("responses", "missing input is named", p => p.RefusedAsync(Path, p.Body("\"max_output_tokens\":16"), 400, "input")),
    ];
}
