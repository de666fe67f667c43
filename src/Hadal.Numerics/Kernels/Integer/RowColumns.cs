using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>Bytes of eight rows, turned into columns of four bytes of each row.</summary>
internal static unsafe class RowColumns
{
    /// <summary>Rows taken together.</summary>
    public const int Rows = 8;

    /// <summary>Columns made at a time.</summary>
    public const int Columns = 4;

    /// <summary>Sixteen bytes of each row as four columns.</summary>
    /// <param name="rows">Where those of the first row lie.</param>
    /// <param name="rowStride">Bytes from one row to the next.</param>
    /// <param name="columns">Receives the first column.</param>
    /// <param name="columnStride">Bytes from one column to the next.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Transpose(byte* rows, nint rowStride, byte* columns, nint columnStride)
    {
        if (!Avx2.IsSupported)
        {
            for (var r = 0; r < Rows; r++)
            {
                for (var c = 0; c < Columns; c++)
                    *(int*)(columns + (c * columnStride) + (r * 4)) = *(int*)(rows + (r * rowStride) + (c * 4));
            }

            return;
        }

        // Rows r and r + 4 in the halves of a vector.
        var (two, three) = (2 * rowStride, 3 * rowStride);
        var upper = rows + (4 * rowStride);
        var (r0, r1) = (Pair(rows, upper), Pair(rows + rowStride, upper + rowStride));
        var (r2, r3) = (Pair(rows + two, upper + two), Pair(rows + three, upper + three));
        var low01 = Avx2.UnpackLow(r0, r1).AsInt64();
        var high01 = Avx2.UnpackHigh(r0, r1).AsInt64();
        var low23 = Avx2.UnpackLow(r2, r3).AsInt64();
        var high23 = Avx2.UnpackHigh(r2, r3).AsInt64();
        Avx2.UnpackLow(low01, low23).Store((long*)columns);
        Avx2.UnpackHigh(low01, low23).Store((long*)(columns + columnStride));
        Avx2.UnpackLow(high01, high23).Store((long*)(columns + (2 * columnStride)));
        Avx2.UnpackHigh(high01, high23).Store((long*)(columns + (3 * columnStride)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Pair(byte* lower, byte* upper) => Avx2.InsertVector128(Vector128.Load((int*)lower).ToVector256Unsafe(), Vector128.Load((int*)upper), 1);
}
