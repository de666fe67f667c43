using System.Text.Json;
using static Hadal.Server.Conformance.ApiProbe;

namespace Hadal.Server.Conformance;

/// <summary>The older endpoint for plain text, on which evaluations rest.</summary>
internal static class CompletionCases
{
    private const string Path = "completions";

    public static IEnumerable<ConformanceCase> All =>
    [
        new("completions", "a text goes on", async p =>
        {
            var answer = await p.OkAsync(Path, p.Body("\"prompt\":\"The deep sea\",\"max_tokens\":4"));
            ExpectEqual("text_completion", answer.GetProperty("object").GetString(), "object");
            Expect(answer.GetProperty("choices")[0].GetProperty("text").ValueKind == JsonValueKind.String, "no text");
            Expect(answer.GetProperty("usage").GetProperty("completion_tokens").GetInt32() is > 0 and <= 4, "usage");
        }),
        new("completions", "echo with logprobs scores the prompt, its first token without", async p =>
        {
            var choice = (await p.OkAsync(Path, p.Body("\"prompt\":\"The deep sea\",\"max_tokens\":0,\"echo\":true,\"logprobs\":1"))).GetProperty("choices")[0];
            ExpectEqual("The deep sea", choice.GetProperty("text").GetString(), "text");
            CheckLogprobs(choice.GetProperty("logprobs"));
        }),
        new("completions", "echo with logprobs and one more token is one longer", async p =>
        {
            var scored = (await p.OkAsync(Path, p.Body("\"prompt\":\"The deep sea\",\"max_tokens\":0,\"echo\":true,\"logprobs\":1"))).GetProperty("choices")[0].GetProperty("logprobs").GetProperty("token_logprobs");
            var longer = (await p.OkAsync(Path, p.Body("\"prompt\":\"The deep sea\",\"max_tokens\":1,\"temperature\":0,\"logit_bias\":{},\"echo\":true,\"logprobs\":1"))).GetProperty("choices")[0].GetProperty("logprobs").GetProperty("token_logprobs");
            Expect(longer.GetArrayLength() - scored.GetArrayLength() is 0 or 1, $"{longer.GetArrayLength()} after {scored.GetArrayLength()}");
            for (var i = 1; i < scored.GetArrayLength(); i++)
                ExpectEqual(scored[i].GetDouble(), longer[i].GetDouble(), $"logprob {i}");
        }),
        new("completions", "several prompts give several texts in order", async p =>
        {
            var answer = await p.OkAsync(Path, p.Body("\"prompt\":[\"a\",\"b\"],\"max_tokens\":2,\"echo\":true"));
            var texts = answer.GetProperty("choices").EnumerateArray().OrderBy(c => c.GetProperty("index").GetInt32()).Select(c => c.GetProperty("text").GetString()![0]);
            ExpectEqual("ab", string.Concat(texts), "beginnings");
        }),
        new("completions", "token ids are taken for a prompt", p => p.OkAsync(Path, p.Body("\"prompt\":[1,2,3],\"max_tokens\":2"))),
        new("completions", "a stream gives text and ends with a finish_reason", async p =>
        {
            var choices = StreamCases.Choices(await p.ChunksAsync(Path, p.Body("\"prompt\":\"The deep sea\",\"max_tokens\":4,\"stream\":true"))).ToList();
            Expect(choices.Count > 0 && choices[^1].GetProperty("finish_reason").ValueKind == JsonValueKind.String, "finish_reason");
        }),
    ];

    private static void CheckLogprobs(JsonElement logprobs)
    {
        var count = logprobs.GetProperty("tokens").GetArrayLength();
        Expect(count > 1, $"{count} tokens");
        foreach (var name in (string[])["token_logprobs", "top_logprobs", "text_offset"])
            ExpectEqual(count, logprobs.GetProperty(name).GetArrayLength(), name);
        var values = logprobs.GetProperty("token_logprobs").EnumerateArray().ToList();
        ExpectEqual(JsonValueKind.Null, values[0].ValueKind, "the first token's");
        Expect(values.Skip(1).All(v => v.GetDouble() <= 0), "a logprob above 0");
    }
}
