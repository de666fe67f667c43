using System.Runtime.CompilerServices;
using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Cache;
using Hadal.Inference.Generation;
using Hadal.Inference.Model;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Engine;

/// <summary>
/// Serves any number of requests on one model at once: continuous batching, a prefix cache, pre-emption, speculation. One background thread runs
/// schedule, forward, choose, publish. What a request with a seed generates does not depend on the others, on the number of threads, on what is cached,
/// or on whether it was pre-empted. Safe for use from several threads.
/// </summary>
public sealed class InferenceEngine : IDisposable, IAsyncDisposable
{
    // A sequence may be waiting for its reader, or for its time limit: neither comes with a signal.
    private const int PollMilliseconds = 20;

    private readonly EngineCore core;
    private readonly int maxWaiting;
    private readonly Thread thread;
    private readonly SemaphoreSlim wake = new(0);
    private readonly Lock gate = new();
    private readonly List<Sequence> submitted = [];
    private readonly List<Action> errands = [];
    private readonly TaskCompletionSource idle = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private EngineStatistics statistics;
    private Action? atEnd;
    private bool draining;
    private bool stopping;

    /// <summary>Allocates the cache and starts the engine's thread.</summary>
    /// <param name="model">Model; its checkpoint must outlive the engine.</param>
    /// <param name="tokenizer">Tokenizer for text, or null to work with ids alone.</param>
    /// <param name="threads">Pool of the kernels; must outlive the engine.</param>
    /// <param name="options">How memory and time are divided; null for the defaults.</param>
    /// <param name="time">Clock of the time limits; null for the system's.</param>
    /// <exception cref="ArgumentOutOfRangeException">An option is outside its range.</exception>
    public InferenceEngine(ILanguageModel model, Tokenizer? tokenizer, KernelThreads threads, EngineOptions? options = null, TimeProvider? time = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(threads);
        options ??= new EngineOptions();
        core = new EngineCore(model, tokenizer, threads, options, time ?? TimeProvider.System);
        maxWaiting = options.MaxWaiting;
        statistics = core.Statistics;
        Tokenizer = tokenizer;
        thread = new Thread(Run) { IsBackground = true, Name = "inference engine" };
        thread.Start();
    }

    /// <summary>Tokens that prompt and output of a request may have together.</summary>
    public int ContextTokens => core.ContextTokens;

    /// <summary>Token ids that a request may have, in its prompt and in its biases, are below this.</summary>
    public int VocabSize => core.VocabSize;

    /// <summary>The tokenizer, or null.</summary>
    public Tokenizer? Tokenizer { get; }

    /// <summary>What the engine is doing and has done, as of its last step.</summary>
    public EngineStatistics Statistics
    {
        get
        {
            lock (gate)
                return statistics with { Waiting = statistics.Waiting + submitted.Count };
        }
    }

    /// <summary>
    /// Begins a generation at once; its events can be read once. A reader that stops reading pauses it, one that leaves (disposes the enumerator) or
    /// cancels ends it before the next step.
    /// </summary>
    /// <param name="request">What to generate.</param>
    /// <param name="cancellation">Ends the generation; the reader gets an <see cref="OperationCanceledException"/>.</param>
    /// <returns>One event for each token; the last has a <see cref="GenerationEvent.FinishReason"/> and a <see cref="GenerationEvent.Usage"/>.</returns>
    /// <exception cref="QueueFullException">Too many requests are waiting.</exception>
    /// <exception cref="EngineStoppedException">The engine is shutting down.</exception>
    /// <exception cref="ContextOverflowException">Prompt and <see cref="GenerationRequest.MaxNewTokens"/> do not fit the context.</exception>
    /// <exception cref="ArgumentException">The prompt is empty or has an id outside the vocabulary, or an option is outside its range.</exception>
    public IAsyncEnumerable<GenerationEvent> Submit(GenerationRequest request, CancellationToken cancellation = default)
    {
        var sequence = core.Prepare(request);
        lock (gate)
        {
            if (draining || stopping)
                throw new EngineStoppedException();
            if (submitted.Count + statistics.Waiting >= maxWaiting)
                throw new QueueFullException(maxWaiting);
            submitted.Add(sequence);
        }

        wake.Release();

        // Registered here: a caller may cancel what it never began to read.
        return Read(sequence, cancellation.Register(static s => ((Sequence)s!).Cancel(), sequence), cancellation);
    }

    /// <summary>As <see cref="Submit"/>, for a caller that waits for each event.</summary>
    public IEnumerable<GenerationEvent> Generate(GenerationRequest request, CancellationToken cancellation = default)
    {
        var events = Submit(request, cancellation);
        return Wait(events, cancellation);

        static IEnumerable<GenerationEvent> Wait(IAsyncEnumerable<GenerationEvent> events, CancellationToken cancellation)
        {
            var reader = events.GetAsyncEnumerator(cancellation);
            try
            {
                while (reader.MoveNextAsync().AsTask().GetAwaiter().GetResult())
                    yield return reader.Current;
            }
            finally
            {
                reader.DisposeAsync().AsTask().GetAwaiter().GetResult();
            }
        }
    }

    /// <summary>Writes the prefix cache to a file, between two steps; see <see cref="PrefixTreeFile.Save"/>.</summary>
    /// <param name="path">File; an older one is replaced.</param>
    /// <param name="fingerprint">The model's <see cref="ModelFingerprint"/>.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public Task SavePrefixesAsync(string path, byte[] fingerprint) => BetweenSteps(() =>
    {
        PrefixTreeFile.Save(path, core.Tree, core.Pool, fingerprint);
        return true;
    });

    /// <summary>Has the prefix cache written to a file when the engine stops; see <see cref="PrefixTreeFile.Save"/>.</summary>
    /// <param name="path">File; an older one is replaced.</param>
    /// <param name="fingerprint">The model's <see cref="ModelFingerprint"/>.</param>
    /// <param name="failed">Told in one line, on the engine's thread, why it could not be written.</param>
    public void SavePrefixesAtEnd(string path, byte[] fingerprint, Action<string> failed)
    {
        lock (gate)
        {
            atEnd = () =>
            {
                try
                {
                    PrefixTreeFile.Save(path, core.Tree, core.Pool, fingerprint);
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                {
                    failed($"{path}: the prefix cache could not be saved: {e.Message}");
                }
            };
        }
    }

    /// <summary>Reads what <see cref="SavePrefixesAsync"/> wrote, if nothing is cached yet; see <see cref="PrefixTreeFile.Restore"/>.</summary>
    /// <param name="path">File.</param>
    /// <param name="fingerprint">The model's <see cref="ModelFingerprint"/>.</param>
    /// <returns>Null, or one line that says why the file was refused.</returns>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public Task<string?> RestorePrefixesAsync(string path, byte[] fingerprint) => BetweenSteps(
        () => core.Tree.Pages > 0 ? $"{path}: the prefix cache is in use already" : PrefixTreeFile.Restore(path, core.Tree, core.Pool, fingerprint));

    /// <summary>Refuses new requests and waits until those submitted have ended.</summary>
    public Task DrainAsync(CancellationToken cancellation = default)
    {
        lock (gate)
            draining = true;
        wake.Release();
        return idle.Task.WaitAsync(cancellation);
    }

    /// <summary>Checks, between two steps, that every cache page is accounted for.</summary>
    /// <exception cref="InvalidOperationException">The books do not balance: a mistake in this program.</exception>
    public Task CheckIntegrityAsync() => BetweenSteps(() =>
    {
        core.CheckIntegrity();
        return true;
    });

    /// <summary>Stops after the current step; requests that have not ended fail with <see cref="EngineStoppedException"/>.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            stopping = true;
            draining = true;
        }

        wake.Release();
        if (Thread.CurrentThread != thread)
            thread.Join();
    }

    /// <inheritdoc cref="Dispose"/>
    public async ValueTask DisposeAsync()
    {
        lock (gate)
        {
            stopping = true;
            draining = true;
        }

        wake.Release();
        await ended.Task;
    }

    private static async IAsyncEnumerable<GenerationEvent> Read(Sequence sequence, CancellationTokenRegistration submitted, [EnumeratorCancellation] CancellationToken cancellation)
    {
        // Whatever ends the reading ends the sequence; one that has ended does not mind.
        using var registration = cancellation.Register(static s => ((Sequence)s!).Cancel(), sequence);
        try
        {
            while (await sequence.Events.WaitToReadAsync(cancellation))
            {
                while (sequence.Events.TryRead(out var step))
                    yield return step;
            }
        }
        finally
        {
            await submitted.DisposeAsync();
            sequence.Cancel();
        }
    }

    private Task<T> BetweenSteps<T>(Func<T> errand)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (gate)
        {
            if (stopping)
                throw new EngineStoppedException();
            errands.Add(() =>
            {
                try
                {
                    done.SetResult(errand());
                }
#pragma warning disable CA1031 // It belongs to whoever awaits the errand.
                catch (Exception e)
#pragma warning restore CA1031
                {
                    done.SetException(e);
                }
            });
        }

        wake.Release();
        return done.Task;
    }

    private void Run()
    {
        var work = new List<Action>();
        while (true)
        {
            var goesOn = Receive(work);
            foreach (var errand in work)
                errand();
            if (!goesOn)
                break;
            core.Retire();
            var worked = core.Step();
            bool wasIdle;
            lock (gate)
            {
                statistics = core.Statistics;
                wasIdle = core.IsIdle && submitted.Count == 0;
                if (wasIdle && draining)
                    idle.TrySetResult();
            }

            if (!worked)
                wake.Wait(wasIdle ? Timeout.Infinite : PollMilliseconds);
        }

        Action? last;
        lock (gate)
            last = atEnd;
        last?.Invoke();
        core.Dispose();
        idle.TrySetResult();
        ended.TrySetResult();
    }

    // Takes over what other threads have brought; false when the engine is to stop.
    private bool Receive(List<Action> work)
    {
        work.Clear();
        lock (gate)
        {
            foreach (var sequence in submitted)
                core.Add(sequence);
            submitted.Clear();
            work.AddRange(errands);
            errands.Clear();
            return !stopping;
        }
    }
}
