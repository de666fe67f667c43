using Hadal.Inference.Benchmarks;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Tests.Benchmarks;

public sealed class WorkerAllocationsTests
{
    // Bytes of every worker count, whoever does the items; those of another thread do not.
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void BytesOfAllWorkersAreCountedAndNoOthers(int workers)
    {
        const int Items = 500, Values = 1000, Header = 24;
        using var threads = new KernelThreads(workers);
        var allocations = new WorkerAllocations(threads);
        var kept = new byte[Items][];
        var elsewhere = 0;
        var stop = false;
        var other = new Thread(() =>
        {
            while (!Volatile.Read(ref stop))
                elsewhere += new byte[Values].Length;
        });
        other.Start();
        SpinWait.SpinUntil(() => Volatile.Read(ref elsewhere) > 0);
        allocations.Count();
        var before = allocations.Count();
        threads.Run(Items, 1, new AllocateJob(kept, Values));
        var counted = allocations.Count() - before;
        Volatile.Write(ref stop, true);
        other.Join();
        Assert.Equal(Items * (Header + Values), counted);
    }

    private readonly struct AllocateJob(byte[][] kept, int values) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var i = start; i < end; i++)
                kept[i] = new byte[values];
        }
    }
}
