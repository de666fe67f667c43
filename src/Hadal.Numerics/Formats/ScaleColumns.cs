using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Numerics.Formats;

/// <summary>Sixteen bytes of each of sixteen rows, turned into columns: how the integer scales of super-blocks come into weight panels. Needs AVX-512.</summary>
internal static unsafe class ScaleColumns
{
    /// <summary>Rows taken together.</summary>
    public const int Rows = 16;

    /// <summary>Bytes of each.</summary>
    public const int RowBytes = 16;

    /// <summary>Brings the bytes of up to sixteen rows together, row after row.</summary>
    /// <param name="first">The first row's bytes.</param>
    /// <param name="stride">Bytes from one row to the next.</param>
    /// <param name="count">Rows.</param>
    /// <param name="rows">Receives them; what lies beyond the last is left as it is.</param>
    public static void Gather(byte* first, long stride, int count, byte* rows)
    {
        for (var r = 0; r < count; r++)
            Vector128.Load(first + (r * stride)).Store(rows + (r * RowBytes));
    }

    /// <summary>Bytes 4q to 4q + 3 of every row, as one lane each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> DoubleWords(byte* rows, int q) =>
        DoubleWords(Vector512.Load((int*)rows), Vector512.Load((int*)rows + 16), Vector512.Load((int*)rows + 32), Vector512.Load((int*)rows + 48), q);

    /// <inheritdoc cref="DoubleWords(byte*, int)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> DoubleWords(Vector512<int> a, Vector512<int> b, Vector512<int> c, Vector512<int> d, int q)
    {
        var index = Vector512.Create(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28) + Vector512.Create(q);
        return Avx512F.Shuffle4x128(Avx512F.PermuteVar16x32x2(a, index, b), Avx512F.PermuteVar16x32x2(c, index, d), 0b01_00_01_00);
    }
}
