using System.Diagnostics;
using System.Text.Json;

namespace Hadal.Server.Conformance;

/// <summary>What one case found.</summary>
/// <param name="Group">What it is about.</param>
/// <param name="Name">What is expected.</param>
/// <param name="Passed">Whether it holds.</param>
/// <param name="Detail">What was found instead; null where it holds.</param>
/// <param name="Seconds">How long it took.</param>
public sealed record ConformanceResult(string Group, string Name, bool Passed, string? Detail, double Seconds);

/// <summary>
/// Whether a server speaks OpenAI's API as its clients expect. The cases know nothing of the server or of its model: they hold for one that answers noise as
/// well as for one that answers well, and most stand for a complaint that users of some server have made.
/// </summary>
public static class ConformanceSuite
{
    /// <summary>Number of cases.</summary>
    public static int Count => All.Count();

    private static IEnumerable<ConformanceCase> All =>
        [.. ChatCases.All, .. StreamCases.All, .. ToolCases.All, .. FormCases.All, .. ErrorCases.All, .. CompletionCases.All, .. ResponseCases.All, .. LoadCases.All];

    /// <summary>Runs every case against a server.</summary>
    /// <param name="baseUrl">Where it is, <c>/v1</c> included.</param>
    /// <param name="model">The model to ask; null for the first one it lists.</param>
    /// <param name="key">Its key, or null.</param>
    /// <param name="found">Told each result as it comes.</param>
    /// <param name="cancellation">Stops.</param>
    /// <returns>The results, in order.</returns>
    /// <exception cref="HttpRequestException">The server cannot be reached.</exception>
    /// <exception cref="InvalidDataException">It lists no models.</exception>
    public static async Task<IReadOnlyList<ConformanceResult>> RunAsync(Uri baseUrl, string? model, string? key, Action<ConformanceResult>? found = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(baseUrl);
        using var probe = new ApiProbe(baseUrl, key, cancellation);
        probe.Model = model ?? await FirstModelAsync(probe, baseUrl);
        var results = new List<ConformanceResult>();
        foreach (var test in All)
        {
            var watch = Stopwatch.StartNew();
            string? detail = null;
            try
            {
                await test.Check(probe);
            }
            catch (ConformanceException wrong)
            {
                detail = wrong.Message;
            }
            catch (Exception wrong) when (wrong is JsonException or HttpRequestException or IOException or InvalidOperationException or KeyNotFoundException or IndexOutOfRangeException or FormatException
                || (wrong is OperationCanceledException && !cancellation.IsCancellationRequested))
            {
                detail = $"{wrong.GetType().Name}: {wrong.Message.ReplaceLineEndings(" ")}";
            }

            var result = new ConformanceResult(test.Group, test.Name, detail is null, detail, watch.Elapsed.TotalSeconds);
            results.Add(result);
            found?.Invoke(result);
        }

        return results;
    }

    /// <summary>The first model that a server lists.</summary>
    internal static async Task<string> FirstModelAsync(ApiProbe probe, Uri baseUrl)
    {
        var (status, list) = await probe.GetAsync("models");
        return status == 200 && list.TryGetProperty("data", out var data) && data.ValueKind == JsonValueKind.Array && data.GetArrayLength() > 0
            ? data[0].GetProperty("id").GetString()!
            : throw new InvalidDataException($"{baseUrl}/models: expected a list of models, found status {status}");
    }
}

/// <summary>One thing that is expected of a server.</summary>
/// <param name="Group">What it is about.</param>
/// <param name="Name">The expectation, as a sentence.</param>
/// <param name="Check">Throws <see cref="ConformanceException"/> where it does not hold.</param>
internal sealed record ConformanceCase(string Group, string Name, Func<ApiProbe, Task> Check);

/// <summary>An expectation that does not hold.</summary>
internal sealed class ConformanceException(string message) : Exception(message);
