using Hadal.Server.Requests;

namespace Hadal.Server.Models;

/// <summary>Every name a client may use, and what it stands for. Immutable.</summary>
internal sealed class ModelDirectory
{
    private readonly ModelShelf shelf;
    private readonly IReadOnlyDictionary<string, string> aliases;

    /// <summary>Puts the names together.</summary>
    public ModelDirectory(HadalServerOptions options, ModelShelf shelf)
    {
        this.shelf = shelf;
        aliases = options.Aliases;
        Names = [.. shelf.Models.Select(m => m.Name), .. aliases.Keys];
    }

    /// <summary>The names, local models first.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>The local model of requests that need name none.</summary>
    public string DefaultLocal => shelf.Models.FirstOrDefault()?.Name ?? throw new RequestRejectedException("This server has no local model.", "model", "model_not_found", 404);

    /// <summary>The model's own name.</summary>
    /// <exception cref="RequestRejectedException">There is none of that name.</exception>
    public string Find(string name)
    {
        var own = aliases.GetValueOrDefault(name, name);
        return shelf.Has(own) ? own : throw new RequestRejectedException(
            $"The model '{name}' does not exist. This server has: {string.Join(", ", Names)}.", "model", "model_not_found", 404);
    }

    /// <summary>Who runs a model: this server or the name of an upstream.</summary>
    public string OwnerOf(string name) => "hadal";
}
