using Hadal.Inference.Chat;
using Hadal.Server.Answers;
using Hadal.Server.Generation;
using Hadal.Server.Models;
using Hadal.Server.Requests;
using Hadal.Server.Telemetry;
using Hadal.Server.Upstreams;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Endpoints;

/// <summary><c>POST /v1/chat/completions</c>.</summary>
internal sealed class ChatCompletions(HadalServerOptions options, UpstreamRelay relay, ModelShelf shelf, RequestWatch watch, TimeProvider time)
{
    /// <summary>Answers a request.</summary>
    public async Task InvokeAsync(HttpContext context)
    {
        var fields = await RequestBody.ReadAsync(context);
        if (await relay.LocalModelAsync(context, "chat/completions", fields) is not { } local)
            return;
        var request = ChatCompletionRequest.Read(fields);
        using var lease = await shelf.TakeAsync(local, context.RequestAborted);
        var chat = new ReadyChat(ChatPlan.Of(request), lease.Model, TimeSpan.FromSeconds(options.MaxSeconds));
        var counts = new TokenCounts();
        var steps = watch.Watch("chat", request.Model, ChatAnswers.Begin(chat, request.N, counts, context.RequestAborted), counts);
        var (id, created) = ($"chatcmpl-{Guid.NewGuid():N}", time.GetUtcNow().ToUnixTimeSeconds());
        if (request.Stream)
            await StreamAsync(context, request, lease.Model, steps, id, created);
        else
            await context.Response.WriteAsJsonAsync(Whole(request, lease.Model, await WholeAnswer.ReadAsync(steps, request.N), id, created), Wire.Json, context.RequestAborted);
    }

    private static ChatCompletion Whole(ChatCompletionRequest request, ServedModel model, WholeAnswer[] answers, string id, long created)
    {
        var choices = answers.Select((a, i) => new ChatChoice(
            i,
            new AssistantMessage { Content = a.Content, ReasoningContent = a.Reasoning, ToolCalls = a.Calls.Count == 0 ? null : a.Calls },
            a.FinishReason)
        {
            Logprobs = request.Logprobs ? new ChoiceLogprobs(a.Logprobs) : null,
        });
        return new ChatCompletion(id, created, request.Model, [.. choices], Usage.Of(answers.Select(a => a.Usage))) { SystemFingerprint = model.Fingerprint };
    }

    private static async Task StreamAsync(HttpContext context, ChatCompletionRequest request, ServedModel model, IAsyncEnumerable<ChatStep> steps, string id, long created)
    {
        var stream = new EventStream(context);
        ChatChunk Chunk(params IReadOnlyList<ChunkChoice> choices) => new(id, created, request.Model, choices) { SystemFingerprint = model.Fingerprint };
        for (var i = 0; i < request.N; i++)
            await stream.WriteAsync(Chunk(new ChunkChoice(i, new Delta { Role = "assistant", Content = "" })));
        var deltas = new ChatDeltas[request.N];
        for (var i = 0; i < request.N; i++)
            deltas[i] = new ChatDeltas();
        var usages = new List<(Inference.Generation.GenerationUsage, int)>();
        await foreach (var step in stream.KeepingAlive(steps))
        {
            var logprobs = request.Logprobs && step.Logprobs.Count > 0 ? new ChoiceLogprobs(step.Logprobs) : null;
            foreach (var delta in deltas[step.Choice].Of(step.Parts, logprobs is not null))
            {
                await stream.WriteAsync(Chunk(new ChunkChoice(step.Choice, delta) { Logprobs = logprobs }));
                logprobs = null;
            }

            if (step.FinishReason is null)
                continue;
            usages.Add(step.Usage!.Value);
            await stream.WriteAsync(Chunk(new ChunkChoice(step.Choice, new Delta()) { FinishReason = step.FinishReason }));
        }

        if (request.StreamOptions.IncludeUsage)
            await stream.WriteAsync(Chunk() with { Usage = Usage.Of(usages) });
        await stream.DoneAsync();
    }
}

/// <summary>The parts of one answer as deltas; calls are numbered, and every piece of a call carries its number.</summary>
internal sealed class ChatDeltas
{
    private int call = -1;

    /// <summary>The deltas of some parts.</summary>
    /// <param name="parts">The parts.</param>
    /// <param name="evenEmpty">Whether there is to be one in any case, for probabilities to travel in.</param>
    public IEnumerable<Delta> Of(IReadOnlyList<AnswerPart> parts, bool evenEmpty)
    {
        foreach (var part in parts)
        {
            if (Of(part) is not { } delta)
                continue;
            evenEmpty = false;
            yield return delta;
        }

        if (evenEmpty)
            yield return new Delta { Content = "" };
    }

    private Delta? Of(AnswerPart part) => part switch
    {
        AnswerPart.Text text => new Delta { Content = text.Value },
        AnswerPart.Reasoning thought => new Delta { ReasoningContent = thought.Value },
        AnswerPart.ToolCallStart start => new Delta
        {
            ToolCalls = [new ToolCall { Index = ++call, Id = CallIds.New(), Type = "function", Function = new FunctionCall { Name = start.Name, Arguments = "" } }],
        },
        AnswerPart.ToolCallArguments more => new Delta { ToolCalls = [new ToolCall { Index = call, Function = new FunctionCall { Arguments = more.Value } }] },
        _ => null,
    };
}
