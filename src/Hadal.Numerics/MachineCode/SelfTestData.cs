using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Integer;

namespace Hadal.Numerics.MachineCode;

/// <summary>What assembled kernels of integer formats are tried out with before they are handed out.</summary>
internal static class SelfTestData
{
    /// <summary>Random blocks, drawn again where a scale is no number.</summary>
    /// <param name="random">Where they come from.</param>
    /// <param name="blocks">Whole blocks.</param>
    public static void FillBlocks<TFormat>(Random random, Span<byte> blocks)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var decoded = new float[TFormat.BlockLength];
        for (var at = 0; at < blocks.Length; at += TFormat.BlockBytes)
        {
            var block = blocks.Slice(at, TFormat.BlockBytes);
            do
            {
                random.NextBytes(block);
                TFormat.DecodeReference(block, decoded);
            }
            while (Array.Exists(decoded, static v => !(Math.Abs(v) < 1e4f)));
        }
    }

    /// <summary>Quantised rows of random values.</summary>
    /// <param name="random">Where they come from.</param>
    /// <param name="rows">Whole rows of <see cref="IntegerActivations.RowBytes"/> bytes.</param>
    /// <param name="cols">K.</param>
    public static void FillTokens<TFormat>(Random random, Span<byte> rows, int cols)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var stride = IntegerActivations.RowBytes(cols, TFormat.BlockLength);
        var values = new float[cols];
        for (var at = 0; at < rows.Length; at += stride)
        {
            foreach (ref var v in values.AsSpan())
                v = random.NextSingle() - 0.5f;
            IntegerActivations.QuantizeRow(values, TFormat.BlockLength, rows.Slice(at, stride));
        }
    }
}
