using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Tests.Threading;

public sealed class KernelThreadsTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(7)]
    public void EveryItemIsDoneOnce(int workers)
    {
        using var threads = new KernelThreads(workers);
        Assert.Equal(workers, threads.Count);
        var random = new Random(1);
        for (var run = 0; run < 300; run++)
        {
            var counts = new int[random.Next(200)];
            var grain = random.Next(1, 50);
            threads.Run(counts.Length, grain, new CountJob(counts, workers));
            Assert.All(counts, c => Assert.Equal(1, c));
        }

        threads.Run(0, 1, new ThrowJob(0));
        threads.Run(-5, 1, new ThrowJob(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new KernelThreads(0));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public void RangesOfTwoThousandMillionItemsDoNotOverflow(int workers)
    {
        using var threads = new KernelThreads(workers);
        foreach (var count in new[] { int.MaxValue, int.MaxValue - 1, int.MaxValue - 100 })
        {
            var total = new long[1];
            threads.Run(count, 1, new RangeJob(count, total));
            Assert.Equal(count, total[0]);
        }
    }

    // The workers park after a millisecond or so without work; pauses around that hit the moment when one is about to.
    [Fact]
    public async Task ParkedAndParkingWorkersWakeUp()
    {
        var test = Task.Run(() =>
        {
            using var threads = new KernelThreads(3);
            var random = new Random(2);
            for (var run = 0; run < 400; run++)
            {
                var counts = new int[30];
                threads.Run(counts.Length, 1, new CountJob(counts, 3));
                Assert.All(counts, c => Assert.Equal(1, c));
                Thread.SpinWait(random.Next(60_000));
                if (run % 20 == 0)
                    Thread.Sleep(random.Next(8));
            }
        }, TestContext.Current.CancellationToken);
        await test.WaitAsync(Patience, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task CallersFromSeveralThreadsTakeTurns()
    {
        using var threads = new KernelThreads(3);
        var active = new Activity();
        var callers = Enumerable.Range(0, 4).Select(_ => Task.Factory.StartNew(
            () =>
            {
                for (var run = 0; run < 200; run++)
                {
                    var counts = new int[20];
                    threads.Run(counts.Length, 1, new ExclusiveJob(counts, active));
                    Assert.All(counts, c => Assert.Equal(1, c));
                }
            },
            TestContext.Current.CancellationToken,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default)).ToArray();
        await Task.WhenAll(callers).WaitAsync(Patience, TestContext.Current.CancellationToken);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void AnExceptionReachesTheCallerAndThePoolGoesOn(int workers)
    {
        using var threads = new KernelThreads(workers);
        for (var run = 0; run < 100; run++)
        {
            var thrown = Assert.Throws<InvalidDataException>(() => threads.Run(50, 1, new ThrowJob(run % 50)));
            Assert.Equal($"item {run % 50}", thrown.Message);
            var counts = new int[50];
            threads.Run(counts.Length, 1, new CountJob(counts, workers));
            Assert.All(counts, c => Assert.Equal(1, c));
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task AJobThatStartsAnotherIsRefusedOnEveryWorker(int workers)
    {
        var test = Task.Run(() =>
        {
            using var threads = new KernelThreads(workers);
            for (var run = 0; run < 50; run++)
                Assert.Throws<InvalidOperationException>(() => threads.Run(8, 1, new NestedJob(threads, null)));
            Assert.Throws<InvalidOperationException>(() => threads.Run(8, 1, new NestedJob(null, threads)));
            var counts = new int[9];
            threads.Run(9, 1, new CountJob(counts, workers));
            Assert.All(counts, c => Assert.Equal(1, c));
        }, TestContext.Current.CancellationToken);
        await test.WaitAsync(Patience, TestContext.Current.CancellationToken);
    }

    [Theory]
    [InlineData(2, 0)]
    [InlineData(2, 1)]
    [InlineData(3, 2)]
    public async Task OthersDoThePartOfAWorkerThatIsHeldUp(int workers, int held)
    {
        var test = Task.Run(() =>
        {
            using var threads = new KernelThreads(workers);
            for (var run = 0; run < 200; run++)
            {
                var counts = new int[64];
                var done = new int[1];
                threads.Run(64, 1, new HeldJob(counts, done, held));
                Assert.All(counts, c => Assert.Equal(1, c));
            }
        }, TestContext.Current.CancellationToken);
        await test.WaitAsync(Patience, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task DisposeEndsSpinningAndParkedWorkers()
    {
        var test = Task.Run(() =>
        {
            for (var run = 0; run < 60; run++)
            {
                var threads = new KernelThreads(3);
                if (run % 3 > 0)
                    threads.Run(9, 1, new CountJob(new int[9], 3));
                if (run % 6 > 2)
                    Thread.Sleep(4);
                threads.Dispose();
                threads.Dispose();
                Assert.Throws<ObjectDisposedException>(() => threads.Run(9, 1, new CountJob(new int[9], 3)));
            }
        }, TestContext.Current.CancellationToken);
        await test.WaitAsync(Patience, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task DisposeRightAfterAJobEndsWorkersThatAreJustAboutToJoinIt()
    {
        var test = Task.Run(() =>
        {
            for (var run = 0; run < 300; run++)
            {
                using var threads = new KernelThreads(3);
                for (var job = 0; job <= run % 4; job++)
                    threads.Run(4, 1, new CountJob(new int[4], 3));
            }
        }, TestContext.Current.CancellationToken);
        await test.WaitAsync(Patience, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task DisposeWaitsForTheJobOfAnotherThread()
    {
        for (var run = 0; run < 20; run++)
        {
            var threads = new KernelThreads(2);
            var caller = Task.Run(() =>
            {
                while (true)
                {
                    var counts = new int[10];
                    try
                    {
                        threads.Run(10, 1, new CountJob(counts, 2));
                    }
                    catch (ObjectDisposedException)
                    {
                        return;
                    }

                    Assert.All(counts, c => Assert.Equal(1, c));
                }
            }, TestContext.Current.CancellationToken);
            await Task.Delay(1, TestContext.Current.CancellationToken);
            await Task.Run(threads.Dispose, TestContext.Current.CancellationToken).WaitAsync(Patience, TestContext.Current.CancellationToken);
            await caller.WaitAsync(Patience, TestContext.Current.CancellationToken);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void RunningAllocatesNothing(int workers)
    {
        using var threads = new KernelThreads(workers);
        var (before, after) = (new long[workers], new long[workers]);
        Measure(threads, before);
        for (var run = 0; run < 2000; run++)
            threads.Run(30, 1, new EmptyJob(threads));
        Measure(threads, after);
        Assert.Equal(before, after);

        // Bytes that each worker has allocated so far; an item waits until every worker has one.
        static void Measure(KernelThreads threads, long[] bytes)
        {
            Array.Clear(bytes);
            threads.Run(threads.Count, 1, new MeasureJob(threads, bytes));
        }
    }

    // Which worker comes to the largest item of a job is chance; a forward pass that has run before allocates nothing all the same.
    [Fact]
    public unsafe void WhatOneWorkerNeededAllHaveFromTheNextJobOn()
    {
        using var threads = new KernelThreads(3);
        threads.Scratch(2, 1 << 20);
        threads.JobScratch(1, 3 << 20);
        threads.Run(1, 1, new CountJob(new int[1], 3));
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var worker = 0; worker < 3; worker++)
        {
            threads.Scratch(worker, 1 << 20);
            threads.JobScratch(worker, 3 << 20);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public unsafe void ScratchIsAlignedKeptAndSurvivesAnAllocationThatFails()
    {
        using var threads = new KernelThreads(1);
        var first = threads.Scratch(0, 100);
        Assert.Equal(0u, (nuint)first % 64);
        new Span<byte>(first, 100).Fill(7);
        Assert.True(first == threads.Scratch(0, 50));
        Assert.True(first != threads.JobScratch(0, 50));
        Assert.Throws<OutOfMemoryException>(() => Take(threads, 1L << 60));
        Assert.Throws<ArgumentOutOfRangeException>(() => Take(threads, -1));
        var again = threads.Scratch(0, 100);
        Assert.True(again != null);
        new Span<byte>(again, 100).Fill(8);

        static void Take(KernelThreads threads, long bytes) => threads.Scratch(0, bytes);
    }

    // One worker waits with its first chunk until everything else is done.
    private readonly struct HeldJob(int[] counts, int[] done, int held) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            if (worker == held)
            {
                while (Volatile.Read(ref done[0]) < counts.Length - (end - start))
                    Thread.Yield();
            }

            for (var item = start; item < end; item++)
                Interlocked.Increment(ref counts[item]);
            Interlocked.Add(ref done[0], end - start);
        }
    }

    private readonly struct CountJob(int[] counts, int workers) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            if (start < 0 || end > counts.Length || start >= end || (uint)worker >= (uint)workers)
                throw new InvalidOperationException($"[{start}, {end}) on worker {worker}");
            for (var i = start; i < end; i++)
                Interlocked.Increment(ref counts[i]);
        }
    }

    private readonly struct RangeJob(int count, long[] total) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            if (start < 0 || end > count || start >= end)
                throw new InvalidOperationException($"[{start}, {end})");
            Interlocked.Add(ref total[0], end - (long)start);
        }
    }

    // The counts of the job whose items are being done, and how many of its workers are at it.
    private sealed class Activity
    {
        private readonly Lock gate = new();
        private int[]? current;
        private int workers;

        public void Enter(int[] job)
        {
            lock (gate)
            {
                if (workers > 0 && current != job)
                    throw new InvalidOperationException("two jobs at once");
                current = job;
                workers++;
            }
        }

        public void Leave()
        {
            lock (gate)
                workers--;
        }
    }

    private readonly struct ExclusiveJob(int[] counts, Activity active) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            active.Enter(counts);
            Thread.SpinWait(20);
            for (var i = start; i < end; i++)
                Interlocked.Increment(ref counts[i]);
            active.Leave();
        }
    }

    private readonly struct ThrowJob(int bad) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            if (start <= bad && bad < end)
                throw new InvalidDataException($"item {bad}");
        }
    }

    private readonly struct NestedJob(KernelThreads? run, KernelThreads? dispose) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            run?.Run(4, 1, new CountJob(new int[4], 8));
            dispose?.Dispose();
        }
    }

    private readonly struct EmptyJob(KernelThreads threads) : IKernelJob
    {
        public unsafe void Invoke(int start, int end, int worker) => threads.Scratch(worker, 64)[0] = 1;
    }

    private readonly struct MeasureJob(KernelThreads threads, long[] bytes) : IKernelJob
    {
        public unsafe void Invoke(int start, int end, int worker)
        {
            threads.Scratch(worker, 64)[0] = 1;
            Volatile.Write(ref bytes[worker], GC.GetAllocatedBytesForCurrentThread() + 1);
            while (bytes.AsSpan().Contains(0))
                Thread.Yield();
        }
    }
}
