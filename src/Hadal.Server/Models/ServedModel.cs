using Hadal.Checkpoints.Chat;
using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Constraints;
using Hadal.Inference.Engine;

namespace Hadal.Server.Models;

/// <summary>A model that is loaded: what turns messages into a prompt, and what goes on with it. Safe for use from several threads.</summary>
/// <param name="name">The name clients use.</param>
/// <param name="engine">What generates.</param>
/// <param name="tokenizer">Text to ids and back.</param>
/// <param name="template">The prompt format.</param>
/// <param name="owner">Disposed with the model: what engine and files belong to.</param>
internal sealed class ServedModel(string name, InferenceEngine engine, Tokenizer tokenizer, ChatTemplate template, IDisposable owner) : IDisposable
{
    private readonly Lazy<TokenTable> tokens = new(() => new TokenTable(tokenizer));

    /// <summary>The name clients use.</summary>
    public string Name { get; } = name;

    /// <summary>What generates.</summary>
    public InferenceEngine Engine { get; } = engine;

    /// <summary>Text to ids and back.</summary>
    public Tokenizer Tokenizer { get; } = tokenizer;

    /// <summary>Ids of tokens are below this.</summary>
    public int Vocabulary { get; } = Math.Min(tokenizer.VocabSize, engine.VocabSize);

    /// <summary>Its vocabulary in the order of bytes, for answers of a given form; made when it is first asked for.</summary>
    public TokenTable Tokens => tokens.Value;

    /// <summary>The prompt format.</summary>
    public ChatTemplate Template { get; } = template;

    /// <summary>Says that a seed gives the same text as long as this is the same.</summary>
    public string Fingerprint { get; } = $"hadal-{typeof(ServedModel).Assembly.GetName().Version!.ToString(3)}-{name}";

    /// <summary>Stops the engine and unmaps the files.</summary>
    public void Dispose() => owner.Dispose();
}

/// <summary>A model that can be loaded.</summary>
/// <param name="Name">The name clients use.</param>
/// <param name="Bytes">Memory it takes, weights and cache.</param>
/// <param name="Resident">Whether it stays once it is loaded.</param>
/// <param name="Load">Loads it, says how far it is, and from then on what is worth a line in the log; ends early when it is cancelled.</param>
internal sealed record LocalModel(string Name, long Bytes, bool Resident, Func<IProgress<double>, Action<string>, CancellationToken, ServedModel> Load);
