using static Hadal.Server.Conformance.ApiProbe;

namespace Hadal.Server.Conformance;

/// <summary>What is wrong with a request, and how it is said.</summary>
internal static class ErrorCases
{
    private const string Path = "chat/completions";

    public static IEnumerable<ConformanceCase> All =>
    [
        new("errors", "a body that is no JSON is 400", p => p.RefusedAsync(Path, "{\"model\": ", 400, null)),
        new("errors", "a body that is no object is 400", p => p.RefusedAsync(Path, "[]", 400, null)),
        new("errors", "a missing model is named", p => p.RefusedAsync(Path, """{"messages":[{"role":"user","content":"x"}]}""", 400, "model")),
        new("errors", "missing messages are named", p => p.RefusedAsync(Path, p.Body("\"max_tokens\":1"), 400, "messages", "missing_required_parameter")),
        new("errors", "no messages at all are refused", p => p.RefusedAsync(Path, p.Body("\"messages\":[]"), 400, "messages")),
        new("errors", "a wrong type is named with its path", p => p.RefusedAsync(Path, p.Body("\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":1}]"), 400, "messages[1].content", "invalid_type")),
        new("errors", "an unknown role is named with its path", p => p.RefusedAsync(Path, p.Body("\"messages\":[{\"role\":\"king\",\"content\":\"a\"}]"), 400, "messages[0].role", "invalid_value")),
        new("errors", "a number as a string is a wrong type", p => p.RefusedAsync(Path, p.Chat("\"temperature\":\"0.5\""), 400, "temperature", "invalid_type")),
        new("errors", "a temperature above 2 is refused", p => p.RefusedAsync(Path, p.Chat("\"temperature\":2.5"), 400, "temperature", "decimal_above_max_value")),
        new("errors", "a top_p below 0 is refused", p => p.RefusedAsync(Path, p.Chat("\"top_p\":-0.1"), 400, "top_p", "decimal_below_min_value")),
        new("errors", "an n of 0 is refused", p => p.RefusedAsync(Path, p.Chat("\"n\":0"), 400, "n", "integer_below_min_value")),
        new("errors", "max_tokens of 0 is refused", p => p.RefusedAsync(Path, p.Chat("\"max_tokens\":0"), 400, "max_tokens", "integer_below_min_value")),
        new("errors", "top_logprobs above 20 is refused", p => p.RefusedAsync(Path, p.Chat("\"logprobs\":true,\"top_logprobs\":21"), 400, "top_logprobs", "integer_above_max_value")),
        new("errors", "an image is refused by a model of text", p => p.RefusedAsync(Path, p.Body("\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}}]}]"), 400, "messages[0].content[0]")),
        new("errors", "a prompt beyond the context is context_length_exceeded", p => p.RefusedAsync(Path, p.Body($"\"messages\":[{{\"role\":\"user\",\"content\":\"{string.Concat(Enumerable.Repeat("word ", 400_000))}\"}}]"), 400, "messages", "context_length_exceeded")),
        new("errors", "an unknown URL is 404 with an error object", p => p.RefusedAsync("no/such/endpoint", "{}", 404, null)),
        new("errors", "embeddings of a model that has none are refused", async p => Expect((await p.PostAsync("embeddings", p.Body("\"input\":\"x\""))).Status is 400 or 404 or 501, "status")),
    ];
}
