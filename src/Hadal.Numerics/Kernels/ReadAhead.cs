using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Kernels;

/// <summary>Memory that is needed next, brought into the second-level cache a share at a time while something else is computed. Nothing where <see cref="Bytes"/> is 0.</summary>
/// <param name="start">Its first byte.</param>
/// <param name="bytes">Its length.</param>
internal readonly unsafe struct ReadAhead(byte* start, long bytes)
{
    private const int Line = 64;
    private const int Page = 4096;

    /// <summary>Its length.</summary>
    public long Bytes => bytes;

    /// <summary>Its first and its second half.</summary>
    public (ReadAhead First, ReadAhead Second) Halves()
    {
        var half = Share(2);
        return (new(start, Math.Min(half, bytes)), new(start + half, Math.Max(0, bytes - half)));
    }

    /// <summary>Bytes of one of <paramref name="shares"/> equal shares, whole cache lines.</summary>
    public long Share(int shares) => (((bytes + shares - 1) / Math.Max(1, shares)) + Line - 1) / Line * Line;

    /// <summary>Asks for bytes [from, from + count), as far as there are any.</summary>
    public void Fetch(long from, long count)
    {
        if (!Sse.IsSupported)
            return;
        for (var end = Math.Min(bytes, from + count); from < end; from += Line)
            Sse.Prefetch1(start + from);
    }

    /// <summary>Asks for a line of each page, so that the page is looked up before its lines are asked for, where the processor gains by it (<see cref="StreamHints"/>).</summary>
    public void FetchPages()
    {
        if (!StreamHints.EveryLine)
            return;
        for (var at = 0L; at < bytes; at += Page)
            Sse.Prefetch1(start + at);
    }

    /// <summary>A walk over it in <paramref name="count"/> steps; where that many lines are too few, the last ones are left out.</summary>
    /// <param name="count">Steps; 0 where nothing is going to walk.</param>
    /// <param name="idle">Memory in use anyway, to stand at where there is nothing to walk over.</param>
    public Walk Steps(long count, void* idle) =>
        bytes == 0 || count == 0 ? new((nint)idle, 0) : new((nint)start, (nint)Math.Min(Line, (bytes + count - 1) / count));

    /// <summary>Asks for one row, where the view has it.</summary>
    public static void Row(MatrixView view, int row)
    {
        if (row >= view.Rows)
            return;
        var length = (long)view.Cols * view.ElementBytes;
        new ReadAhead(view.RowPointer(row), length + Line - 1).Fetch(0, length + Line - 1);
    }

    /// <summary>Asks for some rows.</summary>
    public static void Rows(MatrixView view, int start, int count)
    {
        for (var row = start; row < start + count; row++)
            Row(view, row);
    }

    /// <summary>Where a walk stands; kernels take both numbers into registers.</summary>
    /// <param name="Next">Address of what is asked for next.</param>
    /// <param name="Bytes">Bytes of a step, at most a line.</param>
    public readonly record struct Walk(nint Next, nint Bytes);
}
