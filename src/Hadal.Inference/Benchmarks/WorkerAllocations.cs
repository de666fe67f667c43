using Hadal.Numerics.Threading;

namespace Hadal.Inference.Benchmarks;

/// <summary>
/// Managed bytes that the threads of a pool have allocated. Not those of the whole process: the runtime, which compiles methods anew in the background, allocates now
/// and then as well; docs/LOG.md.
/// </summary>
/// <param name="threads">The pool.</param>
internal sealed class WorkerAllocations(KernelThreads threads)
{
    private readonly long[] bytes = new long[threads.Count];

    /// <summary>Counts; allocates nothing.</summary>
    /// <returns>Bytes since these threads began, the caller's included.</returns>
    public long Count()
    {
        bytes.AsSpan().Clear();
        threads.Run(bytes.Length, 1, new CountJob(bytes));
        var sum = 0L;
        foreach (var each in bytes)
            sum += each - 1;
        return sum;
    }

    // An item for each worker: who has one waits until all have.
    private readonly struct CountJob(long[] bytes) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            Volatile.Write(ref bytes[worker], GC.GetAllocatedBytesForCurrentThread() + 1);
            while (bytes.AsSpan().Contains(0))
                Thread.Yield();
        }
    }
}
