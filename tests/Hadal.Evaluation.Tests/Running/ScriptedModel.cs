using Hadal.Evaluation.Models;

namespace Hadal.Evaluation.Tests.Running;

/// <summary>A model that answers from a script, and counts what it is asked.</summary>
internal sealed class ScriptedModel(Func<LoglikelihoodRequest, double>? likelihood = null, Func<string, string>? write = null) : IEvaluationModel
{
    public ModelIdentity Identity { get; init; } = new("scripted", "scripted-hash", 2_000_000, 1_000_000, "a script");

    public int Asked { get; private set; }

    /// <summary>Fails with a cancellation after so many calls, as Ctrl-C does.</summary>
    public int? CallsBeforeInterruption { get; set; }

    public Task CheckAsync(bool loglikelihood, CancellationToken cancellation) => Task.CompletedTask;

    public Task<IReadOnlyList<Loglikelihood>> LoglikelihoodsAsync(IReadOnlyList<LoglikelihoodRequest> requests, CancellationToken cancellation) =>
        Answer(requests, r => new Loglikelihood(likelihood!(r), 1, true));

    public Task<IReadOnlyList<Loglikelihood>> RollingAsync(IReadOnlyList<string> texts, CancellationToken cancellation) =>
        Answer(texts, t => new Loglikelihood(-Math.Log(2) * 2 * System.Text.Encoding.UTF8.GetByteCount(t), t.Length, false));

    public Task<IReadOnlyList<Generation>> GenerateAsync(IReadOnlyList<GenerationInput> inputs, CancellationToken cancellation) =>
        Answer(inputs, i => new Generation(write!(i.Prompt), false));

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private Task<IReadOnlyList<TResult>> Answer<T, TResult>(IReadOnlyList<T> inputs, Func<T, TResult> answer)
    {
        if (CallsBeforeInterruption-- <= 0)
            throw new OperationCanceledException();
        Asked += inputs.Count;
        return Task.FromResult<IReadOnlyList<TResult>>([.. inputs.Select(answer)]);
    }
}
