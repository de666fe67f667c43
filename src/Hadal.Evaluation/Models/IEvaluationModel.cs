namespace Hadal.Evaluation.Models;

/// <summary>
/// A language model under evaluation: the three calls that every task is made of. Implementers: <see cref="InProcessModel"/> (the engine in this process)
/// and <c>EndpointModel</c> (any OpenAI-compatible server). One call at a time; each answers its requests in their order.
/// </summary>
public interface IEvaluationModel : IAsyncDisposable
{
    /// <summary>What is evaluated.</summary>
    ModelIdentity Identity { get; }

    /// <summary>Makes sure, before anything is computed, that the model can do what the tasks will ask.</summary>
    /// <param name="loglikelihood">Whether log-likelihoods of given texts will be asked for.</param>
    /// <param name="cancellation">Ends the check.</param>
    /// <exception cref="ModelUnfitException">It cannot; a score of it would mean nothing.</exception>
    Task CheckAsync(bool loglikelihood, CancellationToken cancellation);

    /// <summary>ln P(continuation | context) of each request, summed over the tokens of the continuation.</summary>
    Task<IReadOnlyList<Loglikelihood>> LoglikelihoodsAsync(IReadOnlyList<LoglikelihoodRequest> requests, CancellationToken cancellation);

    /// <summary>ln P of whole texts: every token once, each after as much of the text before it as the window holds.</summary>
    Task<IReadOnlyList<Loglikelihood>> RollingAsync(IReadOnlyList<string> texts, CancellationToken cancellation);

    /// <summary>Continues prompts until a stop string, the end of the text, or the limit of tokens.</summary>
    Task<IReadOnlyList<Generation>> GenerateAsync(IReadOnlyList<GenerationInput> inputs, CancellationToken cancellation);
}

/// <summary>A continuation to be scored.</summary>
/// <param name="Context">What comes before; may be empty, then the model's beginning-of-text token stands for it.</param>
/// <param name="Continuation">The text that is scored; not empty.</param>
public sealed record LoglikelihoodRequest(string Context, string Continuation);

/// <summary>The log-likelihood of a text.</summary>
/// <param name="Sum">Sum of the natural logarithms of the probabilities of its tokens.</param>
/// <param name="Tokens">How many tokens that were.</param>
/// <param name="IsGreedy">Whether each of them was the most probable one.</param>
public sealed record Loglikelihood(double Sum, int Tokens, bool IsGreedy);

/// <summary>A prompt to be continued.</summary>
/// <param name="Prompt">The prompt.</param>
/// <param name="Stop">Strings that end the output and are not part of it.</param>
/// <param name="MaxTokens">Most tokens of output.</param>
public sealed record GenerationInput(string Prompt, IReadOnlyList<string> Stop, int MaxTokens)
{
    /// <summary>Divisor of the logits; 0 takes the most probable token.</summary>
    public double Temperature { get; init; }

    /// <summary>Nucleus of sampling; 1 keeps every token.</summary>
    public double TopP { get; init; } = 1;

    /// <summary>Seed of sampling.</summary>
    public int Seed { get; init; }
}

/// <summary>What a model wrote.</summary>
/// <param name="Text">The output, without the stop string.</param>
/// <param name="Truncated">Whether the limit of tokens ended it.</param>
public sealed record Generation(string Text, bool Truncated);

/// <summary>Which model was evaluated.</summary>
/// <param name="Name">A short name, for tables.</param>
/// <param name="Hash">Of the weights and the arithmetic; of an endpoint, of its address and the model's name.</param>
/// <param name="TotalParameters">Parameters, or null where nobody says.</param>
/// <param name="ActivatedParameters">Parameters that one token meets, or null.</param>
/// <param name="Description">What the score depends on beside the weights: engine, precision, window.</param>
public sealed record ModelIdentity(string Name, string Hash, long? TotalParameters, long? ActivatedParameters, string Description);

/// <summary>A model cannot do what a task asks of it. Said before a score is made that would look like one and mean nothing.</summary>
/// <param name="message">What it cannot do, and how that was found out.</param>
public sealed class ModelUnfitException(string message) : Exception(message);
