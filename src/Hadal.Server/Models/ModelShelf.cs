using Hadal.Server.Requests;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Models;

/// <summary>
/// The local models by name: loaded when they are first asked for, unloaded when another needs their memory and nobody uses them, the least recently used
/// first. Safe for use from several threads.
/// </summary>
internal sealed partial class ModelShelf : IAsyncDisposable
{
    private const int BusySeconds = 10;

    private readonly Dictionary<string, Slot> slots;
    private readonly long budget;
    private readonly TimeProvider time;
    private readonly ILogger logger;
    private readonly SemaphoreSlim loading = new(1);
    private readonly CancellationTokenSource stopping = new();
    private readonly Lock gate = new();
    private bool closing;

    /// <param name="models">The models; no two of one name.</param>
    /// <param name="budget">Bytes of the loaded ones together; 0 for no limit but the machine's own.</param>
    /// <param name="time">Clock of the least recent use.</param>
    /// <param name="logger">Told what is loaded and unloaded.</param>
    public ModelShelf(IEnumerable<LocalModel> models, long budget, TimeProvider time, ILogger logger)
    {
        slots = models.ToDictionary(m => m.Name, m => new Slot(m), StringComparer.Ordinal);
        this.budget = budget > 0 ? budget : long.MaxValue;
        this.time = time;
        this.logger = logger;
    }

    /// <summary>The models, in the order they were named.</summary>
    public IEnumerable<LocalModel> Models => slots.Values.Select(s => s.Model);

    /// <summary>The loaded models now, each with whether requests are on it.</summary>
    public IReadOnlyList<(ServedModel Model, bool InUse)> Loaded
    {
        get
        {
            lock (gate)
                return [.. slots.Values.Where(s => s.Served is not null).Select(s => (s.Served!, s.Leases > 0))];
        }
    }

    /// <summary>Whether there is a model of this name.</summary>
    public bool Has(string name) => slots.ContainsKey(name);

    /// <summary>Takes a model for a request, loading it first if need be.</summary>
    /// <param name="name">A name that <see cref="Has"/>.</param>
    /// <param name="cancellation">Stops waiting.</param>
    /// <returns>The model, until it is disposed.</returns>
    /// <exception cref="RequestRejectedException">It does not fit beside those in use, or the server is shutting down.</exception>
    public async Task<Lease> TakeAsync(string name, CancellationToken cancellation)
    {
        var slot = slots[name];
        if (TryTake(slot) is { } ready)
            return ready;
        await loading.WaitAsync(cancellation);
        try
        {
            if (TryTake(slot) is { } loadedMeanwhile)
                return loadedMeanwhile;
            MakeRoom(slot.Model);
            LogLoading(logger, name);
            var started = time.GetTimestamp();
            var served = await Task.Run(() => slot.Model.Load(new LoadingProgress(this, name), line => LogNotice(logger, name, line), stopping.Token), CancellationToken.None);
            LogLoaded(logger, name, time.GetElapsedTime(started).TotalSeconds);
            lock (gate)
            {
                if (!closing)
                {
                    slot.Served = served;
                    return Take(slot);
                }
            }

            served.Dispose();
            throw Closing();
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            throw Closing();
        }
        finally
        {
            loading.Release();
        }
    }

    /// <summary>Refuses new requests, gives up a model that is being loaded and waits for requests on the others.</summary>
    public async Task DrainAsync(CancellationToken cancellation)
    {
        await CloseAsync();
        await Task.WhenAll(Loaded.Select(l => l.Model.Engine.DrainAsync(cancellation)));
    }

    /// <summary>Unloads every model; requests still on them fail.</summary>
    public async ValueTask DisposeAsync()
    {
        await CloseAsync();
        await loading.WaitAsync();
        foreach (var slot in slots.Values)
        {
            slot.Served?.Dispose();
            slot.Served = null;
        }

        loading.Release();
    }

    private static RequestRejectedException Closing() =>
        new("The server is shutting down.", null, "server_shutting_down", 503, "server_error") { RetryAfter = BusySeconds };

    private Task CloseAsync()
    {
        lock (gate)
            closing = true;
        return stopping.CancelAsync();
    }

    private Lease? TryTake(Slot slot)
    {
        lock (gate)
        {
            if (closing)
                throw Closing();
            return slot.Served is null ? null : Take(slot);
        }
    }

    private Lease Take(Slot slot)
    {
        slot.Leases++;
        slot.LastUse = time.GetTimestamp();
        return new Lease(slot.Served!, () => Return(slot));
    }

    private void Return(Slot slot)
    {
        lock (gate)
        {
            slot.Leases--;
            slot.LastUse = time.GetTimestamp();
        }
    }

    private void MakeRoom(LocalModel wanted)
    {
        if (wanted.Bytes > budget)
            throw new RequestRejectedException($"The model '{wanted.Name}' needs more memory than this server may use.", "model", "insufficient_memory", 503, "server_error");
        while (true)
        {
            ServedModel? leaves;
            lock (gate)
            {
                var loaded = slots.Values.Where(s => s.Served is not null).ToList();
                if (loaded.Sum(s => s.Model.Bytes) + wanted.Bytes <= budget)
                    return;
                var idle = loaded.Where(s => s.Leases == 0 && !s.Model.Resident).MinBy(s => s.LastUse)
                    ?? throw new RequestRejectedException($"The model '{wanted.Name}' cannot be loaded while the others are in use. Try again in a moment.", "model", "model_busy", 503, "server_error") { RetryAfter = BusySeconds };
                leaves = idle.Served!;
                idle.Served = null;
            }

            LogUnloading(logger, leaves.Name);
            leaves.Dispose();
        }
    }

    [LoggerMessage(LogLevel.Information, "loading {Model}")]
    private static partial void LogLoading(ILogger logger, string model);

    [LoggerMessage(LogLevel.Information, "loading {Model}: {Part:P0}")]
    private static partial void LogProgress(ILogger logger, string model, double part);

    [LoggerMessage(LogLevel.Information, "loaded {Model} in {Seconds:0.00} s")]
    private static partial void LogLoaded(ILogger logger, string model, double seconds);

    [LoggerMessage(LogLevel.Warning, "{Model}: {Line}")]
    private static partial void LogNotice(ILogger logger, string model, string line);

    [LoggerMessage(LogLevel.Information, "unloading {Model} to make room")]
    private static partial void LogUnloading(ILogger logger, string model);

    // A line every few seconds: copying ten gigabytes takes a while.
    private sealed class LoadingProgress(ModelShelf shelf, string name) : IProgress<double>
    {
        private static readonly TimeSpan Pause = TimeSpan.FromSeconds(3);
        private long said = shelf.time.GetTimestamp();

        public void Report(double value)
        {
            if (value >= 1 || shelf.time.GetElapsedTime(said) < Pause)
                return;
            said = shelf.time.GetTimestamp();
            LogProgress(shelf.logger, name, value);
        }
    }

    private sealed class Slot(LocalModel model)
    {
        public LocalModel Model { get; } = model;

        public ServedModel? Served { get; set; }

        public int Leases { get; set; }

        public long LastUse { get; set; }
    }
}

/// <summary>A model in use by one request.</summary>
/// <param name="model">The model.</param>
/// <param name="giveBack">Called once, at the end.</param>
internal sealed class Lease(ServedModel model, Action giveBack) : IDisposable
{
    private Action? giveBack = giveBack;

    /// <summary>The model.</summary>
    public ServedModel Model { get; } = model;

    /// <summary>Ends the use.</summary>
    public void Dispose() => Interlocked.Exchange(ref giveBack, null)?.Invoke();
}
