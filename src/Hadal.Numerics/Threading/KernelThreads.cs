using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hadal.Numerics.Threading;

/// <summary>Work over a range of independent items; each item's result must not depend on how the range is cut.</summary>
public interface IKernelJob
{
    /// <summary>Does items [<paramref name="start"/>, <paramref name="end"/>).</summary>
    /// <param name="start">First item.</param>
    /// <param name="end">One past the last item.</param>
    /// <param name="worker">Which of the pool's workers is calling, for <see cref="KernelThreads.Scratch"/>.</param>
    void Invoke(int start, int end, int worker);
}

/// <summary>
/// The one thread pool of the kernels: a fixed set of workers that join a fork within a fraction of a microsecond. Workers spin for a short while after
/// a job and then park, so that the pool costs nothing when idle and keeps its share beside another busy process.
/// </summary>
/// <remarks>
/// Items are handed out in chunks on demand, so a worker that the system has taken off its core delays the others by one chunk at most.
/// One job runs at a time; callers from several threads take turns. A job must not start another job on the same pool.
/// An exception in a job is rethrown in the caller after all workers have stopped.
/// </remarks>
public sealed unsafe class KernelThreads : IDisposable
{
    private const int SpinRounds = 20_000;

    private readonly Thread[] threads;
    private readonly SemaphoreSlim[] parked;
    private readonly NativeBuffer?[] scratch;
    private readonly NativeBuffer?[] jobScratch;
    private readonly int[] parkedFlags; // one cache line apart
    private readonly Lock gate = new();
    private Shared shared;
    private delegate*<void*, int, int, int, void> body;
    private void* job;
    private int items;
    private int chunk;
    private Exception? failure;
    private volatile bool stopping;

    /// <summary>Starts a pool of <paramref name="count"/> workers, the calling thread among them.</summary>
    /// <param name="count">Number of workers; null for one per processor.</param>
    public KernelThreads(int? count = null)
    {
        Count = count ?? Environment.ProcessorCount;
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Count, nameof(count));
        threads = new Thread[Count - 1];
        parked = new SemaphoreSlim[Count - 1];
        parkedFlags = new int[16 * Count];
        scratch = new NativeBuffer?[Count];
        jobScratch = new NativeBuffer?[Count];
        for (var i = 0; i < threads.Length; i++)
        {
            var worker = i + 1;
            parked[i] = new SemaphoreSlim(0);
            threads[i] = new Thread(() => Work(worker)) { IsBackground = true, Name = $"kernel {worker}" };
            threads[i].Start();
        }
    }

    /// <summary>Number of workers, the calling thread among them.</summary>
    public int Count { get; }

    /// <summary>Runs a job over <paramref name="count"/> items in chunks of at least <paramref name="grain"/>; returns when all are done. Allocates nothing.</summary>
    /// <param name="count">Number of items.</param>
    /// <param name="grain">Fewest items worth handing to a worker.</param>
    /// <param name="job">The work; it may hold spans, which stay valid while the call lasts.</param>
    public void Run<TJob>(int count, int grain, TJob job)
        where TJob : struct, IKernelJob, allows ref struct
    {
        if (count <= 0)
            return;
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(stopping, this);
            if (Count == 1 || count <= grain)
            {
                job.Invoke(0, count, 0);
                return;
            }

            // About four chunks a worker: long enough for sequential reading, short enough to even out a slow worker.
            chunk = Math.Max(grain, (count + (4 * Count) - 1) / (4 * Count));
            items = count;
            body = &Call<TJob>;
            this.job = Unsafe.AsPointer(ref job);
            Volatile.Write(ref shared.Next, 0);
            Volatile.Write(ref shared.Pending, threads.Length);
            Interlocked.Increment(ref shared.Epoch);
            for (var i = 0; i < threads.Length; i++)
            {
                if (Interlocked.Exchange(ref ParkedFlag(i), 0) != 0)
                    parked[i].Release();
            }

            Drain(0);
            var spins = 0;
            while (Volatile.Read(ref shared.Pending) != 0)
            {
                if (++spins < SpinRounds / 4)
                    Thread.SpinWait(1);
                else
                    Thread.Yield();
            }

            if (failure is { } e)
            {
                failure = null;
                System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e);
            }
        }
    }

    /// <summary>
    /// Memory of a worker's own, kept from job to job; only for use inside <see cref="IKernelJob.Invoke"/>. The contents are undefined.
    /// </summary>
    /// <param name="worker">The worker number passed to the job.</param>
    /// <param name="byteLength">Bytes needed; the memory is 64-byte aligned.</param>
    public byte* Scratch(int worker, long byteLength) => Grow(ref scratch[worker], byteLength);

    /// <summary>A second memory of that kind, for a job that calls matrix kernels on its own worker (they use <see cref="Scratch"/>).</summary>
    /// <param name="worker">The worker number passed to the job.</param>
    /// <param name="byteLength">Bytes needed; the memory is 64-byte aligned.</param>
    public byte* JobScratch(int worker, long byteLength) => Grow(ref jobScratch[worker], byteLength);

    /// <summary>Ends the workers.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            if (stopping)
                return;
            stopping = true;
            Interlocked.Increment(ref shared.Epoch);
            foreach (var semaphore in parked)
                semaphore.Release();
        }

        foreach (var thread in threads)
            thread.Join();
        foreach (var semaphore in parked)
            semaphore.Dispose();
        foreach (var buffer in scratch)
            buffer?.Dispose();
        foreach (var buffer in jobScratch)
            buffer?.Dispose();
    }

    private static void Call<TJob>(void* job, int start, int end, int worker)
        where TJob : struct, IKernelJob, allows ref struct =>
        Unsafe.AsRef<TJob>(job).Invoke(start, end, worker);

    private ref int ParkedFlag(int i) => ref parkedFlags[i * 16];

    private static byte* Grow(ref NativeBuffer? buffer, long byteLength)
    {
        if (buffer is null || buffer.ByteLength < byteLength)
        {
            buffer?.Dispose();
            buffer = new NativeBuffer((byteLength + 0xFFFF) & ~0xFFFFL);
        }

        return buffer.Pointer;
    }

    private void Work(int worker)
    {
        long seen = 0;
        while (true)
        {
            var spins = 0;
            while (Volatile.Read(ref shared.Epoch) == seen)
            {
                if (++spins < SpinRounds)
                {
                    Thread.SpinWait(1);
                    continue;
                }

                // Say so first, then look again: either the caller sees the flag and releases, or this worker sees the new epoch.
                Interlocked.Exchange(ref ParkedFlag(worker - 1), 1);
                if (Volatile.Read(ref shared.Epoch) == seen || Interlocked.Exchange(ref ParkedFlag(worker - 1), 0) == 0)
                    parked[worker - 1].Wait();
                spins = 0;
            }

            seen++;
            if (stopping)
                return;
            Drain(worker);
            Interlocked.Decrement(ref shared.Pending);
        }
    }

    private void Drain(int worker)
    {
        try
        {
            while (true)
            {
                var start = Interlocked.Add(ref shared.Next, chunk) - chunk;
                if (start >= items)
                    return;
                body(job, start, Math.Min(start + chunk, items), worker);
            }
        }
        catch (Exception e)
        {
            failure = e;
            Volatile.Write(ref shared.Next, items);
        }
    }

    // Each counter on cache lines of its own.
    [StructLayout(LayoutKind.Explicit, Size = 512)]
    private struct Shared
    {
        [FieldOffset(64)] public long Epoch;
        [FieldOffset(192)] public int Pending;
        [FieldOffset(320)] public int Next;
    }
}
