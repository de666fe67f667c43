using System.Text;
using Hadal.Inference.Generation;
using Hadal.Server.Answers;
using Hadal.Server.Generation;
using Hadal.Server.Models;
using Hadal.Server.Requests;
using Hadal.Server.Telemetry;
using Hadal.Server.Upstreams;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Endpoints;

/// <summary><c>POST /v1/completions</c>: text goes on, is filled in, or is scored.</summary>
internal sealed class Completions(HadalServerOptions options, UpstreamRelay relay, ModelShelf shelf, RequestWatch watch, TimeProvider time)
{
    /// <summary>Answers a request.</summary>
    public async Task InvokeAsync(HttpContext context)
    {
        var fields = await RequestBody.ReadAsync(context);
        if (await relay.LocalModelAsync(context, "completions", fields) is not { } local)
            return;
        var request = CompletionRequest.Read(fields);
        using var lease = await shelf.TakeAsync(local, context.RequestAborted);
        var model = lease.Model;
        TokenIds.CheckBiases(request, model);
        var prompts = request.Prompts.Select(p => Prompt(request, p, model)).ToList();
        var requests = prompts.Select(p => Generation(request, p, model)).ToList();
        var counts = new TokenCounts();
        var steps = watch.Watch("text_completion", request.Model, Streams.Begin(
            prompts.Count * request.N,
            (index, stop) => Read(request, model, prompts[index / request.N], index, counts.Submit(model.Engine, requests[index / request.N] with { Sampling = request.Sampling(index % request.N, request.Logprobs) }, stop)),
            context.RequestAborted), counts);
        var answer = new Completion($"cmpl-{Guid.NewGuid():N}", time.GetUtcNow().ToUnixTimeSeconds(), request.Model, []) { SystemFingerprint = model.Fingerprint };
        if (request.Stream)
            await StreamAsync(context, request, steps, answer);
        else
            await context.Response.WriteAsJsonAsync(await WholeAsync(prompts.Count * request.N, request.N, steps, answer), Wire.Json, context.RequestAborted);
    }

    private static async Task<Completion> WholeAsync(int count, int choices, IAsyncEnumerable<CompletionStep> steps, Completion answer)
    {
        var texts = new StringBuilder[count];
        var last = new CompletionChoice[count];
        var logprobs = new CompletionLogprobs?[count];
        var usages = new GenerationUsage[count];
        await foreach (var step in steps)
        {
            var choice = step.Choice;
            (texts[choice.Index] ??= new StringBuilder()).Append(choice.Text);
            if (choice.Logprobs is { } more)
            {
                var all = logprobs[choice.Index] ??= CompletionLogprobs.Empty;
                all.Tokens.AddRange(more.Tokens);
                all.TokenLogprobs.AddRange(more.TokenLogprobs);
                all.TopLogprobs.AddRange(more.TopLogprobs);
                all.TextOffset.AddRange(more.TextOffset);
            }

            last[choice.Index] = choice;
            usages[choice.Index] = step.Usage ?? usages[choice.Index];
        }

        return answer with { Choices = [.. last.Select((c, i) => c with { Text = texts[i].ToString(), Logprobs = logprobs[i] })], Usage = Sum(usages, choices) };
    }

    private static async Task StreamAsync(HttpContext context, CompletionRequest request, IAsyncEnumerable<CompletionStep> steps, Completion answer)
    {
        var stream = new EventStream(context);
        var usages = new SortedDictionary<int, GenerationUsage>();
        await foreach (var step in stream.KeepingAlive(steps))
        {
            await stream.WriteAsync(answer with { Choices = [step.Choice] });
            if (step.Usage is { } usage)
                usages.Add(step.Choice.Index, usage);
        }

        if (request.StreamOptions.IncludeUsage)
            await stream.WriteAsync(answer with { Usage = Sum([.. usages.Values], request.N) });
        await stream.DoneAsync();
    }

    // A prompt counts once, however many texts go on with it.
    private static Usage Sum(GenerationUsage[] usages, int choices)
    {
        var each = usages.Chunk(choices).Select(chunk => Usage.Of(chunk.Select(u => (u, 0)))).ToList();
        return new Usage(each.Sum(u => u.PromptTokens), each.Sum(u => u.CompletionTokens), each.Sum(u => u.TotalTokens), each.Sum(u => u.PromptCacheHitTokens), each.Sum(u => u.PromptCacheMissTokens))
        {
            CompletionTokensDetails = new(0, each.Sum(u => u.CompletionTokensDetails.AcceptedPredictionTokens), each.Sum(u => u.CompletionTokensDetails.RejectedPredictionTokens)),
        };
    }

    private static int[] Prompt(CompletionRequest request, PromptInput input, ServedModel model)
    {
        var tokenizer = model.Tokenizer;
        if (input.Ids is { } given)
            return TokenIds.Known(given, "prompt", model);

        var addBos = tokenizer.AddBos && request.AddSpecialTokens;
        if (request.Suffix is null)
        {
            var ids = tokenizer.Encode(input.Text!, addBos, request.ParseSpecial);
            return ids.Length > 0 ? ids : throw new RequestRejectedException("Invalid 'prompt': it has no token.", "prompt", "invalid_value");
        }

        // PSM, as DeepSeek trains it: what comes before, what comes after, then the middle (DeepSeek-V3 report, section 4.1).
        List<int> filled = addBos ? [tokenizer.BosId!.Value] : [];
        filled.Add(Mark("<｜fim▁begin｜>"));
        tokenizer.Encode(input.Text!, filled, parseSpecial: request.ParseSpecial);
        filled.Add(Mark("<｜fim▁hole｜>"));
        tokenizer.Encode(request.Suffix, filled, parseSpecial: request.ParseSpecial);
        filled.Add(Mark("<｜fim▁end｜>"));
        return [.. filled];

        int Mark(string token) => tokenizer.TokenToId(token)
            ?? throw new RequestRejectedException($"The model '{model.Name}' cannot fill in: its vocabulary has no {token}.", "suffix", "unsupported_parameter");
    }

    private GenerationRequest Generation(CompletionRequest request, int[] prompt, ServedModel model)
    {
        var limit = TimeSpan.FromSeconds(options.MaxSeconds);
        var scores = request.Echo ? request.Logprobs : null;
        if (request.MaxTokens > 0)
            return ReadyChat.Requests(request, prompt, request.MaxTokens, model, limit) with { PromptLogprobs = scores };

        // Nothing is generated, so the prompt may fill the context.
        if (prompt.Length > model.Engine.ContextTokens)
            throw new Inference.Model.ContextOverflowException(prompt.Length, model.Engine.ContextTokens);
        return new GenerationRequest { Prompt = prompt, MaxNewTokens = 0, PromptLogprobs = scores, Priority = request.Priority, TimeLimit = limit };
    }

    private static async IAsyncEnumerable<CompletionStep> Read(CompletionRequest request, ServedModel model, int[] prompt, int index, IAsyncEnumerable<GenerationEvent> events)
    {
        var isFirst = true;
        var offset = 0;
        await foreach (var step in events)
        {
            var text = new StringBuilder();
            var logprobs = request.Logprobs is null ? null : CompletionLogprobs.Empty;
            if (isFirst && request.Echo)
            {
                text.Append(model.Tokenizer.Decode(prompt, skipSpecial: true));
                if (logprobs is not null)
                    AddPrompt(model, prompt, step, logprobs);
                offset = CodePoints(text.ToString());
            }

            isFirst = false;
            text.Append(step.Text);
            if (logprobs is not null && step.Logprob is { } logprob)
                Add(model, step.Id!.Value, logprob, step.TopLogprobs!, offset, logprobs);
            offset += CodePoints(step.Text);
            if (text.Length == 0 && step.FinishReason is null && logprobs is not { Tokens.Count: > 0 })
                continue;
            var reason = step.FinishReason switch { null => null, FinishReason.Stop => "stop", _ => "length" };
            yield return new CompletionStep(new CompletionChoice(index, text.ToString()) { Logprobs = logprobs, FinishReason = reason }, step.Usage);
        }
    }

    private static void AddPrompt(ServedModel model, int[] prompt, GenerationEvent step, CompletionLogprobs logprobs)
    {
        var detokenizer = new Checkpoints.Tokenization.StreamingDetokenizer(model.Tokenizer, skipSpecial: true);
        var offset = 0;
        for (var i = 0; i < prompt.Length; i++)
        {
            if (i == 0)
                logprobs.Add(Text(model, prompt[0]), null, [], 0);
            else if (step.PromptLogprobs is { } scored && scored.Count >= i)
                Add(model, prompt[i], scored[i - 1].Logprob, scored[i - 1].Top, offset, logprobs);
            offset += CodePoints(detokenizer.Push(prompt[i]));
        }
    }

    private static void Add(ServedModel model, int id, double logprob, IReadOnlyList<Inference.Sampling.TokenLogprob> top, int offset, CompletionLogprobs logprobs) =>
        logprobs.Add(Text(model, id), TokenInfos.Finite(logprob), top.Select(t => (Text(model, t.Id), TokenInfos.Finite(t.Logprob))), offset);

    // text_offset counts code points, as the clients' languages do that count with it.
    private static int CodePoints(string text) => text.EnumerateRunes().Count();

    private static string Text(ServedModel model, int id) => Encoding.UTF8.GetString(model.Tokenizer.DecodeBytes(id));

    private sealed record CompletionStep(CompletionChoice Choice, GenerationUsage? Usage);
}
