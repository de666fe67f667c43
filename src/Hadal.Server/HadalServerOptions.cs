using System.Net;
using Hadal.Inference.Chat;

namespace Hadal.Server;

/// <summary>
/// What a server offers and what it allows. Bound from the configuration section <c>Hadal</c> (appsettings.json, environment variables such as
/// <c>Hadal__MaxBodyBytes</c>), or made in code.
/// </summary>
public sealed record HadalServerOptions
{
    /// <summary>The configuration section.</summary>
    public const string Section = "Hadal";

    /// <summary>Where <c>hadal serve</c> listens; a server inside another application listens where that does.</summary>
    public ServerBinding Listen { get; init; } = new();

    /// <summary>Models of this machine.</summary>
    public IReadOnlyList<LocalModelOptions> Models { get; init; } = [];

    /// <summary>Other servers whose models are offered beside them.</summary>
    public IReadOnlyList<UpstreamOptions> Upstreams { get; init; } = [];

    /// <summary>Other names of models: the name a client uses, and the model it means.</summary>
    public IReadOnlyDictionary<string, string> Aliases { get; init; } = new Dictionary<string, string>();

    /// <summary>For a model that cannot answer, the models tried in its stead, in order. Only upstream models fall back.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> Fallbacks { get; init; } = new Dictionary<string, IReadOnlyList<string>>();

    /// <summary>Memory of all loaded models together, weights and caches; 0 for what the machine has. The least recently used ones make room.</summary>
    public long MemoryBudgetBytes { get; init; }

    /// <summary>Keys that clients may show as <c>Authorization: Bearer KEY</c>; none for a server without keys.</summary>
    public IReadOnlyList<string> ApiKeys { get; init; } = [];

    /// <summary>Host names a server without keys answers to beside localhost; a page on the web cannot reach it under a name of its own then.</summary>
    public IReadOnlyList<string> AllowedHosts { get; init; } = [];

    /// <summary>Origins whose pages may call the API from a browser; none by default.</summary>
    public IReadOnlyList<string> CorsOrigins { get; init; } = [];

    /// <summary>Most bytes of a request's body.</summary>
    public long MaxBodyBytes { get; init; } = 16 << 20;

    /// <summary>Most connections at once.</summary>
    public int MaxConnections { get; init; } = 1000;

    /// <summary>Seconds a generation may take at most, waiting included; what there is by then is the answer.</summary>
    public double MaxSeconds { get; init; } = 3600;

    /// <summary>Seconds that running requests get to finish when the server is told to stop.</summary>
    public double ShutdownSeconds { get; init; } = 30;

    /// <summary>Whether the chat page is served at <c>/</c>.</summary>
    public bool Page { get; init; } = true;
}

/// <summary>Where a server listens.</summary>
public sealed record ServerBinding
{
    /// <summary>Address, or <c>localhost</c>, or <c>*</c> for all; loopback by default.</summary>
    public string Host { get; init; } = "127.0.0.1";

    /// <summary>Port; 0 takes a free one.</summary>
    public int Port { get; init; } = 8080;

    /// <summary>A certificate in PEM, for TLS; null for plain HTTP.</summary>
    public string? CertificateFile { get; init; }

    /// <summary>The certificate's key in PEM; null where it is in the same file.</summary>
    public string? KeyFile { get; init; }

    /// <summary>Whether an address that others can reach is allowed without keys.</summary>
    public bool AllowOpen { get; init; }

    /// <summary>The address.</summary>
    /// <exception cref="ArgumentException">The host is none of what it may be.</exception>
    internal IPAddress Address => Host switch
    {
        "localhost" => IPAddress.Loopback,
        "*" or "0.0.0.0" => IPAddress.Any,
        _ => IPAddress.TryParse(Host, out var address) ? address : throw new ArgumentException($"expected an IP address, localhost or *, found '{Host}'", nameof(Host)),
    };
}

/// <summary>A model of this machine.</summary>
public sealed record LocalModelOptions
{
    /// <summary>The name clients use; empty for the name of folder or file.</summary>
    public string Name { get; init; } = "";

    /// <summary>A model folder or a .gguf file.</summary>
    public string Path { get; init; } = "";

    /// <summary>Name of the chat template; null for the model's own.</summary>
    public string? ChatTemplate { get; init; }

    /// <summary>Tokens of all sequences and of the prefix cache together; null for the model's context, at most 16384.</summary>
    public int? CacheTokens { get; init; }

    /// <summary>Requests computed together.</summary>
    public int MaxSequences { get; init; } = 32;

    /// <summary>Requests that may wait; one more gets status 429.</summary>
    public int MaxWaiting { get; init; } = 256;

    /// <summary>Whether it is loaded when the server starts, and never makes room for another.</summary>
    public bool Resident { get; init; }

    /// <summary>Everything else about how it is run; <see cref="CacheTokens"/>, <see cref="MaxSequences"/>, <see cref="MaxWaiting"/> and <see cref="ChatTemplate"/> override it.</summary>
    public HadalModelOptions Run { get; init; } = new();
}

/// <summary>Another server that speaks OpenAI's API.</summary>
public sealed record UpstreamOptions
{
    /// <summary>Its name, for logs and metrics.</summary>
    public string Name { get; init; } = "";

    /// <summary>Where it is, <c>/v1</c> included.</summary>
    public Uri? BaseUrl { get; init; }

    /// <summary>The environment variable that holds its key; null where it needs none.</summary>
    public string? KeyVariable { get; init; }

    /// <summary>Its models; each is offered under this name.</summary>
    public IReadOnlyList<string> Models { get; init; } = [];

    /// <summary>Other names of its models: the name clients use, and the name it knows.</summary>
    public IReadOnlyDictionary<string, string> Aliases { get; init; } = new Dictionary<string, string>();

    /// <summary>Seconds until it has to begin its answer.</summary>
    public double TimeoutSeconds { get; init; } = 120;

    /// <summary>Seconds that may pass between two pieces of a stream.</summary>
    public double IdleSeconds { get; init; } = 60;

    /// <summary>How often a request that failed before its answer began is tried again.</summary>
    public int Retries { get; init; } = 2;
}
