using System.Diagnostics;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Tokenization;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Running;
using Hadal.Evaluation.Tasks;
using Hadal.Inference.Model;
using Hadal.Numerics.Threading;

namespace Hadal.Benchmarks.Evaluation;

/// <summary>Questions a second as <c>hadal eval</c> puts them, against one request at a time on the same engine: each text computed alone, from its first token.</summary>
internal static class EvaluationSpeed
{
    private static readonly string[] Tasks = ["hellaswag", "mmlu"];

    /// <summary>Measures and prints a line for each task.</summary>
    public static async Task RunAsync(string path, string data, int limit)
    {
        using var checkpoint = Checkpoint.Open(path);
        using var threads = new KernelThreads(null);
        var tokenizer = Tokenizer.OfModel(path) ?? throw new InvalidDataException($"{path}: expected a tokenizer, found none");
        var model = new DeepSeek(checkpoint);
        var identity = InProcessModel.IdentityOf(checkpoint, new ForwardOptions(), new InProcessOptions().Window);
        InProcessModel Open() => new(model, tokenizer, threads, identity);
        foreach (var name in Tasks)
        {
            // A question to warm up with.
            await SecondsAsync(Open(), name, data, 1);
            var together = await SecondsAsync(Open(), name, data, limit);
            var alone = await SecondsAsync(new OneAtATime(Open, identity), name, data, limit);
            Console.WriteLine($"{name}: {limit / together:f2} questions/s together, {limit / alone:f2} one request at a time, {alone / together:f1} times");
        }
    }

    private static async Task<double> SecondsAsync(IEvaluationModel model, string task, string data, int limit)
    {
        await using (model)
        {
            var clock = Stopwatch.StartNew();
            await new EvaluationRun(model, new RunOptions { Data = data, Limit = limit }).RunAsync([Hadal.Evaluation.Tasks.Benchmarks.Find(task)], named: true, CancellationToken.None);
            return clock.Elapsed.TotalSeconds;
        }
    }

    // A model that forgets everything between two requests.
    private sealed class OneAtATime(Func<InProcessModel> open, ModelIdentity identity) : IEvaluationModel
    {
        public ModelIdentity Identity => identity;

        public Task CheckAsync(bool loglikelihood, CancellationToken cancellation) => Task.CompletedTask;

        public Task<IReadOnlyList<Loglikelihood>> LoglikelihoodsAsync(IReadOnlyList<LoglikelihoodRequest> requests, CancellationToken cancellation) =>
            EachAsync(requests, (model, request) => model.LoglikelihoodsAsync([request], cancellation));

        public Task<IReadOnlyList<Loglikelihood>> RollingAsync(IReadOnlyList<string> texts, CancellationToken cancellation) =>
            EachAsync(texts, (model, text) => model.RollingAsync([text], cancellation));

        public Task<IReadOnlyList<Generation>> GenerateAsync(IReadOnlyList<GenerationInput> inputs, CancellationToken cancellation) =>
            EachAsync(inputs, (model, input) => model.GenerateAsync([input], cancellation));

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;

        private async Task<IReadOnlyList<TResult>> EachAsync<TInput, TResult>(IReadOnlyList<TInput> inputs, Func<InProcessModel, TInput, Task<IReadOnlyList<TResult>>> ask)
        {
            var results = new List<TResult>();
            foreach (var input in inputs)
            {
                await using var model = open();
                results.AddRange(await ask(model, input));
            }

            return results;
        }
    }
}
