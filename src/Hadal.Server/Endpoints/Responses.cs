using System.Text.Json.Nodes;
using Hadal.Server.Answers;
using Hadal.Server.Generation;
using Hadal.Server.Models;
using Hadal.Server.Requests;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Endpoints;

/// <summary><c>POST /v1/responses</c>: text, streaming, function tools. Nothing is stored.</summary>
internal sealed class Responses(HadalServerOptions options, ModelDirectory directory, ModelShelf shelf, TimeProvider time)
{
    /// <summary>Answers a request.</summary>
    public async Task InvokeAsync(HttpContext context)
    {
        var request = ResponsesRequest.Read(await RequestBody.ReadAsync(context));
        using var lease = await shelf.TakeAsync(directory.Find(request.Model), context.RequestAborted);
        var chat = new ReadyChat(Plan(request), lease.Model, TimeSpan.FromSeconds(options.MaxSeconds));
        var steps = ChatAnswers.Begin(chat, 1, context.RequestAborted);
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
