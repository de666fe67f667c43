using System.Text.Json.Nodes;
using Hadal.Server.Answers;
using Hadal.Server.Generation;
using Hadal.Server.Models;
using Hadal.Server.Requests;
using Hadal.Server.Telemetry;
using Hadal.Server.Upstreams;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Endpoints;

/// <summary><c>POST /v1/responses</c>: text, streaming, function tools. Nothing is stored.</summary>
internal sealed class Responses(HadalServerOptions options, UpstreamRelay relay, ModelShelf shelf, RequestWatch watch, TimeProvider time)
{
    /// <summary>Answers a request.</summary>
    public async Task InvokeAsync(HttpContext context)
    {
        var fields = await RequestBody.ReadAsync(context);
        if (await relay.LocalModelAsync(context, "responses", fields) is not { } local)
            return;
        var request = ResponsesRequest.Read(fields);
        using var lease = await shelf.TakeAsync(local, context.RequestAborted);
        var chat = new ReadyChat(Plan(request), lease.Model, TimeSpan.FromSeconds(options.MaxSeconds));
        var counts = new TokenCounts();
        var steps = watch.Watch("chat", request.Model, ChatAnswers.Begin(chat, 1, counts, context.RequestAborted), counts);
        var builder = new ResponseBuilder(request, time.GetUtcNow().ToUnixTimeSeconds());
        if (request.Stream)
        {
            await StreamAsync(new EventStream(context), builder, steps);
            return;
        }

        await foreach (var step in steps)
            builder.Add(step);
        await context.Response.WriteAsJsonAsync(builder.Response, Wire.Json, context.RequestAborted);
    }

    private static async Task StreamAsync(EventStream stream, ResponseBuilder builder, IAsyncEnumerable<ChatStep> steps)
    {
        foreach (var node in builder.Begin())
            await stream.WriteAsync(node, (string)node["type"]!);
        await foreach (var step in stream.KeepingAlive(steps))
        {
            foreach (var node in builder.Add(step))
                await stream.WriteAsync(node, (string)node["type"]!);
        }
    }

    private static ChatPlan Plan(ResponsesRequest request) => new()
    {
        Sampling = request,
        Messages = request.Input,
        Tools = request.ToolChoice.Mode == "none" ? [] : request.Tools,
        ToolChoice = request.ToolChoice,
        ParallelToolCalls = request.ParallelToolCalls,
        Format = request.Format,
        Thinking = request.Thinking,
        MaxTokens = request.MaxOutputTokens,
        TopLogprobs = request.TopLogprobs,
    };
}
