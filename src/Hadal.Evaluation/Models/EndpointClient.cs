using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Hadal.Evaluation.Models;

/// <summary>
/// Sends requests to an OpenAI-compatible server. What may pass (429, 408, 5xx, a connection that breaks, an answer that is cut off) is tried again, after
/// twice the wait each time or what the server asks for; what will not (400, 401, 404) ends at once with the server's own words.
/// </summary>
internal sealed class EndpointClient : IDisposable
{
    private const int LongestMessage = 300;

    private readonly EndpointOptions options;
    private readonly TimeProvider time;
    private readonly HttpClient http;

    public EndpointClient(EndpointOptions options, HttpMessageHandler? handler, TimeProvider time)
    {
        this.options = options;
        this.time = time;
        http = handler is null ? new HttpClient() : new HttpClient(handler, disposeHandler: false);
        http.Timeout = Timeout.InfiniteTimeSpan;
        if (options.Key is { } key)
            http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
    }

    /// <summary>Posts a request until it is answered.</summary>
    /// <param name="path">Below /v1.</param>
    /// <param name="request">Its body.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="EndpointException">It was refused, or not answered after every attempt.</exception>
    public async Task<JsonElement> PostAsync(string path, JsonObject request, CancellationToken cancellation)
    {
        var address = Address(path);
        var body = request.ToJsonString();
        var wait = options.FirstWait;
        for (var attempt = 1; ; attempt++)
        {
            var (answer, failure, mayPass, wish) = await TryAsync(address, body, cancellation);
            if (answer is { } found)
                return found;
            if (!mayPass || attempt >= options.Attempts)
                throw new EndpointException($"{address}: {failure}{(mayPass ? $" (after {attempt} attempts)" : string.Empty)}");
            var next = wish is { } asked && asked > wait ? asked : wait;
            await Task.Delay(next < options.LongestWait ? next : options.LongestWait, time, cancellation);
            wait *= 2;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => http.Dispose();

    private async Task<(JsonElement? Answer, string Failure, bool MayPass, TimeSpan? Wish)> TryAsync(Uri address, string body, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(options.Timeout);
        try
        {
            using var content = new StringContent(body, Encoding.UTF8, "application/json");
            using var response = await http.PostAsync(address, content, limit.Token);
            var text = await response.Content.ReadAsStringAsync(limit.Token);
            if (response.IsSuccessStatusCode)
            {
                using var document = JsonDocument.Parse(text);
                return (document.RootElement.Clone(), string.Empty, false, null);
            }

            var status = (int)response.StatusCode;
            var mayPass = status is 408 or 425 or 429 or >= 500 and not 501;
            return (null, $"HTTP {status}: {Message(text)}", mayPass, Wish(response));
        }
        catch (JsonException)
        {
            return (null, "the answer is no JSON, or cut off", true, null);
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            // A name that does not resolve will not resolve in a minute either.
            return (null, e.Message, (e as HttpRequestException)?.HttpRequestError != HttpRequestError.NameResolutionError, null);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            return (null, $"no answer within {options.Timeout.TotalSeconds:0} s", true, null);
        }
    }

    private TimeSpan? Wish(HttpResponseMessage response) =>
        response.Headers.RetryAfter is { } after ? after.Delta ?? (after.Date is { } date ? date - time.GetUtcNow() : null) : null;

    private Uri Address(string path)
    {
        var root = options.Endpoint.AbsoluteUri.TrimEnd('/');
        return new Uri(root.EndsWith("/v1", StringComparison.Ordinal) ? $"{root}/{path}" : $"{root}/v1/{path}");
    }

    // OpenAI's error object where the answer is one.
    private static string Message(string text)
    {
        try
        {
            if (JsonNode.Parse(text) is JsonObject json && json["error"] is JsonObject error && error["message"] is JsonValue message)
                text = message.ToString();
        }
        catch (JsonException)
        {
            // Then it is shown as it is.
        }

        var line = text.ReplaceLineEndings(" ").Trim();
        return line.Length <= LongestMessage ? line : $"{line[..LongestMessage]}…";
    }
}

/// <summary>A server refused a request, or did not answer it.</summary>
/// <param name="message">Address, status, the server's words.</param>
public sealed class EndpointException(string message) : Exception(message);
