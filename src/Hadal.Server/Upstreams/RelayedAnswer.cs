using System.Buffers;
using System.IO.Pipelines;
using System.Text.Json;
using Hadal.Server.Answers;
using Hadal.Server.Requests;
using Hadal.Server.Telemetry;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Upstreams;

/// <summary>An upstream's answer on its way to the client.</summary>
internal sealed class RelayedAnswer(HttpContext context, UpstreamOptions options, RequestWatch.Watched watched, bool wantsUsage)
{
    private const int MostEventBytes = 8 << 20;

    private static readonly byte[] Done = "[DONE]"u8.ToArray();

    private readonly TimeSpan idle = TimeSpan.FromSeconds(options.IdleSeconds);

    /// <summary>Relays a whole answer.</summary>
    public async Task WholeAsync(Stream source)
    {
        using var late = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        late.CancelAfter(TimeSpan.FromSeconds(options.TimeoutSeconds));
        JsonDocument document;
        try
        {
            document = await JsonDocument.ParseAsync(source, cancellationToken: late.Token);
        }
        catch (Exception failure) when (failure is JsonException or IOException || (failure is OperationCanceledException && !context.RequestAborted.IsCancellationRequested))
        {
            throw new RequestRejectedException($"The upstream '{options.Name}' did not complete its answer.", null, "upstream_error", StatusCodes.Status502BadGateway, "server_error");
        }

        using (document)
        {
            watched.FirstPiece();
            Meter(document.RootElement);
            context.Response.ContentType = "application/json; charset=utf-8";
            await using var json = new Utf8JsonWriter(context.Response.BodyWriter, new JsonWriterOptions { Encoder = Wire.Json.Encoder });
            document.RootElement.WriteTo(json);
        }
    }

    /// <summary>Relays a stream event by event. One that stalls or is cut ends with an error that the client can tell from the end.</summary>
    public async Task StreamAsync(Stream source)
    {
        var stream = new EventStream(context);
        var reader = PipeReader.Create(source);
        var isComplete = false;
        try
        {
            while (!isComplete && await ReadAsync(reader) is var read && (read.Buffer.Length > 0 || !read.IsCompleted))
            {
                var buffer = read.Buffer;
                while (TakeEvent(ref buffer, out var block))
                {
                    var bytes = block.ToArray();
                    watched.FirstPiece();
                    isComplete |= IsLast(bytes);
                    if (Passes(bytes))
                        await stream.WriteRawAsync((byte[])[.. bytes, .. "\n\n"u8]);
                }

                if (buffer.Length > MostEventBytes)
                    throw Cut("sent an event that is too large");
                reader.AdvanceTo(buffer.Start, buffer.End);
                if (read.IsCompleted)
                    break;
            }
        }
        catch (IOException)
        {
            throw Cut("broke off its answer");
        }
        finally
        {
            await reader.CompleteAsync();
        }

        if (!isComplete)
            throw Cut("broke off its answer");
    }

    private async Task<ReadResult> ReadAsync(PipeReader reader)
    {
        using var late = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        late.CancelAfter(idle);
        try
        {
            return await reader.ReadAsync(late.Token);
        }
        catch (OperationCanceledException) when (!context.RequestAborted.IsCancellationRequested)
        {
            throw Cut($"was silent for {options.IdleSeconds} s");
        }
    }

    private RequestRejectedException Cut(string what) =>
        new($"The upstream '{options.Name}' {what}.", null, "upstream_error", StatusCodes.Status502BadGateway, "server_error");

    // An event ends with an empty line, whatever its lines end with.
    private static bool TakeEvent(ref ReadOnlySequence<byte> buffer, out ReadOnlySequence<byte> block)
    {
        var reader = new SequenceReader<byte>(buffer);
        while (reader.TryReadTo(out ReadOnlySequence<byte> _, (byte)'\n'))
        {
            var end = reader.Position;
            reader.IsNext((byte)'\r', advancePast: true);
            if (!reader.IsNext((byte)'\n', advancePast: true))
                continue;
            block = buffer.Slice(0, end);
            buffer = buffer.Slice(reader.Position);
            block = block.Slice(0, block.Length - 1);
            return true;
        }

        block = default;
        return false;
    }

    private static bool IsLast(ReadOnlySpan<byte> block) =>
        block.IndexOf(Done) >= 0 || block.IndexOf("event: response.completed"u8) >= 0 || block.IndexOf("event: response.incomplete"u8) >= 0 || block.IndexOf("event: response.failed"u8) >= 0;

    // Meters an event, and says whether the client is to see it: a chunk of usage only, if it has asked for it.
    private bool Passes(ReadOnlySpan<byte> block)
    {
        var at = block.IndexOf("data:"u8);
        if (at < 0 || block.IndexOf("\"usage\""u8) < 0)
            return true;
        try
        {
            using var document = JsonDocument.Parse(block[(at + 5)..].ToArray());
            var root = document.RootElement;
            var found = Meter(root);
            return !found || wantsUsage || !root.TryGetProperty("choices", out var choices) || choices.GetArrayLength() > 0;
        }
        catch (JsonException)
        {
            return true;
        }
    }

    private bool Meter(JsonElement answer)
    {
        if (answer.ValueKind == JsonValueKind.Object && answer.TryGetProperty("response", out var response))
            answer = response;
        if (answer.ValueKind != JsonValueKind.Object || !answer.TryGetProperty("usage", out var usage) || usage.ValueKind != JsonValueKind.Object)
            return false;
        long Count(JsonElement element, params ReadOnlySpan<string> names)
        {
            foreach (var name in names)
            {
                if (element.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var count))
                    return count;
            }

            return 0;
        }

        var details = usage.TryGetProperty("prompt_tokens_details", out var d) || usage.TryGetProperty("input_tokens_details", out d) ? d : default;
        var cached = details.ValueKind == JsonValueKind.Object ? Count(details, "cached_tokens") : Count(usage, "prompt_cache_hit_tokens");
        watched.Add(Count(usage, "prompt_tokens", "input_tokens"), cached, Count(usage, "completion_tokens", "output_tokens"));
        return true;
    }
}
