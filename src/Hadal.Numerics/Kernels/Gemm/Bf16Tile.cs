using System.Numerics;
using System.Runtime.CompilerServices;

namespace Hadal.Numerics.Kernels.Gemm;

/// <summary>
/// Tiles of bfloat16 products where none can be assembled: the same bits as <see cref="GemmTile.Reference"/> from float32 multiply-adds, four rows and one
/// vector of columns at a time.
/// </summary>
internal static unsafe class Bf16Tile
{
    /// <summary>Computes one tile.</summary>
    public static void Multiply(GemmTile* t)
    {
        for (var column = 0; column < (t->Columns > 16 ? 32 : 16); column += Vector<float>.Count)
        {
            for (var row = 0; row < GemmTile.Rows; row += 4)
                Block(t, row, column * sizeof(float));
        }
    }

    private static void Block(GemmTile* t, int row, int columnBytes)
    {
        Vector<float> c0 = default, c1 = default, c2 = default, c3 = default;
        var a = t->A + (row * t->ARow);
        var b = t->B + columnBytes;
        for (var k = t->Steps; k > 0; k--)
        {
            var pairs = Vector.Load((uint*)b);
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
    private static void Add(ref Vector<float> sum, uint pair, Vector<float> upper, Vector<float> lower)
    {
        var a = Vector.Create(pair);
        sum = Flush(Vector.FusedMultiplyAdd(Upper(a), upper, sum));
        sum = Flush(Vector.FusedMultiplyAdd(Upper(a << 16), lower, sum));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> Upper(Vector<uint> pairs) => Flush((pairs & Vector.Create(0xFFFF0000u)).As<uint, float>());

    // Exponent 0: zero or subnormal; only the sign stays.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> Flush(Vector<float> x)
    {
        var bits = x.As<float, uint>();
        var small = Vector.Equals(bits & Vector.Create(0x7F800000u), Vector<uint>.Zero);
        return Vector.ConditionalSelect(small, bits & Vector.Create(0x80000000u), bits).As<uint, float>();
    }

    private static void Put(GemmTile* t, byte* c, Vector<float> sum) =>
        (t->Accumulate != 0 ? Vector.Load((float*)c) + sum : sum).Store((float*)c);
}
