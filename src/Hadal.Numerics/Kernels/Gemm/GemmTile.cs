using System.Runtime.InteropServices;
using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Kernels.Gemm;

/// <summary>
/// One tile of a matrix product: C[i, j] (+)= sum over steps of A[i, s] * B[s, j] for 12 rows, or fewer, and 32 or 16 columns. A step is 32 bits of an operand: one
/// float32, or two bfloat16 whose products are added one after the other, the upper first.
/// </summary>
/// <remarks>
/// The sum of a tile is a chain of fused multiply-adds from zero, in rising step; then it is stored, or added to what is there. With bfloat16 every operand
/// and every partial sum that is subnormal counts as zero of its sign: so does the instruction vdpbf16ps, and so that every variant gives its bits.
/// </remarks>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct GemmTile
{
    /// <summary>Rows of a tile.</summary>
    public const int Rows = 12;

    /// <summary>First 32 bits of A.</summary>
    public byte* A;

    /// <summary>Bytes from one row of A to the next.</summary>
    public nint ARow;

    /// <summary>Bytes from one step of A to the next.</summary>
    public nint AStep;

    /// <summary>A panel of B, <see cref="PackedMatrix.StepBytes"/> a step.</summary>
    public byte* B;

    /// <summary>First value of C.</summary>
    public byte* C;

    /// <summary>Bytes from one row of C to the next.</summary>
    public nint CRow;

    /// <summary>Length of the sums.</summary>
    public nint Steps;

    /// <summary>0 to overwrite C, 1 to add to it.</summary>
    public nint Accumulate;

    /// <summary>Columns wanted: 16 are computed where 16 are enough, else 32.</summary>
    public nint Columns;

    /// <summary>What to bring into the second-level cache meanwhile; null for nothing. Tiles that are not assembled leave it out.</summary>
    public byte* Ahead;

    /// <summary>Bytes of it for each step.</summary>
    public nint AheadStep;

    /// <summary>1 for <see cref="FewRows"/> rows only; bfloat16.</summary>
    public nint Few;

    /// <summary>Rows of the smallest tile of bfloat16: as many as of any where there is no smaller one.</summary>
    public static int FewRows => DotTiles.FewRows;

    /// <summary>Computes the tile by the best variant there is.</summary>
    /// <param name="format">Of A and B.</param>
    /// <param name="tile">What to compute.</param>
    public static void Multiply(WeightFormat format, GemmTile* tile)
    {
        if (format == WeightFormat.F32)
        {
            Float32Tile.Multiply(tile);
            return;
        }

        var kernel = DotTiles.Find(tile->Columns > 16, tile->Few != 0);
        if (kernel != null)
            kernel(tile);
        else
            Bf16Tile.Multiply(tile);
    }

    /// <summary>The specification, in plain loops.</summary>
    public static void Reference(WeightFormat format, GemmTile* t)
    {
        for (var i = 0; i < Rows; i++)
        {
            for (var j = 0; j < (t->Columns > 16 ? 32 : 16); j++)
            {
                var sum = 0f;
                for (nint s = 0; s < t->Steps; s++)
                {
                    var a = *(uint*)(t->A + (i * t->ARow) + (s * t->AStep));
                    var b = ((uint*)(t->B + (s * PackedMatrix.StepBytes)))[j];
                    if (format == WeightFormat.F32)
                    {
                        sum = MathF.FusedMultiplyAdd(BitConverter.UInt32BitsToSingle(a), BitConverter.UInt32BitsToSingle(b), sum);
                        continue;
                    }

                    sum = Flush(MathF.FusedMultiplyAdd(Upper(a), Upper(b), sum));
                    sum = Flush(MathF.FusedMultiplyAdd(Upper(a << 16), Upper(b << 16), sum));
                }

                ref var c = ref *(float*)(t->C + (i * t->CRow) + (j * 4));
                c = t->Accumulate != 0 ? c + sum : sum;
            }
        }
    }

    private static float Upper(uint pair) => Flush(BitConverter.UInt32BitsToSingle(pair & 0xFFFF0000));

    private static float Flush(float x) => float.IsSubnormal(x) ? MathF.CopySign(0, x) : x;
}
