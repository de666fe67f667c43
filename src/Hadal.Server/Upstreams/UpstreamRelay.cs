using System.ClientModel.Primitives;
using System.Text.Json;
using System.Text.Json.Nodes;
using Hadal.Server.Models;
using Hadal.Server.Requests;
using Hadal.Server.Telemetry;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Upstreams;

/// <summary>Lets upstreams answer requests for their models: as they are asked, as they answer, streams as they come; their usage is metered.</summary>
internal sealed partial class UpstreamRelay(ModelDirectory directory, RequestWatch watch, ILogger<UpstreamRelay> logger)
{
    private const int MostErrorBytes = 1 << 16;

    /// <summary>Goes through the models that may answer a request, in order, until one of an upstream's has.</summary>
    /// <param name="context">The request.</param>
    /// <param name="path">Its path below <c>/v1</c>.</param>
    /// <param name="fields">Its body.</param>
    /// <returns>The local model that is to answer; null where an upstream has.</returns>
    /// <exception cref="RequestRejectedException">There is no such model, or none of them can answer.</exception>
    public async Task<string?> LocalModelAsync(HttpContext context, string path, RequestFields fields)
    {
        var name = fields.RequiredText("model", 256);
        RequestRejectedException? refusal = null;
        foreach (var route in directory.RoutesOf(name))
        {
            if (route.Upstream is null)
                return route.Model;
            refusal = await TryAsync(context, path, fields, name, route);
            if (refusal is null)
                return null;
            LogPassedOver(logger, route.Upstream.Options.Name, refusal.Message);
        }

        throw refusal!;
    }

    private static RequestRejectedException Failed(string message, bool isTimeout) =>
        new(message, null, isTimeout ? "upstream_timeout" : "upstream_error", isTimeout ? StatusCodes.Status504GatewayTimeout : StatusCodes.Status502BadGateway, "server_error");

    // Null where it has answered, be it with an error of the client's own.
    private async Task<RequestRejectedException?> TryAsync(HttpContext context, string path, RequestFields fields, string name, Route route)
    {
        var upstream = route.Upstream!;
        var isStream = fields.Flag("stream") ?? false;
        var wantsUsage = fields.Object("stream_options")?.Flag("include_usage") ?? false;
        var body = Body(path, fields, route.Model, isStream);
        using var watched = watch.Begin(path == "completions" ? "text_completion" : "chat", upstream.Options.Name, name);
        PipelineResponse response;
        try
        {
            response = await upstream.SendAsync(path, body, context.RequestAborted);
        }
        catch (UpstreamException failure)
        {
            return Failed(failure.Message, failure.IsTimeout);
        }

        using (response)
        {
            if (response.Status is >= 200 and < 300)
            {
                var type = response.Headers.TryGetValue("Content-Type", out var given) ? given! : "application/json";
                var relayed = new RelayedAnswer(context, upstream.Options, watched, wantsUsage);
                await (type.StartsWith("text/event-stream", StringComparison.OrdinalIgnoreCase) ? relayed.StreamAsync(response.ContentStream!) : relayed.WholeAsync(response.ContentStream!));
                watched.Complete();
                return null;
            }

            return await RefusedAsync(context, upstream, response);
        }
    }

    // What is wrong with the request is said in the upstream's words; what is wrong with the upstream is not the client's business in detail.
    private static async Task<RequestRejectedException?> RefusedAsync(HttpContext context, Upstream upstream, PipelineResponse response)
    {
        var name = upstream.Options.Name;
        switch (response.Status)
        {
            case StatusCodes.Status401Unauthorized or StatusCodes.Status403Forbidden:
                return Failed($"The upstream '{name}' refused this server's key.", isTimeout: false);
            case StatusCodes.Status404NotFound:
                return Failed($"The upstream '{name}' does not have this model.", isTimeout: false);
            case StatusCodes.Status429TooManyRequests:
                return new RequestRejectedException($"The upstream '{name}' has too many requests.", null, "rate_limit_exceeded", StatusCodes.Status429TooManyRequests, "rate_limit_error")
                {
                    RetryAfter = response.Headers.TryGetValue("Retry-After", out var after) && int.TryParse(after, out var seconds) ? seconds : 1,
                };
            case >= 400 and < 500 and not StatusCodes.Status408RequestTimeout:
                var bytes = new byte[MostErrorBytes];
                var length = await response.ContentStream!.ReadAtLeastAsync(bytes, bytes.Length, throwOnEndOfStream: false, context.RequestAborted);
                context.Response.StatusCode = response.Status;
                context.Response.ContentType = "application/json; charset=utf-8";
                await context.Response.Body.WriteAsync(bytes.AsMemory(0, length), context.RequestAborted);
                return null;
            default:
                return Failed($"The upstream '{name}' answered with status {response.Status}.", isTimeout: false);
        }
    }

    private static byte[] Body(string path, RequestFields fields, string model, bool isStream)
    {
        var body = (JsonObject)JsonNode.Parse(fields.Element.GetRawText())!;
        body["model"] = model;

        // Usage is metered whether the client wants it or not; responses give it in any case.
        if (isStream && path != "responses")
        {
            var options = body["stream_options"] as JsonObject ?? [];
            body["stream_options"] = options.DeepClone();
            body["stream_options"]!["include_usage"] = true;
        }

        return JsonSerializer.SerializeToUtf8Bytes(body);
    }

    [LoggerMessage(LogLevel.Warning, "upstream {Upstream} passed over: {Reason}")]
    private static partial void LogPassedOver(ILogger logger, string upstream, string reason);
}
