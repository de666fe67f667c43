using System.Diagnostics;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.MachineCode;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// How fast all workers together read memory: the wall that decoding is measured against. The memory read is kept until the end: given back in
/// the middle, on a virtual machine that reports free memory to its host, it was seen to slow down what runs right after it; docs/LOG.md.
/// </summary>
public sealed unsafe class ReadBandwidth : IDisposable
{
    private const int Page = 4096;
    private const int Slice = 1 << 20;

    private readonly KernelThreads threads;
    private readonly NativeBuffer buffer;

    /// <summary>Takes memory much larger than the caches.</summary>
    /// <param name="threads">Workers to read with.</param>
    public ReadBandwidth(KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        this.threads = threads;

        // Written first: a page that never was is not read from memory.
        buffer = new NativeBuffer(512L * Slice);
        buffer.Span<byte>(0, (int)buffer.ByteLength).Fill(1);
    }

    /// <summary>Bytes of memory taken.</summary>
    public long ByteLength => buffer.ByteLength;

    /// <summary>Reads it several times and reports the fastest pass: as fast as this processor can be made to read.</summary>
    /// <param name="passes">Times to read.</param>
    /// <returns>Bytes per second.</returns>
    /// <exception cref="ObjectDisposedException">The memory was given back.</exception>
    public double Measure(int passes = 5) => Measure(passes, StreamHints.EveryLine ? Hints.Pages : Hints.Lines);

    /// <summary>The same by a plain loop that asks for nothing ahead, as other programs measure it.</summary>
    /// <param name="passes">Times to read.</param>
    /// <returns>Bytes per second.</returns>
    /// <exception cref="ObjectDisposedException">The memory was given back.</exception>
    public double MeasurePlain(int passes = 5) => Measure(passes, Hints.None);

    private double Measure(int passes, Hints hints)
    {
        ObjectDisposedException.ThrowIf(buffer.Pointer == null, this);
        var slices = (int)(buffer.ByteLength / Slice);
        var sums = new long[threads.Count];
        var best = 0.0;
        fixed (long* s = sums)
        {
            for (var pass = 0; pass < passes; pass++)
            {
                var start = Stopwatch.GetTimestamp();
                threads.Run(slices, 1, new ReadJob(buffer.Pointer, Slice, s, hints));
                best = Math.Max(best, (double)slices * Slice / Stopwatch.GetElapsedTime(start).TotalSeconds);
            }
        }

        return best;
    }

    /// <summary>Reads a matrix once, so that its pages are in the page tables of this process, and where it runs in a virtual machine, in the host's.</summary>
    /// <param name="weight">The matrix.</param>
    /// <param name="threads">Workers to read with.</param>
    public static void Touch(WeightMatrix weight, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        var sums = new long[threads.Count];
        fixed (long* s = sums)
            threads.Run((int)Math.Min(weight.ByteLength / Page, int.MaxValue), 64, new TouchJob(weight.Data, s));
    }

    /// <inheritdoc/>
    public void Dispose() => buffer.Dispose();

    // What is asked for ahead: nothing; every line; the first line of each page, too.
    private enum Hints
    {
        None,
        Lines,
        Pages,
    }

    private readonly struct TouchJob(byte* data, long* sums) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            for (var page = start; page < end; page++)
                sums[worker] += data[(long)page * Page];
        }
    }

    private readonly struct ReadJob(byte* data, int slice, long* sums, Hints hints) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var (lines, pages) = (Sse.IsSupported && hints != Hints.None, Sse.IsSupported && hints == Hints.Pages);
            Vector512<long> a = default, b = default, c = default, d = default;
            var last = data + ((long)end * slice);
            for (var p = data + ((long)start * slice); p < last; p += 256)
            {
                if (pages)
                    StreamHints.AskForPage(p);
                if (lines)
                {
                    Sse.Prefetch0(p + 4096);
                    Sse.Prefetch0(p + 4160);
                    Sse.Prefetch0(p + 4224);
                    Sse.Prefetch0(p + 4288);
                }

                a += Vector512.Load((long*)p);
                b += Vector512.Load((long*)(p + 64));
                c += Vector512.Load((long*)(p + 128));
                d += Vector512.Load((long*)(p + 192));
            }

            sums[worker] += Vector512.Sum(a + b + c + d);
        }
    }
}
