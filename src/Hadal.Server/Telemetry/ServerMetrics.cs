using System.Diagnostics;
using System.Diagnostics.Metrics;
using Hadal.Server.Models;

namespace Hadal.Server.Telemetry;

/// <summary>
/// What is measured: traces and <c>gen_ai.*</c> metrics by OpenTelemetry's conventions for generative AI, and the state of the engines. One for each
/// application.
/// </summary>
internal sealed class ServerMetrics
{
    /// <summary>Name of the meter and of the activity source.</summary>
    public const string Name = "Hadal.Server";

    private readonly Histogram<double> duration;
    private readonly Histogram<double> firstToken;
    private readonly Histogram<double> perToken;
    private readonly Histogram<long> tokens;

    /// <summary>Makes the instruments.</summary>
    public ServerMetrics(IMeterFactory factory, ModelShelf shelf)
    {
        Meter = factory.Create(Name);
        duration = Meter.CreateHistogram<double>("gen_ai.server.request.duration", "s", "Time of a request, from its body to the end of its answer.");
        firstToken = Meter.CreateHistogram<double>("gen_ai.server.time_to_first_token", "s", "Time until the first piece of an answer, waiting included.");
        perToken = Meter.CreateHistogram<double>("gen_ai.server.time_per_output_token", "s", "Time of each token behind the first.");
        tokens = Meter.CreateHistogram<long>("gen_ai.client.token.usage", "{token}", "Tokens of prompts and answers.");
        Observe("hadal.engine.running", "Requests being computed.", shelf, s => s.Running);
        Observe("hadal.engine.waiting", "Requests waiting.", shelf, s => s.Waiting);
        Observe("hadal.engine.cache.pages", "Cache pages.", shelf, s => s.Pages);
        Observe("hadal.engine.cache.free_pages", "Cache pages that nothing holds.", shelf, s => s.FreePages);
        Observe("hadal.engine.cache.prefix_pages", "Cache pages of the prefix cache.", shelf, s => s.PrefixPages);
        Meter.CreateObservableCounter("hadal.engine.generated_tokens", () => Each(shelf, s => s.GeneratedTokens), "{token}", "Tokens generated.");
        Meter.CreateObservableCounter("hadal.engine.prompt_tokens", () => Each(shelf, s => s.PromptTokens), "{token}", "Prompt tokens.");
        Meter.CreateObservableCounter("hadal.engine.cached_tokens", () => Each(shelf, s => s.CachedTokens), "{token}", "Prompt tokens found in the prefix cache.");
        Meter.CreateObservableCounter("hadal.engine.preemptions", () => Each(shelf, s => s.Preemptions), "{preemption}", "Sequences that gave up their pages.");
    }

    /// <summary>The meter.</summary>
    public Meter Meter { get; }

    /// <summary>Traces: one span for each request.</summary>
    public ActivitySource Activities { get; } = new(Name);

    /// <summary>Records a request that has ended.</summary>
    public void Record(in RequestRecord request)
    {
        var tags = new TagList { { "gen_ai.operation.name", request.Operation }, { "gen_ai.provider.name", request.Provider }, { "gen_ai.request.model", request.Model } };
        var withError = tags;
        if (request.Error is not null)
            withError.Add("error.type", request.Error);
        duration.Record(request.Seconds, withError);
        if (request.SecondsToFirst is { } first)
            firstToken.Record(first, tags);
        if (request.OutputTokens > 1 && request.SecondsToFirst is { } begun)
            perToken.Record((request.Seconds - begun) / (request.OutputTokens - 1), tags);
        if (request.Error is not null)
            return;
        var (input, output) = (tags, tags);
        input.Add("gen_ai.token.type", "input");
        output.Add("gen_ai.token.type", "output");
        tokens.Record(request.InputTokens, input);
        tokens.Record(request.OutputTokens, output);
    }

    private void Observe(string name, string description, ModelShelf shelf, Func<Inference.Engine.EngineStatistics, int> value) =>
        Meter.CreateObservableGauge(name, () => Each(shelf, s => value(s)), null, description);

    private static IEnumerable<Measurement<long>> Each(ModelShelf shelf, Func<Inference.Engine.EngineStatistics, long> value) =>
        shelf.Loaded.Select(l => new Measurement<long>(value(l.Model.Engine.Statistics), new KeyValuePair<string, object?>("gen_ai.request.model", l.Model.Name)));
}

/// <summary>A request that has ended.</summary>
internal readonly record struct RequestRecord(string Operation, string Provider, string Model)
{
    /// <summary>From its body to the end of its answer.</summary>
    public double Seconds { get; init; }

    /// <summary>Until the first piece of the answer; null where there was none.</summary>
    public double? SecondsToFirst { get; init; }

    /// <summary>Tokens of the prompt.</summary>
    public long InputTokens { get; init; }

    /// <summary>Of these, found in the cache.</summary>
    public long CachedTokens { get; init; }

    /// <summary>Tokens generated.</summary>
    public long OutputTokens { get; init; }

    /// <summary>What it ended with instead of an answer; null where it has one.</summary>
    public string? Error { get; init; }
}
