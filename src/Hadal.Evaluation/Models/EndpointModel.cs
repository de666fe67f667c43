using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Hadal.Evaluation.Models;

/// <summary>
/// A model behind an OpenAI-compatible server. Log-likelihoods come from <c>/v1/completions</c> with <c>echo</c> and <c>logprobs</c>, which many servers accept
/// and some answer without: a probe finds out before anything is scored, and each answer is checked again. Generations come from completions, or from chat.
/// </summary>
public sealed class EndpointModel : IEvaluationModel
{
    private const int FullWindow = 512;

    private const string ProbeContext = "The days of the week are Monday, Tuesday, Wednesday, Thursday,";

    private readonly EndpointClient client;
    private readonly EndpointOptions options;

    /// <summary>Describes an endpoint; nothing is sent yet.</summary>
    /// <param name="options">Address, model, concurrency, retries.</param>
    /// <param name="handler">Sends requests; null for the system's. Stays the caller's.</param>
    /// <param name="time">Clock of back-off; null for the system's.</param>
    public EndpointModel(EndpointOptions options, HttpMessageHandler? handler = null, TimeProvider? time = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        this.options = options;
        client = new EndpointClient(options, handler, time ?? TimeProvider.System);
        var where = $"{options.Endpoint} {options.Model}{(options.Chat ? " chat" : string.Empty)}";
        Identity = new ModelIdentity(options.Model, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(where))), null, null, $"endpoint {options.Endpoint}, {(options.Chat ? "chat" : "completions")}");
    }

    /// <inheritdoc/>
    public ModelIdentity Identity { get; }

    /// <inheritdoc/>
    public async Task CheckAsync(bool loglikelihood, CancellationToken cancellation)
    {
        if (!loglikelihood)
            return;
        Loglikelihood likely, unlikely;
        try
        {
            likely = await ScoreAsync(new LoglikelihoodRequest(ProbeContext, " Friday"), cancellation);
            unlikely = await ScoreAsync(new LoglikelihoodRequest(ProbeContext, " gravel"), cancellation);
        }
        catch (Exception e) when (e is EndpointException or InvalidDataException)
        {
            throw new ModelUnfitException($"{options.Endpoint} cannot give log-probabilities of a prompt (/v1/completions with echo and logprobs): {e.Message}");
        }

        // The same number for whatever is asked, or none at all, would make every score chance.
        if (likely.Sum == unlikely.Sum || likely.Sum >= 0 || unlikely.Sum >= 0)
            throw new ModelUnfitException($"{options.Endpoint} gives log-probabilities that do not depend on the text ({likely.Sum} and {unlikely.Sum} for two different words)");
    }

    /// <inheritdoc/>
    public Task<IReadOnlyList<Loglikelihood>> LoglikelihoodsAsync(IReadOnlyList<LoglikelihoodRequest> requests, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(requests);
        return EachAsync(requests, r => ScoreAsync(r, cancellation), cancellation);
    }

    /// <inheritdoc/>
    public Task<IReadOnlyList<Loglikelihood>> RollingAsync(IReadOnlyList<string> texts, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(texts);
        return EachAsync(texts, t => RollAsync(t, cancellation), cancellation);
    }

    /// <inheritdoc/>
    public Task<IReadOnlyList<Generation>> GenerateAsync(IReadOnlyList<GenerationInput> inputs, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(inputs);
        return EachAsync(inputs, i => GenerateAsync(i, cancellation), cancellation);
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        client.Dispose();
        return ValueTask.CompletedTask;
    }

    /// <summary>Sums the log-probabilities of the tokens that reach beyond the context, from an answer with echo.</summary>
    /// <param name="answer">The answer.</param>
    /// <param name="context">What is not scored.</param>
    /// <param name="continuation">What is.</param>
    /// <exception cref="InvalidDataException">The answer does not hold them; it says which part is missing.</exception>
    internal static Loglikelihood Sum(JsonElement answer, string context, string continuation)
    {
        var choice = Choice(answer);
        if (Find(choice, "text") is { ValueKind: JsonValueKind.String } echoed && !echoed.GetString()!.TrimStart().StartsWith((context + continuation).Trim(), StringComparison.Ordinal))
            throw new InvalidDataException("the echo is not the prompt: it was cut, or is not echoed");
        var logprobs = Find(choice, "logprobs") ?? throw new InvalidDataException("the answer has no 'logprobs'");
        if (Find(logprobs, "tokens") is not { ValueKind: JsonValueKind.Array } tokens || Find(logprobs, "token_logprobs") is not { ValueKind: JsonValueKind.Array } values)
            throw new InvalidDataException("'logprobs' has no 'tokens' and 'token_logprobs': prompt log-probabilities are not supported");
        if (tokens.GetArrayLength() != values.GetArrayLength())
            throw new InvalidDataException($"'logprobs' has {tokens.GetArrayLength()} tokens and {values.GetArrayLength()} values");
        var offsets = Offsets(logprobs, tokens);
        var (start, length) = (Runes(context), Runes(context) + Runes(continuation));
        var (sum, count, greedy, reached) = (0.0, 0, true, 0);
        for (var i = 0; i < offsets.Count; i++)
        {
            // The token that was generated after the echo begins where the text ends.
            if (offsets[i] >= length)
                break;
            var end = i + 1 < offsets.Count ? offsets[i + 1] : offsets[i] + Math.Max(1, Runes(tokens[i].GetString() ?? string.Empty));
            reached = Math.Max(reached, Math.Min(end, length));

            // A token that is part of a character adds nothing to the text, and counts to where it begins.
            if (end <= start && offsets[i] < start)
                continue;
            if (values[i].ValueKind != JsonValueKind.Number || values[i].GetDouble() is var value && (double.IsNaN(value) || value > 1e-3))
            {
                // Only the very first token of a text has no probability.
                if (i == 0 && values[i].ValueKind == JsonValueKind.Null && start == 0)
                    continue;
                throw new InvalidDataException($"token {i} has no log-probability");
            }

            sum += values[i].GetDouble();
            greedy &= IsBest(logprobs, i, values[i].GetDouble());
            count++;
        }

        if (reached < length)
            throw new InvalidDataException($"the echo ends after {reached} of {length} characters: the prompt was cut");
        return count > 0 ? new Loglikelihood(sum, count, greedy) : throw new InvalidDataException("no token of the continuation is in the echo");
    }

    private async Task<Loglikelihood> ScoreAsync(LoglikelihoodRequest request, CancellationToken cancellation) =>
        Sum(await EchoAsync(request.Context + request.Continuation, cancellation), request.Context, request.Continuation);

    private Task<JsonElement> EchoAsync(string text, CancellationToken cancellation) => client.PostAsync("completions", new JsonObject
    {
        ["model"] = options.Model, ["prompt"] = text, ["max_tokens"] = options.EchoTokens, ["temperature"] = 0, ["echo"] = true, ["logprobs"] = 1, ["seed"] = 0,
    }, cancellation);

    // The whole text where the server takes it; its tokens are the server's business, so that windows are cut at characters.
    private async Task<Loglikelihood> RollAsync(string text, CancellationToken cancellation)
    {
        var (sum, tokens, greedy) = (0.0, 0, true);
        for (var start = 0; start < text.Length;)
        {
            var length = Math.Min(options.WindowCharacters, text.Length - start);
            if (start + length < text.Length && char.IsHighSurrogate(text[start + length - 1]))
                length--;
            var context = start == 0 ? string.Empty : text[Math.Max(0, start - FullWindow)..start];
            if (context.Length > 0 && char.IsLowSurrogate(context[0]))
                context = context[1..];
            var part = text.Substring(start, length);
            var score = Sum(await EchoAsync(context + part, cancellation), context, part);
            (sum, tokens, greedy) = (sum + score.Sum, tokens + score.Tokens, greedy && score.IsGreedy);
            start += length;
        }

        return new Loglikelihood(sum, tokens, greedy);
    }

    private async Task<Generation> GenerateAsync(GenerationInput input, CancellationToken cancellation)
    {
        var request = new JsonObject
        {
            ["model"] = options.Model, ["max_tokens"] = input.MaxTokens, ["temperature"] = input.Temperature, ["top_p"] = input.TopP, ["seed"] = input.Seed,

            // Servers take four stop strings; all of them are applied again below.
            ["stop"] = new JsonArray([.. input.Stop.Take(4).Select(s => (JsonNode)s)]),
        };
        if (options.Chat)
            request["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = input.Prompt });
        else
            request["prompt"] = input.Prompt;
        var choice = Choice(await client.PostAsync(options.Chat ? "chat/completions" : "completions", request, cancellation));
        var text = options.Chat ? Find(choice, "message") is { } message ? Find(message, "content") : null : Find(choice, "text");
        if (text is not { ValueKind: JsonValueKind.String } content)
            throw new InvalidDataException($"{options.Endpoint}: the answer has no text");
        var output = content.GetString()!;
        var end = input.Stop.Select(s => output.IndexOf(s, StringComparison.Ordinal)).Where(i => i >= 0).DefaultIfEmpty(output.Length).Min();
        return new Generation(output[..end], end == output.Length && Find(choice, "finish_reason") is { ValueKind: JsonValueKind.String } reason && reason.GetString() == "length");
    }

    private async Task<IReadOnlyList<TResult>> EachAsync<T, TResult>(IReadOnlyList<T> inputs, Func<T, Task<TResult>> ask, CancellationToken cancellation)
    {
        using var places = new SemaphoreSlim(options.Concurrency);
        return await Task.WhenAll(inputs.Select(async input =>
        {
            await places.WaitAsync(cancellation);
            try
            {
                return await ask(input);
            }
            finally
            {
                places.Release();
            }
        }));
    }

    private static JsonElement Choice(JsonElement answer) =>
        Find(answer, "choices") is { ValueKind: JsonValueKind.Array } choices && choices.GetArrayLength() > 0 ? choices[0] : throw new InvalidDataException("the answer has no 'choices'");

    private static JsonElement? Find(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private static List<int> Offsets(JsonElement logprobs, JsonElement tokens)
    {
        if (Find(logprobs, "text_offset") is { ValueKind: JsonValueKind.Array } given && given.GetArrayLength() == tokens.GetArrayLength() && given.EnumerateArray().All(o => o.TryGetInt32(out _)))
            return [.. given.EnumerateArray().Select(o => o.GetInt32())];
        var (offsets, at) = (new List<int>(), 0);
        foreach (var token in tokens.EnumerateArray())
        {
            offsets.Add(at);
            at += token.ValueKind == JsonValueKind.String ? Runes(token.GetString()!) : throw new InvalidDataException("'tokens' holds what is no text");
        }

        return offsets;
    }

    // Offsets count code points, as Python does.
    private static int Runes(string text) => text.EnumerateRunes().Count();

    private static bool IsBest(JsonElement logprobs, int index, double value) =>
        Find(logprobs, "top_logprobs") is not { ValueKind: JsonValueKind.Array } top || index >= top.GetArrayLength() || top[index].ValueKind != JsonValueKind.Object
        || top[index].EnumerateObject().All(p => p.Value.ValueKind != JsonValueKind.Number || p.Value.GetDouble() <= value + 1e-6);
}

/// <summary>An endpoint, and how it is asked.</summary>
public sealed record EndpointOptions
{
    /// <summary>Address of the API, with or without <c>/v1</c>.</summary>
    public required Uri Endpoint { get; init; }

    /// <summary>The model's name there.</summary>
    public required string Model { get; init; }

    /// <summary>Bearer key, or null.</summary>
    public string? Key { get; init; }

    /// <summary>Whether generations go through chat completions.</summary>
    public bool Chat { get; init; }

    /// <summary>Requests at once.</summary>
    public int Concurrency { get; init; } = 8;

    /// <summary>How often a request is sent before it is given up.</summary>
    public int Attempts { get; init; } = 6;

    /// <summary>The first wait after a failure; each next one is twice as long.</summary>
    public TimeSpan FirstWait { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The longest wait, a server's own wish included.</summary>
    public TimeSpan LongestWait { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>Time for one answer.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Characters of a text that are scored at a time.</summary>
    public int WindowCharacters { get; init; } = 8192;

    /// <summary>Tokens generated after an echo: some servers refuse 0.</summary>
    public int EchoTokens { get; init; } = 1;
}
