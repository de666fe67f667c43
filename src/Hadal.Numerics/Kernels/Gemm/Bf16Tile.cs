using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Kernels.Gemm;

/// <summary>
/// Tiles of bfloat16 products without the instruction made for them: the same bits as <see cref="GemmTile.Reference"/> from float32 multiply-adds, four rows
/// and sixteen columns at a time.
/// </summary>
internal static unsafe class Bf16Tile
{
    /// <summary>Computes one tile.</summary>
    public static void Multiply(GemmTile* t)
    {
        for (var column = 0; column < (t->Columns > 16 ? 128 : 64); column += 64)
        {
            for (var row = 0; row < GemmTile.Rows; row += 4)
                Block(t, row, column);
        }
    }

    private static void Block(GemmTile* t, int row, int columnBytes)
    {
        Vector512<float> c0 = default, c1 = default, c2 = default, c3 = default;
        var a = t->A + (row * t->ARow);
        var b = t->B + columnBytes;
        for (var k = t->Steps; k > 0; k--)
        {
            var pairs = Vector512.Load((uint*)b);
            var upper = Upper(pairs);
            var lower = Upper(pairs << 16);
            Add(ref c0, *(uint*)a, upper, lower);
            Add(ref c1, *(uint*)(a + t->ARow), upper, lower);
            Add(ref c2, *(uint*)(a + (2 * t->ARow)), upper, lower);
            Add(ref c3, *(uint*)(a + (3 * t->ARow)), upper, lower);
            a += t->AStep;
            b += PackedMatrix.StepBytes;
        }

        var c = t->C + (row * t->CRow) + columnBytes;
        Put(t, c, c0);
        Put(t, c + t->CRow, c1);
        Put(t, c + (2 * t->CRow), c2);
        Put(t, c + (3 * t->CRow), c3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(ref Vector512<float> sum, uint pair, Vector512<float> upper, Vector512<float> lower)
    {
        var a = Vector512.Create(pair);
        sum = Flush(Vector512.FusedMultiplyAdd(Upper(a), upper, sum));
        sum = Flush(Vector512.FusedMultiplyAdd(Upper(a << 16), lower, sum));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Upper(Vector512<uint> pairs) => Flush((pairs & Vector512.Create(0xFFFF0000u)).AsSingle());

    // Exponent 0: zero or subnormal; only the sign stays.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Flush(Vector512<float> x)
    {
        var bits = x.AsUInt32();
        var small = Vector512.Equals(bits & Vector512.Create(0x7F800000u), Vector512<uint>.Zero);
        return Vector512.ConditionalSelect(small, bits & Vector512.Create(0x80000000u), bits).AsSingle();
    }

    private static void Put(GemmTile* t, byte* c, Vector512<float> sum) =>
        (t->Accumulate != 0 ? Vector512.Load((float*)c) + sum : sum).Store((float*)c);
}
