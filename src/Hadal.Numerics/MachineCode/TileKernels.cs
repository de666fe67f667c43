using System.Collections.Concurrent;
using System.ComponentModel;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// Assembled tile kernels by layout and tile width. A kernel is handed out only after it has given the bits of plain loops on this processor; where the
/// processor lacks the instructions, the system refuses executable memory, or HADAL_KERNEL=portable is set, there is none.
/// </summary>
internal static unsafe class TileKernels
{
    public static readonly bool Enabled = VnniTile.IsSupported && Environment.GetEnvironmentVariable("HADAL_KERNEL") != "portable";
    private static readonly ConcurrentDictionary<(IntegerPanel Panel, int Tokens), nint> Kernels = new();

    /// <summary>The kernel, or null: adds blocks of a panel times blocks of a tile to the four chains, which take turns from the first on.</summary>
    public static delegate* unmanaged[SuppressGCTransition]<byte*, byte*, float*, long*, void> Find(IntegerPanel panel, int tokens) =>
        Enabled ? (delegate* unmanaged[SuppressGCTransition]<byte*, byte*, float*, long*, void>)Kernels.GetOrAdd((panel, tokens), static key => Make(key.Panel, key.Tokens)) : null;

    /// <summary>The specification of a kernel, in plain loops.</summary>
    public static void Reference(IntegerPanel panel, int tokens, byte* weights, byte* x, float* chains, int blocks)
    {
        for (var b = 0; b < blocks; b++)
            Block(panel, tokens, weights + (b * panel.WeightBytes), x + (b * panel.TokenBytes(tokens)), chains + (b % 4 * tokens * IntegerPanel.Rows));
    }

    private static void Block(IntegerPanel panel, int tokens, byte* weights, byte* x, float* chain)
    {
        for (var t = 0; t < tokens; t++)
        {
            var dx = ((float*)(x + panel.TokenScales(tokens)))[t];
            for (var r = 0; r < IntegerPanel.Rows; r++)
            {
                int product = 0, minimum = 0;
                for (var s = 0; s < panel.Sums; s++)
                {
                    var sum = panel.ZeroPoint != 0 ? ((int*)(x + panel.TokenStarts(tokens)))[(s * tokens) + t] : 0;
                    for (var k = s * panel.SumLength; k < (s + 1) * panel.SumLength; k++)
                        sum += weights[(k / 4 * IntegerPanel.ColumnBytes) + (r * 4) + (k % 4)] * (sbyte)x[(k / 4 * tokens * 4) + (t * 4) + (k % 4)];
                    product += panel.Scales == 0 ? sum : sum * ((int*)(weights + panel.WeightScales))[(s * IntegerPanel.Rows) + r];
                }

                if (panel.HasMinimum && panel.Scales == 0)
                    minimum = ((int*)(x + panel.TokenSums(tokens)))[t];
                for (var s = 0; panel.HasMinimum && s < panel.Scales; s++)
                {
                    minimum += ((short*)(weights + panel.WeightMinima))[(s / 2 * IntegerPanel.Rows * 2) + (r * 2) + (s % 2)]
                        * ((short*)(x + panel.TokenSums(tokens)))[(s / 2 * tokens * 2) + (t * 2) + (s % 2)];
                }

                ref var c = ref chain[(t * IntegerPanel.Rows) + r];
                c = MathF.FusedMultiplyAdd(product, ((float*)(weights + panel.WeightSuperScale))[r] * dx, c);
                if (panel.HasMinimum)
                    c = MathF.FusedMultiplyAdd(-(float)minimum, ((float*)(weights + panel.WeightSuperMinimum))[r] * dx, c);
            }
        }
    }

    private static nint Make(IntegerPanel panel, int tokens)
    {
        try
        {
            var kernel = VnniTile.Assemble(panel, tokens);
            return PassesSelfTest(panel, tokens, kernel) ? kernel : 0;
        }
        catch (Win32Exception)
        {
            return 0;
        }
    }

    private static bool PassesSelfTest(IntegerPanel panel, int tokens, nint kernel)
    {
        // Six blocks: chains take turns, and the last turn is not full.
        const int Seed = 5, Blocks = 6;
        var random = new Random(Seed);
        var weights = new byte[Blocks * panel.WeightBytes];
        var x = new byte[Blocks * panel.TokenBytes(tokens)];
        var length = 4 * tokens * IntegerPanel.Rows;
        float[] actual = new float[length], expected = new float[length];
        fixed (byte* w = weights, px = x)
        fixed (float* a = actual, e = expected)
        {
            for (var b = 0; b < Blocks; b++)
                FillBlock(panel, tokens, random, w + (b * panel.WeightBytes), px + (b * panel.TokenBytes(tokens)));
            long blocks = Blocks;
            for (var pass = 0; pass < 2; pass++)
            {
                ((delegate* unmanaged<byte*, byte*, float*, long*, void>)kernel)(w, px, a, &blocks);
                Reference(panel, tokens, w, px, e, Blocks);
            }
        }

        return actual.AsSpan().SequenceEqual(expected);
    }

    // Codes, scales and sums of the sizes that real blocks have, so that no sum overflows.
    private static void FillBlock(IntegerPanel panel, int tokens, Random random, byte* w, byte* x)
    {
        for (var i = 0; i < panel.WeightScales; i++)
            w[i] = (byte)random.Next(64);
        for (var i = panel.WeightScales / 4; i < panel.WeightMinima / 4; i++)
            ((int*)w)[i] = random.Next(-128, 128);
        for (var i = panel.WeightMinima / 2; i < panel.WeightSuperScale / 2; i++)
            ((short*)w)[i] = (short)random.Next(64);
        for (var i = panel.WeightSuperScale / 4; i < panel.WeightBytes / 4; i++)
            ((float*)w)[i] = random.NextSingle() - 0.5f;
        for (var i = 0; i < panel.TokenStarts(tokens); i++)
            x[i] = (byte)(sbyte)random.Next(-127, 128);
        for (var i = panel.TokenStarts(tokens) / 4; i < panel.TokenSums(tokens) / 4; i++)
            ((int*)x)[i] = random.Next(-200_000, 200_000);
        for (var i = panel.TokenSums(tokens) / 2; i < panel.TokenScales(tokens) / 2; i++)
            ((short*)x)[i] = (short)random.Next(-4064, 4065);
        for (var t = 0; t < tokens; t++)
            ((float*)(x + panel.TokenScales(tokens)))[t] = random.NextSingle();
    }
}
