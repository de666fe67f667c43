using Hadal.Numerics.Formats;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// The one order in which activations rounded to bfloat16 are multiplied with weights and added up: of each 64 values the first 32 go in pairs to the sixteen lanes of one running
/// sum, the others to those of a second; a lane takes the odd value of its pair, then the even one, by fused multiply-add with subnormal numbers as zeros (vdpbf16ps). The two are
/// added, then lanes 2 and 1 apart, then 8 and 4.
/// </summary>
/// <remarks>
/// For E4M3 codes, which kernels unpack within each 16 of them, the 32 values of the first sum are the lower eight of each 16; and activations are multiplied with
/// the codes' scales before they are rounded, as zeros where that makes them subnormal (vcvtne2ps2bf16).
/// </remarks>
internal static unsafe class BfloatDot
{
    /// <summary>Running sums, each of 16 lanes.</summary>
    public const int Sums = 2;

    /// <summary>Values that go to all lanes once.</summary>
    public const int Step = 64;

    private const int Chunk = 8;
    private const int Lanes = 16;

    /// <summary>Up to whole steps.</summary>
    public static int Padded(int count) => (count + Step - 1) / Step * Step;

    /// <summary>Rounds activations, and puts them into the order in which weights meet them.</summary>
    /// <param name="x">[K].</param>
    /// <param name="count">K.</param>
    /// <param name="scales">The scales of E4M3 codes, one for each 128 columns; empty for BF16.</param>
    /// <param name="target">Receives K values, padded with zeros to whole steps.</param>
    public static void Round(float* x, int count, ReadOnlySpan<float> scales, ushort* target)
    {
        if (scales.IsEmpty)
        {
            BF16.Encode(new ReadOnlySpan<float>(x, count), new Span<byte>(target, count * sizeof(ushort)));
            new Span<ushort>(target + count, Padded(count) - count).Clear();
            return;
        }

        var steps = count / Step;
        fixed (float* first = scales)
        {
            var kernel = BfloatKernels.Rounding();
            if (steps > 0 && kernel != null)
                kernel(x, first, target, steps);
            else
                steps = 0;
        }

        RoundReference(x, steps * Step, count, scales, target);
    }

    /// <summary>The same in plain loops, for the values of some steps.</summary>
    /// <param name="x">[K], times scales.</param>
    /// <param name="start">The first value, a multiple of the step.</param>
    /// <param name="count">K.</param>
    /// <param name="scales">Of 128 columns each.</param>
    /// <param name="target">[K], padded to whole steps.</param>
    internal static void RoundReference(float* x, int start, int count, ReadOnlySpan<float> scales, ushort* target)
    {
        for (var k = start; k < Padded(count); k++)
            target[(k / Step * Step) + Place(k % Step, WeightFormat.F8_E4M3)] = k < count ? BF16.FromSingle(Flush(x[k] * scales[k / WeightMatrix.ScaleBlock])) : (ushort)0;
    }

    /// <summary>The specification in plain loops.</summary>
    /// <param name="x">[K], times scales if there are any, not rounded.</param>
    /// <param name="row">[K], numbers of <paramref name="format"/>.</param>
    /// <param name="format">BF16 or F8_E4M3.</param>
    public static float Reference(ReadOnlySpan<float> x, ReadOnlySpan<float> row, WeightFormat format)
    {
        var padded = Padded(x.Length);
        float[] a = new float[padded], b = new float[padded];
        for (var k = 0; k < x.Length; k++)
        {
            var at = (k / Step * Step) + Place(k % Step, format);
            a[at] = Flush(BF16.ToSingle(BF16.FromSingle(format == WeightFormat.F8_E4M3 ? Flush(x[k]) : x[k])));
            b[at] = Flush(row[k]);
        }

        var lanes = new float[Sums * Lanes];
        for (var at = 0; at < padded; at += 2)
        {
            ref var lane = ref lanes[at % Step / 2];
            lane = Flush(MathF.FusedMultiplyAdd(a[at + 1], b[at + 1], lane));
            lane = Flush(MathF.FusedMultiplyAdd(a[at], b[at], lane));
        }

        var quads = new float[4];
        for (var q = 0; q < 4; q++)
        {
            float Lane(int i) => lanes[(4 * q) + i] + lanes[Lanes + (4 * q) + i];
            quads[q] = (Lane(0) + Lane(2)) + (Lane(1) + Lane(3));
        }

        return (quads[0] + quads[2]) + (quads[1] + quads[3]);
    }

    // Where value i of 64 stands.
    private static int Place(int i, WeightFormat format) =>
        format == WeightFormat.F8_E4M3 ? (i % Lanes / Chunk * (Step / 2)) + (i / Lanes * Chunk) + (i % Chunk) : i;

    private static float Flush(float x) => float.IsSubnormal(x) ? MathF.CopySign(0, x) : x;
}
