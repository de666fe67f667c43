using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Numerics.Kernels.Gemm;

/// <summary>
/// Tiles of float32 products, 12 rows by 32 or 16 columns: all sums in registers (or a quarter of them where registers are few), written out because the JIT keeps named locals there and arrays not.
/// Each sum is a chain of fused multiply-adds in rising step.
/// </summary>
internal static unsafe class Float32Tile
{
    /// <summary>Computes one tile.</summary>
    public static void Multiply(GemmTile* tile)
    {
        if (!Vector512.IsHardwareAccelerated)
            Narrow(tile);
        else if (tile->Columns > 16)
            Tile32(tile);
        else
            Tile16(tile);
    }

    // Sixteen vector registers, whatever their length: six rows by two of them at a time.
    private static void Narrow(GemmTile* t)
    {
        for (var column = 0; column < (t->Columns > 16 ? 32 : 16); column += 2 * Vector<float>.Count)
        {
            for (var row = 0; row < GemmTile.Rows; row += 6)
                Block6(t, row, column * sizeof(float));
        }
    }

    private static void Block6(GemmTile* t, int firstRow, int column)
    {
        Vector<float> c00 = default, c01 = default, c10 = default, c11 = default, c20 = default, c21 = default;
        Vector<float> c30 = default, c31 = default, c40 = default, c41 = default, c50 = default, c51 = default;
        byte* a0 = t->A + (firstRow * t->ARow), a3 = a0 + (3 * t->ARow), b = t->B + column;
        nint row = t->ARow, step = t->AStep;
        for (var k = t->Steps; k > 0; k--)
        {
            var b0 = Vector.Load((float*)b);
            var b1 = Vector.Load((float*)b + Vector<float>.Count);
            var v0 = Vector.Create(*(float*)a0);
            c00 = Vector.FusedMultiplyAdd(v0, b0, c00);
            c01 = Vector.FusedMultiplyAdd(v0, b1, c01);
            var v1 = Vector.Create(*(float*)(a0 + row));
            c10 = Vector.FusedMultiplyAdd(v1, b0, c10);
            c11 = Vector.FusedMultiplyAdd(v1, b1, c11);
            var v2 = Vector.Create(*(float*)(a0 + (2 * row)));
            c20 = Vector.FusedMultiplyAdd(v2, b0, c20);
            c21 = Vector.FusedMultiplyAdd(v2, b1, c21);
            var v3 = Vector.Create(*(float*)a3);
            c30 = Vector.FusedMultiplyAdd(v3, b0, c30);
            c31 = Vector.FusedMultiplyAdd(v3, b1, c31);
            var v4 = Vector.Create(*(float*)(a3 + row));
            c40 = Vector.FusedMultiplyAdd(v4, b0, c40);
            c41 = Vector.FusedMultiplyAdd(v4, b1, c41);
            var v5 = Vector.Create(*(float*)(a3 + (2 * row)));
            c50 = Vector.FusedMultiplyAdd(v5, b0, c50);
            c51 = Vector.FusedMultiplyAdd(v5, b1, c51);
            a0 += step;
            a3 += step;
            b += PackedMatrix.StepBytes;
        }

        var c = t->C + (firstRow * t->CRow) + column;
        Put(ref c, t, c00, c01);
        Put(ref c, t, c10, c11);
        Put(ref c, t, c20, c21);
        Put(ref c, t, c30, c31);
        Put(ref c, t, c40, c41);
        Put(ref c, t, c50, c51);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(ref byte* c, GemmTile* t, Vector<float> first, Vector<float> second)
    {
        var next = (float*)c + Vector<float>.Count;
        (t->Accumulate != 0 ? Vector.Load((float*)c) + first : first).Store((float*)c);
        (t->Accumulate != 0 ? Vector.Load(next) + second : second).Store(next);
        c += t->CRow;
    }

    private static void Tile32(GemmTile* t)
    {
        for (nint i = 0; i < GemmTile.Rows; i++)
        {
            Sse.Prefetch0(t->C + (i * t->CRow));
            Sse.Prefetch0(t->C + (i * t->CRow) + 64);
        }

        Vector512<float> c00 = default, c01 = default, c10 = default, c11 = default, c20 = default, c21 = default;
        Vector512<float> c30 = default, c31 = default, c40 = default, c41 = default, c50 = default, c51 = default;
        Vector512<float> c60 = default, c61 = default, c70 = default, c71 = default, c80 = default, c81 = default;
        Vector512<float> c90 = default, c91 = default, cA0 = default, cA1 = default, cB0 = default, cB1 = default;
        byte* a0 = t->A, a3 = a0 + (3 * t->ARow), a6 = a3 + (3 * t->ARow), a9 = a6 + (3 * t->ARow), b = t->B;
        nint row = t->ARow, step = t->AStep;
        for (var k = t->Steps; k > 0; k--)
        {
            var b0 = Vector512.Load((float*)b);
            var b1 = Vector512.Load((float*)(b + 64));
            var v0 = Vector512.Create(*(float*)a0);
            c00 = Vector512.FusedMultiplyAdd(v0, b0, c00);
            c01 = Vector512.FusedMultiplyAdd(v0, b1, c01);
            var v1 = Vector512.Create(*(float*)(a0 + row));
            c10 = Vector512.FusedMultiplyAdd(v1, b0, c10);
            c11 = Vector512.FusedMultiplyAdd(v1, b1, c11);
            var v2 = Vector512.Create(*(float*)(a0 + (2 * row)));
            c20 = Vector512.FusedMultiplyAdd(v2, b0, c20);
            c21 = Vector512.FusedMultiplyAdd(v2, b1, c21);
            var v3 = Vector512.Create(*(float*)a3);
            c30 = Vector512.FusedMultiplyAdd(v3, b0, c30);
            c31 = Vector512.FusedMultiplyAdd(v3, b1, c31);
            var v4 = Vector512.Create(*(float*)(a3 + row));
            c40 = Vector512.FusedMultiplyAdd(v4, b0, c40);
            c41 = Vector512.FusedMultiplyAdd(v4, b1, c41);
            var v5 = Vector512.Create(*(float*)(a3 + (2 * row)));
            c50 = Vector512.FusedMultiplyAdd(v5, b0, c50);
            c51 = Vector512.FusedMultiplyAdd(v5, b1, c51);
            var v6 = Vector512.Create(*(float*)a6);
            c60 = Vector512.FusedMultiplyAdd(v6, b0, c60);
            c61 = Vector512.FusedMultiplyAdd(v6, b1, c61);
            var v7 = Vector512.Create(*(float*)(a6 + row));
            c70 = Vector512.FusedMultiplyAdd(v7, b0, c70);
            c71 = Vector512.FusedMultiplyAdd(v7, b1, c71);
            var v8 = Vector512.Create(*(float*)(a6 + (2 * row)));
            c80 = Vector512.FusedMultiplyAdd(v8, b0, c80);
            c81 = Vector512.FusedMultiplyAdd(v8, b1, c81);
            var v9 = Vector512.Create(*(float*)a9);
            c90 = Vector512.FusedMultiplyAdd(v9, b0, c90);
            c91 = Vector512.FusedMultiplyAdd(v9, b1, c91);
            var vA = Vector512.Create(*(float*)(a9 + row));
            cA0 = Vector512.FusedMultiplyAdd(vA, b0, cA0);
            cA1 = Vector512.FusedMultiplyAdd(vA, b1, cA1);
            var vB = Vector512.Create(*(float*)(a9 + (2 * row)));
            cB0 = Vector512.FusedMultiplyAdd(vB, b0, cB0);
            cB1 = Vector512.FusedMultiplyAdd(vB, b1, cB1);
            a0 += step;
            a3 += step;
            a6 += step;
            a9 += step;
            b += PackedMatrix.StepBytes;
        }

        var c = t->C;
        Put(ref c, t, c00, c01);
        Put(ref c, t, c10, c11);
        Put(ref c, t, c20, c21);
        Put(ref c, t, c30, c31);
        Put(ref c, t, c40, c41);
        Put(ref c, t, c50, c51);
        Put(ref c, t, c60, c61);
        Put(ref c, t, c70, c71);
        Put(ref c, t, c80, c81);
        Put(ref c, t, c90, c91);
        Put(ref c, t, cA0, cA1);
        Put(ref c, t, cB0, cB1);
    }

    private static void Tile16(GemmTile* t)
    {
        Vector512<float> c00 = default, c10 = default, c20 = default;
        Vector512<float> c30 = default, c40 = default, c50 = default;
        Vector512<float> c60 = default, c70 = default, c80 = default;
        Vector512<float> c90 = default, cA0 = default, cB0 = default;
        byte* a0 = t->A, a3 = a0 + (3 * t->ARow), a6 = a3 + (3 * t->ARow), a9 = a6 + (3 * t->ARow), b = t->B;
        nint row = t->ARow, step = t->AStep;
        for (var k = t->Steps; k > 0; k--)
        {
            var b0 = Vector512.Load((float*)b);
            var v0 = Vector512.Create(*(float*)a0);
            c00 = Vector512.FusedMultiplyAdd(v0, b0, c00);
            var v1 = Vector512.Create(*(float*)(a0 + row));
            c10 = Vector512.FusedMultiplyAdd(v1, b0, c10);
            var v2 = Vector512.Create(*(float*)(a0 + (2 * row)));
            c20 = Vector512.FusedMultiplyAdd(v2, b0, c20);
            var v3 = Vector512.Create(*(float*)a3);
            c30 = Vector512.FusedMultiplyAdd(v3, b0, c30);
            var v4 = Vector512.Create(*(float*)(a3 + row));
            c40 = Vector512.FusedMultiplyAdd(v4, b0, c40);
            var v5 = Vector512.Create(*(float*)(a3 + (2 * row)));
            c50 = Vector512.FusedMultiplyAdd(v5, b0, c50);
            var v6 = Vector512.Create(*(float*)a6);
            c60 = Vector512.FusedMultiplyAdd(v6, b0, c60);
            var v7 = Vector512.Create(*(float*)(a6 + row));
            c70 = Vector512.FusedMultiplyAdd(v7, b0, c70);
            var v8 = Vector512.Create(*(float*)(a6 + (2 * row)));
            c80 = Vector512.FusedMultiplyAdd(v8, b0, c80);
            var v9 = Vector512.Create(*(float*)a9);
            c90 = Vector512.FusedMultiplyAdd(v9, b0, c90);
            var vA = Vector512.Create(*(float*)(a9 + row));
            cA0 = Vector512.FusedMultiplyAdd(vA, b0, cA0);
            var vB = Vector512.Create(*(float*)(a9 + (2 * row)));
            cB0 = Vector512.FusedMultiplyAdd(vB, b0, cB0);
            a0 += step;
            a3 += step;
            a6 += step;
            a9 += step;
            b += PackedMatrix.StepBytes;
        }

        var c = t->C;
        Put(ref c, t, c00);
        Put(ref c, t, c10);
        Put(ref c, t, c20);
        Put(ref c, t, c30);
        Put(ref c, t, c40);
        Put(ref c, t, c50);
        Put(ref c, t, c60);
        Put(ref c, t, c70);
        Put(ref c, t, c80);
        Put(ref c, t, c90);
        Put(ref c, t, cA0);
        Put(ref c, t, cB0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(ref byte* c, GemmTile* t, Vector512<float> first, Vector512<float> second)
    {
        Put(c, t, first);
        Put(c + 64, t, second);
        c += t->CRow;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(ref byte* c, GemmTile* t, Vector512<float> sum)
    {
        Put(c, t, sum);
        c += t->CRow;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(byte* c, GemmTile* t, Vector512<float> sum) =>
        (t->Accumulate != 0 ? Vector512.Load((float*)c) + sum : sum).Store((float*)c);
}
