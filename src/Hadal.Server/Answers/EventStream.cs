using System.Buffers;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Hadal.Server.Answers;

/// <summary>
/// Server-sent events on a response. Nothing is sent before the first event, so that what is refused until then still gets its status. For one writer at a
/// time.
/// </summary>
internal sealed class EventStream(HttpContext context)
{
    // Proxies close what is silent for a minute; a long prompt is silent for longer.
    private static readonly TimeSpan KeepAlive = TimeSpan.FromSeconds(15);

    private readonly HttpResponse response = context.Response;

    /// <summary>Sends an event of a JSON value.</summary>
    /// <param name="value">What.</param>
    /// <param name="name">The event's name; null for none.</param>
    public async ValueTask WriteAsync<T>(T value, string? name = null)
    {
        Begin();
        if (name is not null)
            response.BodyWriter.Write(System.Text.Encoding.UTF8.GetBytes($"event: {name}\n"));
        response.BodyWriter.Write("data: "u8);
        using (var json = new Utf8JsonWriter(response.BodyWriter, new JsonWriterOptions { Encoder = Wire.Json.Encoder, SkipValidation = true }))
            JsonSerializer.Serialize(json, value, Wire.Json);
        response.BodyWriter.Write("\n\n"u8);
        await FlushAsync();
    }

    /// <summary>Sends text that is an event already.</summary>
    public async ValueTask WriteRawAsync(ReadOnlyMemory<byte> bytes)
    {
        Begin();
        response.BodyWriter.Write(bytes.Span);
        await FlushAsync();
    }

    /// <summary>Ends an OpenAI stream.</summary>
    public ValueTask DoneAsync() => WriteRawAsync("data: [DONE]\n\n"u8.ToArray());

    /// <summary>Reads a sequence, with a comment to the client whenever it is silent for long.</summary>
    public async IAsyncEnumerable<T> KeepingAlive<T>(IAsyncEnumerable<T> source)
    {
        await using var reader = source.GetAsyncEnumerator(context.RequestAborted);
        while (true)
        {
            var next = reader.MoveNextAsync();
            if (!(next.IsCompleted ? await next : await WaitAsync(next.AsTask())))
                yield break;
            yield return reader.Current;
        }
    }

    private async Task<bool> WaitAsync(Task<bool> next)
    {
        while (true)
        {
            try
            {
                return await next.WaitAsync(KeepAlive);
            }
            catch (TimeoutException) when (!next.IsCompleted)
            {
                await WriteRawAsync(": still at work\n\n"u8.ToArray());
            }
        }
    }

    private void Begin()
    {
        if (response.HasStarted || response.ContentType is not null)
            return;
        response.ContentType = "text/event-stream; charset=utf-8";
        response.Headers.CacheControl = "no-cache";
        response.Headers["X-Accel-Buffering"] = "no";
        context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
    }

    private async ValueTask FlushAsync()
    {
        var flushed = await response.BodyWriter.FlushAsync(context.RequestAborted);
        if (flushed.IsCanceled || flushed.IsCompleted)
            throw new OperationCanceledException("the client has gone", context.RequestAborted);
    }
}
