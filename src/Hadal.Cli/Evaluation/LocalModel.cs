using System.CommandLine;
using Hadal.Cli.Commands;
using Hadal.Cli.Terminals;
using Hadal.Evaluation.Models;

namespace Hadal.Cli.Evaluation;

/// <summary>A model of this machine, opened for evaluation.</summary>
internal sealed class LocalModel : IDisposable
{
    private const int DefaultContext = 4096;

    private readonly LoadedModel loaded;

    private LocalModel(LoadedModel loaded, InProcessModel model)
    {
        this.loaded = loaded;
        Model = model;
    }

    /// <summary>The model; dispose it before this.</summary>
    public InProcessModel Model { get; }

    /// <summary>Opens the model that the command line names.</summary>
    public static LocalModel Open(ModelOptions model, ParseResult result, Terminal terminal, int? context, CancellationToken cancellation)
    {
        var path = model.Path(result, terminal);
        var tokenizer = ModelTokenizer.Open(path);
        var options = new InProcessOptions { Window = context ?? DefaultContext, Forward = model.Forward(result) };
        var opened = model.Load(path, result, terminal, config => 2 * Math.Max(options.CacheTokens, Math.Min(options.Window, config.MaxPositionEmbeddings)), cancellation);
        try
        {
            var identity = InProcessModel.IdentityOf(opened.Checkpoint, options.Forward, options.Window);
            return new LocalModel(opened, new InProcessModel(opened.Model, tokenizer, opened.Threads, identity, options));
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => loaded.Dispose();
}
