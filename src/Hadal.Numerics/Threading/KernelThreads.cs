using System.Diagnostics.CodeAnalysis;
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
/// Every worker has a part of the items, of which it takes chunks, shorter and shorter ones, one behind the other in memory; whoever is through with its own part
/// takes chunks of the others'. A job is over when its items are: a worker that the system has taken off its core delays the caller by the chunk it holds, and not
/// at all when it holds none.
/// One job runs at a time; callers from several threads take turns. A job that starts another job on the same pool is refused.
/// An exception in a job is rethrown in the caller after all workers have stopped.
/// </remarks>
public sealed unsafe class KernelThreads : IDisposable
{
    // A core that a spinning worker holds is one that the system cannot give to the caller it has taken off its own.
    private const int SpinRounds = 4_000;

    // A chunk is what is left of a part, divided by so many: for its owner, and for each worker where another takes it. A chunk costs half a microsecond of streaming.
    private const int SharesEach = 2;

    // A ticket is the number of a job, whether workers may still join it, and how many are at work on it.
    private const int NumberShift = 16;
    private const long Open = 1 << 15;
    private const long AtWork = Open - 1;

    private const int TakenBits = 31;

    private readonly Thread[] threads;
    private readonly SemaphoreSlim[] parked;
    private readonly NativeBuffer?[] scratch;
    private readonly NativeBuffer?[] jobScratch;
    private readonly int[] parkedFlags; // one cache line apart

    // How many items of each worker's part are taken, below the number of the job that this is said of; one cache line apart.
    private readonly ulong[] taken;
    private readonly Lock gate = new();
    private Shared shared;
    private delegate*<void*, int, int, int, void> body;
    private void* job;
    private int items;
    private int grain;
    private Exception? failure;
    private volatile bool stopping;
    private volatile bool hasGrown;

    /// <summary>Starts a pool of <paramref name="count"/> workers, the calling thread among them.</summary>
    /// <param name="count">Number of workers; null for one per processor.</param>
    public KernelThreads(int? count = null)
    {
        Count = count ?? Environment.ProcessorCount;
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Count, nameof(count));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(Count, (int)AtWork, nameof(count));
        threads = new Thread[Count - 1];
        parked = new SemaphoreSlim[Count - 1];
        parkedFlags = new int[16 * Count];
        taken = new ulong[16 * (Count + 1)];
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
    /// <exception cref="InvalidOperationException">Called from inside a job of this pool.</exception>
    /// <exception cref="ObjectDisposedException">The pool is disposed.</exception>
    public void Run<TJob>(int count, int grain, TJob job)
        where TJob : struct, IKernelJob, allows ref struct
    {
        if (count <= 0)
            return;
        ThrowIfInsideJob();
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(stopping, this);
            if (hasGrown)
                Level();
            if (Count == 1 || count <= grain)
            {
                job.Invoke(0, count, 0);
                return;
            }

            this.grain = Math.Max(1, grain);
            items = count;
            body = &Call<TJob>;
            this.job = Unsafe.AsPointer(ref job);
            Interlocked.Exchange(ref shared.Ticket, NextNumber() | Open);
            for (var i = 0; i < threads.Length; i++)
            {
                if (Interlocked.Exchange(ref ParkedFlag(i), 0) != 0)
                    parked[i].Release();
            }

            Drain(0);

            // Whoever has not joined by now never will; the others hold the last chunks.
            Interlocked.And(ref shared.Ticket, ~Open);
            var spins = 0;
            while ((Volatile.Read(ref shared.Ticket) & AtWork) != 0)
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
    /// Memory of a worker's own, kept from job to job; only for use inside <see cref="IKernelJob.Invoke"/>. The contents are undefined, and where it lies may change with every job.
    /// </summary>
    /// <param name="worker">The worker number passed to the job.</param>
    /// <param name="byteLength">Bytes needed; the memory is 64-byte aligned.</param>
    public byte* Scratch(int worker, long byteLength) => Grow(ref scratch[worker], byteLength);

    /// <summary>A second memory of that kind, for a job that calls matrix kernels on its own worker (they use <see cref="Scratch"/>).</summary>
    /// <param name="worker">The worker number passed to the job.</param>
    /// <param name="byteLength">Bytes needed; the memory is 64-byte aligned.</param>
    public byte* JobScratch(int worker, long byteLength) => Grow(ref jobScratch[worker], byteLength);

    /// <summary>Ends the workers, after a job that another thread is running.</summary>
    public void Dispose()
    {
        ThrowIfInsideJob();
        lock (gate)
        {
            if (stopping)
                return;
            stopping = true;
            Interlocked.Exchange(ref shared.Ticket, NextNumber());
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

    private void ThrowIfInsideJob()
    {
        if (gate.IsHeldByCurrentThread || Array.IndexOf(threads, Thread.CurrentThread) >= 0)
            throw new InvalidOperationException("a job can neither start another job on the pool that runs it nor dispose of the pool");
    }

    private ref int ParkedFlag(int i) => ref parkedFlags[i * 16];

    // Nobody is at work. Workers take items as they come: one that first takes a large one in the thousandth job shall find memory for it.
    private void Level()
    {
        hasGrown = false;
        foreach (var buffers in (ReadOnlySpan<NativeBuffer?[]>)[scratch, jobScratch])
        {
            var most = 0L;
            foreach (var buffer in buffers)
                most = Math.Max(most, buffer?.ByteLength ?? 0);
            for (var i = 0; most > 0 && i < buffers.Length; i++)
                Replace(ref buffers[i], most);
        }
    }

    private byte* Grow(ref NativeBuffer? buffer, long byteLength)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(byteLength);
        if (buffer is null || buffer.ByteLength < byteLength)
        {
            // Half as much again, so that a sequence that grows by a token a step seldom comes here.
            var length = Math.Max(byteLength, buffer is null ? 0 : buffer.ByteLength / 2 * 3);
            Replace(ref buffer, (length + 0xFFFF) & ~0xFFFFL);
            hasGrown = true;
        }

        return buffer.Pointer;
    }

    private static void Replace([NotNull] ref NativeBuffer? buffer, long byteLength)
    {
        if (buffer is not null && buffer.ByteLength >= byteLength)
            return;

        // Forgotten before the new one is made: should that fail, the next call must not find the freed one.
        buffer?.Dispose();
        buffer = null;
        buffer = new NativeBuffer(byteLength);
    }

    private void Work(int worker)
    {
        long seen = 0;
        while (true)
        {
            var spins = 0;
            while (Volatile.Read(ref shared.Ticket) >> NumberShift == seen)
            {
                if (++spins < SpinRounds)
                {
                    Thread.SpinWait(1);
                    continue;
                }

                // Say so first, then look again: either the caller sees the flag and releases, or this worker sees the new number.
                Interlocked.Exchange(ref ParkedFlag(worker - 1), 1);
                if (Volatile.Read(ref shared.Ticket) >> NumberShift == seen || Interlocked.Exchange(ref ParkedFlag(worker - 1), 0) == 0)
                    parked[worker - 1].Wait();
                spins = 0;
            }

            // In this order: whoever has seen the last number must also see that the pool ends.
            var ticket = Volatile.Read(ref shared.Ticket);
            seen = ticket >> NumberShift;
            if (stopping)
                return;
            while ((ticket & Open) != 0 && ticket >> NumberShift == seen)
            {
                var found = Interlocked.CompareExchange(ref shared.Ticket, ticket + 1, ticket);
                if (found == ticket)
                {
                    Drain(worker);
                    Interlocked.Decrement(ref shared.Ticket);
                    break;
                }

                ticket = found;
            }
        }
    }

    private long NextNumber() => ((shared.Ticket >> NumberShift) + 1) << NumberShift;

    private void Drain(int worker)
    {
        try
        {
            // It stays while anyone is at work on the job.
            var number = (ulong)(Volatile.Read(ref shared.Ticket) >> NumberShift);
            for (var i = 0; i < Count; i++)
            {
                var owner = (worker + i) % Count;
                while (Volatile.Read(ref failure) is null && TryTake(owner, i == 0 ? SharesEach : SharesEach * Count, number, out var start, out var end))
                    body(job, start, end, worker);
            }
        }
        catch (Exception e)
        {
            Volatile.Write(ref failure, e);
        }
    }

    // A share of what is left of a worker's part: long chunks first, for sequential reading, short ones last, so that nobody waits for long.
    private bool TryTake(int owner, int shares, ulong number, out int start, out int end)
    {
        ref var word = ref taken[16 * (owner + 1)];
        var (first, last) = (PartStart(owner), PartStart(owner + 1));
        while (true)
        {
            // Of an earlier job: nothing is taken yet.
            var seen = Volatile.Read(ref word);
            start = first + (seen >> TakenBits == (number & (ulong.MaxValue >> TakenBits)) ? (int)(seen & int.MaxValue) : 0);
            end = start + Math.Min(last - start, Math.Max(grain, (last - start) / shares));
            if (start >= last)
                return false;
            if (Interlocked.CompareExchange(ref word, (number << TakenBits) | (uint)(end - first), seen) == seen)
                return true;
        }
    }

    // Equal parts, as far as whole grains can be shared out.
    private int PartStart(int worker) => (int)Math.Min(items, ((long)items + grain - 1) / grain * worker / Count * grain);

    // Its counter on a cache line of its own.
    [StructLayout(LayoutKind.Explicit, Size = 192)]
    private struct Shared
    {
        [FieldOffset(64)] public long Ticket;
    }
}
