using static Hadal.Server.Conformance.ApiProbe;

namespace Hadal.Server.Conformance;

/// <summary>Several clients at once, and the prefix cache.</summary>
internal static class LoadCases
{
    private const string Path = "chat/completions";

    public static IEnumerable<ConformanceCase> All =>
    [
        new("load", "temperature 0 gives one answer, alone and among eight", async p =>
        {
            string Ask(int i) => p.Body($"\"max_tokens\":16,\"temperature\":0,\"messages\":[{{\"role\":\"user\",\"content\":\"Number {i}\"}}]");
            var alone = new List<string?>();
            for (var i = 0; i < 8; i++)
                alone.Add(ChatCases.Content(await p.OkAsync(Path, Ask(i))));
            var together = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => p.OkAsync(Path, Ask(i))));
            for (var i = 0; i < 8; i++)
                ExpectEqual(alone[i], ChatCases.Content(together[i]), $"answer {i}");
        }),
        new("load", "a conversation that goes on finds its beginning in the cache", async p =>
        {
            var system = string.Concat(Enumerable.Repeat("All work and no play. ", 30));
            string Ask(string more) => p.Body($"\"max_tokens\":4,\"messages\":[{{\"role\":\"system\",\"content\":\"{system}\"}},{{\"role\":\"user\",\"content\":\"One\"}}{more}]");
            await p.OkAsync(Path, Ask(""));
            var usage = (await p.OkAsync(Path, Ask(",{\"role\":\"assistant\",\"content\":\"Yes\"},{\"role\":\"user\",\"content\":\"Two\"}"))).GetProperty("usage");
            var cached = usage.GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32();
            Expect(cached * 2 > usage.GetProperty("prompt_tokens").GetInt32(), $"{cached} of {usage.GetProperty("prompt_tokens")} tokens were cached");
        }),
    ];
}
