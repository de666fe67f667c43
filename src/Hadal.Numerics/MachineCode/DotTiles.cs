using System.ComponentModel;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Gemm;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Assembled bfloat16 tiles. One is handed out only after it has given the bits of plain loops on this processor; where
/// <see cref="KernelVariant"/> has none, or the system refuses executable memory, there is none.
/// </summary>
internal static unsafe class DotTiles
{
    private const int AssembledFewRows = 8;

    private static readonly nint Wide = Make(GemmTile.Rows, vectors: 2);
    private static readonly nint Narrow = Make(GemmTile.Rows, vectors: 1);
    private static readonly nint FewWide = KernelVariant.Bf16 ? Make(AssembledFewRows, vectors: 2) : 0;
    private static readonly nint FewNarrow = KernelVariant.Bf16 ? Make(AssembledFewRows, vectors: 1) : 0;

    /// <summary>Rows of the smallest tile: eight where vdpbf16ps is at work, else as many as of any.</summary>
    public static readonly int FewRows = FewWide != 0 && FewNarrow != 0 ? AssembledFewRows : GemmTile.Rows;

    /// <summary>The kernel for 32 or 16 columns, or null.</summary>
    /// <param name="wide">32 columns.</param>
    /// <param name="few"><see cref="FewRows"/> rows.</param>
    public static delegate* unmanaged[SuppressGCTransition]<GemmTile*, void> Find(bool wide, bool few) =>
        (delegate* unmanaged[SuppressGCTransition]<GemmTile*, void>)(few && FewRows < GemmTile.Rows ? wide ? FewWide : FewNarrow : wide ? Wide : Narrow);

    private static nint Make(int rows, int vectors)
    {
        if (!KernelVariant.Avx2)
            return 0;
        try
        {
            var kernel = KernelVariant.Bf16 ? DotTile.Assemble(rows, vectors) : FmaTile.Assemble(vectors);
            return PassesSelfTest(rows, vectors, kernel) ? kernel : 0;
        }
        catch (Win32Exception)
        {
            return 0;
        }
    }

    private static bool PassesSelfTest(int rows, int vectors, nint kernel)
    {
        const int Seed = 5;
        const int Steps = 37;
        const int ValuesOfC = GemmTile.Rows * 32;
        var random = new Random(Seed);
        uint[] a = new uint[GemmTile.Rows * Steps], b = new uint[32 * Steps];
        float[] actual = new float[ValuesOfC], expected = new float[ValuesOfC];
        fixed (uint* pa = a, pb = b)
        fixed (float* pActual = actual, pExpected = expected)
        {
            // Ordinary numbers first; then products and sums around the smallest normal number, where flushing to zero shows.
            foreach (var (low, range) in ((int, int)[])[(112, 28), (44, 24), (0, 90)])
            {
                for (var i = 0; i < a.Length; i++)
                    a[i] = Pair(random, low, range);
                for (var i = 0; i < b.Length; i++)
                    b[i] = Pair(random, low, range);
                for (var accumulate = 0; accumulate < 2; accumulate++)
                {
                    var tile = new GemmTile { A = (byte*)pa, ARow = Steps * 4, AStep = 4, B = (byte*)pb, C = (byte*)pActual, CRow = 128, Steps = Steps, Accumulate = accumulate, Columns = vectors * 16 };
                    ((delegate* unmanaged[SuppressGCTransition]<GemmTile*, void>)kernel)(&tile);
                    tile.C = (byte*)pExpected;
                    GemmTile.Reference(WeightFormat.BF16, &tile);
                    if (!actual.AsSpan(0, rows * 32).SequenceEqual(expected.AsSpan(0, rows * 32)))
                        return false;
                }
            }
        }

        return true;
    }

    private static uint Pair(Random random, int low, int range) => (Value(random, low, range) << 16) | Value(random, low, range);

    private static uint Value(Random random, int low, int range) => ((uint)random.Next(2) << 15) | ((uint)(low + random.Next(range)) << 7) | (uint)random.Next(128);
}
