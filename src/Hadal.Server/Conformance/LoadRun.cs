using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

namespace Hadal.Server.Conformance;

/// <summary>A load to be put on a server.</summary>
public sealed record LoadPlan
{
    /// <summary>Clients at once; each asks again when its answer has ended.</summary>
    public int Connections { get; init; } = 8;

    /// <summary>How long.</summary>
    public TimeSpan Duration { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>Words of a short prompt; every fourth is eight times as long.</summary>
    public int PromptWords { get; init; } = 64;

    /// <summary>Tokens of an answer.</summary>
    public int Tokens { get; init; } = 64;

    /// <summary>Part of the answers whose client goes away in the middle.</summary>
    public double Dropped { get; init; }
}

/// <summary>What a load found. Times are in seconds, as clients see them.</summary>
public sealed record LoadResult(
    int Complete, int Dropped, int Refused, int Failed, double TokensPerSecond, double FirstTokenP50, double FirstTokenP99, double BetweenTokensP50, double BetweenTokensP99);

/// <summary>Puts a load on a server and measures what clients see.</summary>
public static class LoadRun
{
    private static readonly string[] Words = ["deep", "sea", "trench", "cold", "dark", "pressure", "light", "fish", "bone", "mud", "slow", "blue"];

    /// <summary>Runs it.</summary>
    /// <param name="baseUrl">The server, <c>/v1</c> included.</param>
    /// <param name="model">The model; null for the first one it lists.</param>
    /// <param name="key">Its key, or null.</param>
    /// <param name="plan">The load.</param>
    /// <param name="cancellation">Ends it early; what was measured until then counts.</param>
    /// <exception cref="HttpRequestException">The server cannot be reached.</exception>
    /// <exception cref="InvalidDataException">It lists no models.</exception>
    public static async Task<LoadResult> RunAsync(Uri baseUrl, string? model, string? key, LoadPlan plan, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(baseUrl);
        ArgumentNullException.ThrowIfNull(plan);
        using var probe = new ApiProbe(baseUrl, key, cancellation);
        var name = model ?? await ConformanceSuite.FirstModelAsync(probe, baseUrl);
        using var client = new HttpClient { Timeout = Timeout.InfiniteTimeSpan };
        if (key is not null)
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        using var until = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        until.CancelAfter(plan.Duration);
        var visit = new Visits(client, new Uri($"{baseUrl.AbsoluteUri.TrimEnd('/')}/chat/completions"), name, plan);
        var watch = Stopwatch.StartNew();
        await Task.WhenAll(Enumerable.Range(0, plan.Connections).Select(i => visit.LoopAsync(new Random(i), until.Token)));
        return visit.Result(watch.Elapsed.TotalSeconds);
    }

    private sealed class Visits(HttpClient client, Uri url, string model, LoadPlan plan)
    {
        private readonly ConcurrentBag<double> first = [];
        private readonly ConcurrentBag<double> between = [];
        private int complete;
        private int dropped;
        private int refused;
        private int failed;
        private long tokens;

        public async Task LoopAsync(Random random, CancellationToken until)
        {
            while (!until.IsCancellationRequested)
            {
                try
                {
                    await OneAsync(random, until);
                }
                catch (OperationCanceledException) when (until.IsCancellationRequested)
                {
                    return;
                }
                catch (Exception e) when (e is HttpRequestException or IOException or JsonException)
                {
                    Interlocked.Increment(ref failed);
                }
            }
        }

        public LoadResult Result(double seconds) => new(
            complete, dropped, refused, failed, tokens / seconds, Quantile(first, 0.5), Quantile(first, 0.99), Quantile(between, 0.5), Quantile(between, 0.99));

        private static double Quantile(ConcurrentBag<double> values, double q)
        {
            var sorted = values.Order().ToList();
            return sorted.Count == 0 ? 0 : sorted[Math.Min(sorted.Count - 1, (int)(q * sorted.Count))];
        }

        private async Task OneAsync(Random random, CancellationToken until)
        {
            var words = plan.PromptWords * (random.Next(4) == 0 ? 8 : 1);
            var text = string.Join(' ', Enumerable.Range(0, words).Select(_ => Words[random.Next(Words.Length)]));
            var body = JsonSerializer.Serialize(new { model, messages = new[] { new { role = "user", content = text } }, max_tokens = plan.Tokens, stream = true });
            var leavesAfter = random.NextDouble() < plan.Dropped ? random.Next(1, plan.Tokens + 1) : int.MaxValue;
            using var request = new HttpRequestMessage(HttpMethod.Post, url) { Content = new StringContent(body, Encoding.UTF8, "application/json") };
            var began = Stopwatch.GetTimestamp();
            using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, until);
            if ((int)response.StatusCode == 429)
            {
                Interlocked.Increment(ref refused);
                await Task.Delay(response.Headers.RetryAfter?.Delta ?? TimeSpan.FromSeconds(1), until);
                return;
            }

            response.EnsureSuccessStatusCode();
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(until));
            var (last, count) = (began, 0);
            while (await reader.ReadLineAsync(until) is { } line)
            {
                if (line == "data: [DONE]")
                {
                    Interlocked.Increment(ref complete);
                    return;
                }

                if (!line.StartsWith("data: ", StringComparison.Ordinal) || !HasText(line))
                    continue;
                var now = Stopwatch.GetTimestamp();
                (count == 0 ? first : between).Add(Stopwatch.GetElapsedTime(last, now).TotalSeconds);
                last = now;
                Interlocked.Increment(ref tokens);
                if (++count < leavesAfter)
                    continue;
                Interlocked.Increment(ref dropped);
                return;
            }

            throw new IOException("the stream ended early");
        }

        private static bool HasText(string line)
        {
            using var chunk = JsonDocument.Parse(line["data: ".Length..]);
            if (chunk.RootElement.TryGetProperty("error", out _))
                throw new IOException("the stream ended with an error");
            return chunk.RootElement.GetProperty("choices") is { } choices && choices.GetArrayLength() > 0 && choices[0].GetProperty("delta") is { } delta
                && ((delta.TryGetProperty("content", out var text) && text.GetString() is { Length: > 0 }) || delta.TryGetProperty("reasoning_content", out _));
        }
    }
}
