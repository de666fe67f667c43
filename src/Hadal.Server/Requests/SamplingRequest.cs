using System.Globalization;
using System.Text.Json;
using Hadal.Inference.Sampling;

namespace Hadal.Server.Requests;

/// <summary>What every request for text may say about how it is generated; names are those of the wire in Pascal case.</summary>
internal abstract record SamplingRequest
{
    private const int MostStops = 16;
    private const int MostStopLength = 1024;
    private const int MostChoices = 128;
    private const int MostBiases = 1024;

    /// <summary>The model's name.</summary>
    public required string Model { get; init; }

    /// <summary>Randomness of the choice, 0 to 2; 0 takes the most probable token. Default 1.</summary>
    public double? Temperature { get; init; }

    /// <summary>Choose among the most probable tokens whose probabilities reach this sum.</summary>
    public double? TopP { get; init; }

    /// <summary>Choose among this many most probable tokens; 0 is off.</summary>
    public int? TopK { get; init; }

    /// <summary>Choose among tokens at least this fraction as probable as the most probable one.</summary>
    public double? MinP { get; init; }

    /// <summary>Divide the logits of tokens seen before by this.</summary>
    public double? RepetitionPenalty { get; init; }

    /// <summary>Subtracted from a token's logit for every time it was generated, -2 to 2.</summary>
    public double? FrequencyPenalty { get; init; }

    /// <summary>Subtracted from the logit of each token that was generated, -2 to 2.</summary>
    public double? PresencePenalty { get; init; }

    /// <summary>Token id to what is added to its logit, -100 to 100.</summary>
    public IReadOnlyDictionary<int, double> LogitBias { get; init; } = new Dictionary<int, double>();

    /// <summary>The same seed gives the same text, alone or under load.</summary>
    public long? Seed { get; init; }

    /// <summary>Texts that end the generation; a string or an array of them.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>Number of answers.</summary>
    public int N { get; init; } = 1;

    /// <summary>Whether the answer comes as server-sent events.</summary>
    public bool Stream { get; init; }

    /// <summary>What the stream is to contain.</summary>
    public StreamOptions StreamOptions { get; init; } = new();

    /// <summary>Seconds after which the generation ends with what there is. An extension.</summary>
    public double? Timeout { get; init; }

    /// <summary>
    /// Whether this is beside a conversation (a title, tags) and must not displace it from the prefix cache. An extension; Open WebUI's own side requests
    /// are recognised without it.
    /// </summary>
    public bool? SideRequest { get; init; }

    /// <summary>Requests of higher priority are served first, -100 to 100. An extension.</summary>
    public int Priority { get; init; }

    /// <summary>How tokens are chosen, for one of the answers; each has a seed of its own.</summary>
    public SamplingOptions Sampling(int choice, int? topLogprobs) => new()
    {
        Temperature = Temperature ?? 1,
        TopP = TopP is { } p ? Math.Max(p, double.Epsilon) : 1,
        TopK = TopK ?? 0,
        MinP = MinP ?? 0,
        RepetitionPenalty = RepetitionPenalty ?? 1,
        FrequencyPenalty = FrequencyPenalty ?? 0,
        PresencePenalty = PresencePenalty ?? 0,
        LogitBias = LogitBias,
        Seed = Seed is { } seed ? unchecked((int)(seed ^ (seed >> 32)) + (choice * 0x3C6EF35F)) : null,
        TopLogprobs = topLogprobs,
    };

    /// <summary>Reads the fields of this record into one that has the others.</summary>
    protected static T Read<T>(RequestFields fields, T request)
        where T : SamplingRequest => request with
        {
            Temperature = fields.Number("temperature", 0, 2),
            TopP = fields.Number("top_p", 0, 1),
            TopK = (int?)fields.Integer("top_k", -1, int.MaxValue) is { } k ? Math.Max(k, 0) : null,
            MinP = fields.Number("min_p", 0, 1),
            RepetitionPenalty = fields.Number("repetition_penalty", 0.01, 100),
            FrequencyPenalty = fields.Number("frequency_penalty", -2, 2),
            PresencePenalty = fields.Number("presence_penalty", -2, 2),
            LogitBias = Biases(fields),
            Seed = fields.Integer("seed"),
            Stop = Stops(fields),
            N = (int)(fields.Integer("n", 1, MostChoices) ?? 1),
            Stream = fields.Flag("stream") ?? false,
            StreamOptions = new() { IncludeUsage = fields.Object("stream_options")?.Flag("include_usage") ?? false },
            Timeout = fields.Number("timeout", 0.001, 1e6),
            SideRequest = fields.Flag("side_request"),
            Priority = (int)(fields.Integer("priority", -100, 100) ?? 0),
        };

    private static IReadOnlyList<string> Stops(RequestFields fields)
    {
        if (fields.Get("stop") is not { } stop)
            return [];
        var path = fields.PathOf("stop");
        var elements = stop.ValueKind == JsonValueKind.Array ? RequestFields.Elements(stop, path, MostStops) : [(stop, path)];
        var texts = new List<string>();
        foreach (var (value, at) in elements)
        {
            if (value.ValueKind != JsonValueKind.String)
                throw RequestFields.WrongType(at, "a string", value);

            // An empty stop string would stop everything; OpenAI lets it do nothing.
            if (RequestFields.TextOf(value, at, MostStopLength) is { Length: > 0 } text)
                texts.Add(text);
        }

        return texts;
    }

    private static Dictionary<int, double> Biases(RequestFields fields)
    {
        var biases = new Dictionary<int, double>();
        if (fields.Object("logit_bias") is not { } map)
            return biases;
        foreach (var entry in map.Element.EnumerateObject())
        {
            if (!int.TryParse(entry.Name, NumberStyles.None, CultureInfo.InvariantCulture, out var id))
                throw new RequestRejectedException($"Invalid key in 'logit_bias': '{entry.Name}'. Keys are token ids.", "logit_bias", "invalid_value");
            biases[id] = map.Number(entry.Name, -100, 100) ?? 0;
            if (biases.Count > MostBiases)
                throw new RequestRejectedException($"Invalid 'logit_bias': too many entries. Expected at most {MostBiases}.", "logit_bias", "object_above_max_properties");
        }

        return biases;
    }
}

/// <summary>What a stream is to contain.</summary>
internal sealed record StreamOptions
{
    /// <summary>Whether a last chunk, without choices, gives the usage.</summary>
    public bool IncludeUsage { get; init; }
}
