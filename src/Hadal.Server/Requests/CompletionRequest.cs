using System.Text.Json;

namespace Hadal.Server.Requests;

/// <summary>The body of <c>POST /v1/completions</c>.</summary>
internal sealed record CompletionRequest : SamplingRequest
{
    private const int MostPrompts = 256;
    private const int MostLogprobs = 20;
    private const int DefaultTokens = 16;

    /// <summary>Texts or token ids to go on with: a string, an array of strings, an array of ids, or an array of such arrays.</summary>
    public required IReadOnlyList<PromptInput> Prompts { get; init; }

    /// <summary>What follows the text to be filled in; the model has to know how (fill-in-the-middle).</summary>
    public string? Suffix { get; init; }

    /// <summary>Most tokens to generate; 0 only scores the prompt, with <see cref="Echo"/> and <see cref="Logprobs"/>.</summary>
    public int MaxTokens { get; init; }

    /// <summary>Whether the prompt stands before the text.</summary>
    public bool Echo { get; init; }

    /// <summary>How many of the most probable alternatives are given with each token; with <see cref="Echo"/>, with the prompt's, too.</summary>
    public int? Logprobs { get; init; }

    /// <summary>Whether control tokens spelled in the prompt become such tokens. An extension; off by default.</summary>
    public bool ParseSpecial { get; init; }

    /// <summary>Whether a prompt of text begins with the token that begins a text, where the model is used to it. An extension.</summary>
    public bool AddSpecialTokens { get; init; } = true;

    /// <summary>Reads and checks a request.</summary>
    public static CompletionRequest Read(RequestFields fields)
    {
        var request = Read(fields, new CompletionRequest
        {
            Model = fields.RequiredText("model", 256),
            Prompts = Inputs(fields),
            Suffix = fields.Text("suffix") is { Length: > 0 } suffix ? suffix : null,
            MaxTokens = (int)(fields.Integer("max_tokens", 0, int.MaxValue) ?? DefaultTokens),
            Echo = fields.Flag("echo") ?? false,
            Logprobs = LogprobCount(fields),
            ParseSpecial = fields.Flag("parse_special") ?? false,
            AddSpecialTokens = fields.Flag("add_special_tokens") ?? true,
        });
        if (request.Suffix is not null && request.Echo)
            throw new RequestRejectedException("Invalid 'echo': it cannot be used with 'suffix'.", "echo", "invalid_value");
        if (request.Suffix is not null && request.Prompts.Any(p => p.Text is null))
            throw new RequestRejectedException("Invalid 'prompt': with 'suffix' it has to be text.", "prompt", "invalid_value");
        if (fields.Integer("best_of", 1) is { } best && best != request.N)
            throw new RequestRejectedException("Invalid 'best_of': only the value of 'n' is supported.", "best_of", "unsupported_parameter");
        return request;
    }

    private static int? LogprobCount(RequestFields fields) => fields.Get("logprobs") switch
    {
        { ValueKind: JsonValueKind.True } => 1,
        { ValueKind: JsonValueKind.False } => null,
        _ => (int?)fields.Integer("logprobs", 0, MostLogprobs),
    };

    private static IReadOnlyList<PromptInput> Inputs(RequestFields fields)
    {
        var prompt = fields.Get("prompt") ?? throw fields.Missing("prompt");
        if (prompt.ValueKind == JsonValueKind.String)
            return [new PromptInput(RequestFields.TextOf(prompt, "prompt"), null)];
        if (prompt.ValueKind != JsonValueKind.Array)
            throw RequestFields.WrongType("prompt", "a string or an array", prompt);
        if (prompt.GetArrayLength() == 0)
            throw new RequestRejectedException("Invalid 'prompt': empty array.", "prompt", "empty_array");
        if (prompt[0].ValueKind == JsonValueKind.Number)
            return [new PromptInput(null, Ids(prompt, "prompt"))];
        return
        [
            .. RequestFields.Elements(prompt, "prompt", MostPrompts).Select(e => e.Value.ValueKind switch
            {
                JsonValueKind.String => new PromptInput(RequestFields.TextOf(e.Value, e.Path), null),
                JsonValueKind.Array => new PromptInput(null, Ids(e.Value, e.Path)),
                _ => throw RequestFields.WrongType(e.Path, "a string or an array of token ids", e.Value),
            }),
        ];
    }

    /// <summary>Token ids of an array.</summary>
    internal static int[] Ids(JsonElement array, string path)
    {
        if (array.GetArrayLength() == 0)
            throw new RequestRejectedException($"Invalid '{path}': empty array.", path, "empty_array");
        return [.. RequestFields.Elements(array, path, int.MaxValue).Select(e => e.Value.ValueKind == JsonValueKind.Number && e.Value.TryGetInt32(out var id) && id >= 0 ? id : throw RequestFields.WrongType(e.Path, "a token id", e.Value))];
    }
}

/// <summary>A prompt: text, or token ids.</summary>
internal sealed record PromptInput(string? Text, int[]? Ids);
