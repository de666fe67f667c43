using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Training;

/// <summary>A worker's own memory, handed out in rows; for use inside a job, until it ends. Contents are undefined.</summary>
public unsafe ref struct WorkerMemory
{
    private readonly byte* memory;
    private readonly long length;
    private long used;

    /// <summary>Takes the worker's memory (<see cref="KernelThreads.JobScratch"/>).</summary>
    /// <param name="threads">The pool whose job is running.</param>
    /// <param name="worker">The worker number passed to the job.</param>
    /// <param name="byteLength">Bytes that all views together take, each rounded up to 64.</param>
    public WorkerMemory(KernelThreads threads, int worker, long byteLength)
    {
        ArgumentNullException.ThrowIfNull(threads);
        memory = threads.JobScratch(worker, byteLength);
        length = byteLength;
    }

    /// <summary>Bytes that a view takes.</summary>
    public static long Bytes(WeightFormat format, int rows, int cols) => (((long)rows * cols * (format == WeightFormat.F32 ? 4 : 2)) + 63) & ~63L;

    /// <summary>The next rows.</summary>
    /// <exception cref="InvalidOperationException">More than was asked for.</exception>
    public MatrixView View(WeightFormat format, int rows, int cols)
    {
        var start = used;
        used += Bytes(format, rows, cols);
        return used <= length ? new MatrixView(format, memory + start, rows, cols, cols) : throw new InvalidOperationException($"{used} bytes of {length}");
    }
}
