using Hadal.Server.Requests;
using Hadal.Server.Upstreams;

namespace Hadal.Server.Models;

/// <summary>One way to answer for a name.</summary>
/// <param name="Model">The model's own name, there.</param>
/// <param name="Upstream">Who runs it; null for this server.</param>
internal sealed record Route(string Model, Upstream? Upstream);

/// <summary>Every name a client may use, and what it stands for. Immutable.</summary>
internal sealed class ModelDirectory
{
    private readonly Dictionary<string, Route> routes = new(StringComparer.Ordinal);
    private readonly IReadOnlyDictionary<string, IReadOnlyList<string>> fallbacks;
    private readonly ModelShelf shelf;

    /// <summary>Puts the names together.</summary>
    /// <exception cref="ArgumentException">A name is there twice, or an alias or fallback leads nowhere.</exception>
    public ModelDirectory(HadalServerOptions options, ModelShelf shelf)
    {
        this.shelf = shelf;
        fallbacks = options.Fallbacks;
        foreach (var model in shelf.Models)
            Add(model.Name, new Route(model.Name, null));
        foreach (var upstream in options.Upstreams.Select(u => new Upstream(u)))
        {
            foreach (var model in upstream.Options.Models)
                Add(model, new Route(model, upstream));
            foreach (var (name, model) in upstream.Options.Aliases)
                Add(name, new Route(model, upstream));
        }

        foreach (var (name, model) in options.Aliases)
            Add(name, routes.GetValueOrDefault(model) ?? throw new ArgumentException($"alias '{name}': there is no model '{model}'", nameof(options)));
        foreach (var (name, others) in fallbacks)
        {
            if (others.Prepend(name).FirstOrDefault(n => !routes.ContainsKey(n)) is { } missing)
                throw new ArgumentException($"fallbacks of '{name}': there is no model '{missing}'", nameof(options));
        }

        Names = [.. routes.Keys];
    }

    /// <summary>The names: local models, those of upstreams, aliases.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>The local model of requests that need name none.</summary>
    public string DefaultLocal => shelf.Models.FirstOrDefault()?.Name ?? throw new RequestRejectedException("This server has no local model.", "model", "model_not_found", 404);

    /// <summary>What may answer for a name, in the order to be tried.</summary>
    /// <exception cref="RequestRejectedException">There is none of that name.</exception>
    public IEnumerable<Route> RoutesOf(string name) => fallbacks.GetValueOrDefault(name, []).Select(n => routes[n]).Prepend(Find(name));

    /// <summary>The local model of a name.</summary>
    /// <exception cref="RequestRejectedException">There is none of that name on this server.</exception>
    public string FindLocal(string name) => Find(name) is { Upstream: null, Model: var own } ? own
        : throw new RequestRejectedException($"The model '{name}' is not one of this machine.", "model", "model_not_found", 404);

    /// <summary>Who runs a model: this server, or the name of an upstream.</summary>
    public string OwnerOf(string name) => Find(name).Upstream?.Options.Name ?? "hadal";

    private Route Find(string name) => routes.GetValueOrDefault(name) ?? throw new RequestRejectedException(
        $"The model '{name}' does not exist. This server has: {string.Join(", ", Names)}.", "model", "model_not_found", 404);

    private void Add(string name, Route route)
    {
        if (!routes.TryAdd(name, route))
            throw new ArgumentException($"two models are named '{name}'");
    }
}
