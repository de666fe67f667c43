using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

namespace Hadal.Server.Conformance;

/// <summary>A plain client: it sends what it is told and takes nothing for granted.</summary>
internal sealed class ApiProbe : IDisposable
{
    private readonly HttpClient client;
    private readonly string root;

    public ApiProbe(Uri baseUrl, string? key, CancellationToken cancellation)
    {
        root = baseUrl.AbsoluteUri.TrimEnd('/');
        Cancellation = cancellation;
        client = new HttpClient { Timeout = TimeSpan.FromMinutes(5) };
        if (key is not null)
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
    }

    /// <summary>The model that is asked.</summary>
    public string Model { get; set; } = "";

    public CancellationToken Cancellation { get; }

    /// <summary>Fails unless a condition holds.</summary>
    public static void Expect(bool holds, string otherwise)
    {
        if (!holds)
            throw new ConformanceException(otherwise);
    }

    /// <summary>Fails unless two values are the same.</summary>
    public static void ExpectEqual<T>(T expected, T found, string what) =>
        Expect(EqualityComparer<T>.Default.Equals(expected, found), $"{what}: expected {expected?.ToString() ?? "null"}, found {found?.ToString() ?? "null"}");

    /// <summary>A body that names the model: <c>{"model":…,MORE}</c>.</summary>
    public string Body(string more) => $"{{\"model\":{JsonSerializer.Serialize(Model)},{more}}}";

    /// <summary>A chat of one short message.</summary>
    public string Chat(string more = "\"max_tokens\":8") => Body($"\"messages\":[{{\"role\":\"user\",\"content\":\"Say hello.\"}}],{more}");

    public async Task<(int Status, JsonElement Body)> GetAsync(string path)
    {
        using var response = await client.GetAsync(new Uri($"{root}/{path}"), Cancellation);
        return ((int)response.StatusCode, await ReadAsync(response));
    }

    public async Task<(int Status, JsonElement Body)> PostAsync(string path, string body, string type = "application/json")
    {
        using var content = new StringContent(body, Encoding.UTF8, new MediaTypeHeaderValue(type));
        using var response = await client.PostAsync(new Uri($"{root}/{path}"), content, Cancellation);
        return ((int)response.StatusCode, await ReadAsync(response));
    }

    /// <summary>Posts, and expects status 200.</summary>
    public async Task<JsonElement> OkAsync(string path, string body)
    {
        var (status, answer) = await PostAsync(path, body);
        Expect(status == 200, $"status {status}: {Cut(answer.ToString())}");
        return answer;
    }

    /// <summary>Posts, and expects an error object.</summary>
    public async Task RefusedAsync(string path, string body, int status, string? param, string? code = null)
    {
        var (found, answer) = await PostAsync(path, body);
        ExpectEqual(status, found, "status");
        Expect(answer.ValueKind == JsonValueKind.Object && answer.TryGetProperty("error", out _), "no error object");
        var error = answer.GetProperty("error");
        foreach (var name in (string[])["message", "type", "param", "code"])
            Expect(error.TryGetProperty(name, out _), $"the error object has no '{name}'");
        Expect(error.GetProperty("message").GetString() is { Length: > 0 }, "the message is empty");
        if (param is not null)
            ExpectEqual(param, error.GetProperty("param").GetString(), "param");
        if (code is not null)
            ExpectEqual(code, error.GetProperty("code").GetString(), "code");
    }

    /// <summary>Posts, and reads a stream of events: name (or null) and data.</summary>
    public async Task<List<(string? Name, string Data)>> EventsAsync(string path, string body)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri($"{root}/{path}")) { Content = new StringContent(body, Encoding.UTF8, new MediaTypeHeaderValue("application/json")) };
        using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancellation);
        var text = await response.Content.ReadAsStringAsync(Cancellation);
        Expect(response.IsSuccessStatusCode, $"status {(int)response.StatusCode}: {Cut(text)}");
        ExpectEqual("text/event-stream", response.Content.Headers.ContentType?.MediaType, "content type");
        Expect(text.EndsWith("\n\n", StringComparison.Ordinal), "the last event has no empty line behind it");
        var events = new List<(string?, string)>();
        foreach (var block in text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries))
        {
            var lines = block.Split('\n').Where(l => !l.StartsWith(':')).ToList();
            if (lines.Count == 0)
                continue;
            events.Add((Field(lines, "event"), Field(lines, "data") ?? throw new ConformanceException($"an event without data: {Cut(block)}")));
        }

        return events;

        static string? Field(List<string> lines, string name) => lines.Find(l => l.StartsWith($"{name}: ", StringComparison.Ordinal))?[(name.Length + 2)..];
    }

    /// <summary>As <see cref="EventsAsync"/>, for streams that end with <c>[DONE]</c>: their chunks.</summary>
    public async Task<List<JsonElement>> ChunksAsync(string path, string body)
    {
        var events = await EventsAsync(path, body);
        Expect(events.Count > 0 && events[^1].Data == "[DONE]", "the stream does not end with [DONE]");
        return [.. events.SkipLast(1).Select(e => Parse(e.Data))];
    }

    /// <summary>Begins a stream, reads its first piece, and goes.</summary>
    public async Task LeaveAsync(string path, string body)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri($"{root}/{path}")) { Content = new StringContent(body, Encoding.UTF8, new MediaTypeHeaderValue("application/json")) };
        using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancellation);
        await using var stream = await response.Content.ReadAsStreamAsync(Cancellation);
        _ = await stream.ReadAsync(new byte[16], Cancellation);
    }

    public static JsonElement Parse(string json) => JsonDocument.Parse(json).RootElement;

    public void Dispose() => client.Dispose();

    private static async Task<JsonElement> ReadAsync(HttpResponseMessage response)
    {
        var text = await response.Content.ReadAsStringAsync();
        try
        {
            return Parse(text);
        }
        catch (JsonException)
        {
            throw new ConformanceException($"status {(int)response.StatusCode} with a body that is no JSON: {Cut(text)}");
        }
    }

    private static string Cut(string text) => text.Length <= 200 ? text : $"{text[..200]}…";
}
