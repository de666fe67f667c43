using System.Runtime.InteropServices;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Integer;
using Hadal.Numerics.MachineCode;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Tests.Kernels.Integer;

/// <summary>Integer products: every variant has the bits of the plain loops, and those are near the exact product.</summary>
public sealed unsafe class IntegerProductTests
{
    public static TheoryData<WeightFormat> Formats => [.. Enum.GetValues<WeightFormat>().Where(WeightFormats.HasIntegerProducts)];

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_row_has_the_bits_of_the_reference(WeightFormat format)
    {
        var action = new RowCheck();
        Assert.True(WeightFormats.TryDispatchInteger(format, ref action));
        Assert.Equal(8 * 5, action.Compared);
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Many_tokens_on_any_number_of_threads_have_the_bits_of_the_reference(WeightFormat format)
    {
        var action = new MatrixCheck();
        Assert.True(WeightFormats.TryDispatchInteger(format, ref action));
        Assert.True(action.Compared > 10_000);
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void The_largest_codes_times_the_largest_activations_overflow_nothing(WeightFormat format)
    {
        var action = new LimitCheck();
        WeightFormats.TryDispatchInteger(format, ref action);
        Assert.Equal((KernelVariant.Avx2 ? 2 : 1) * 2 * 2 * 17 * 7, action.Compared);
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Kernels_over_rows_as_they_lie_are_used_where_the_processor_has_VNNI(WeightFormat format)
    {
        Assert.SkipUnless(KernelVariant.Vnni, "this processor has no AVX512-VNNI, or HADAL_KERNEL forbids it");
        var action = new RowKernelCheck();
        WeightFormats.TryDispatchInteger(format, ref action);
        Assert.True(action.Found);
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Interleaved_rows_hold_the_codes_scales_and_minima_of_the_format(WeightFormat format)
    {
        var action = new LayoutCheck();
        WeightFormats.TryDispatchInteger(format, ref action);
        Assert.Equal((5 + InterleavedPanel.Rows) * 3, action.Blocks);
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Kernels_over_interleaved_rows_are_used_where_the_processor_has_AVX2(WeightFormat format)
    {
        Assert.SkipUnless(KernelVariant.Avx2, "this processor has no AVX2, or HADAL_KERNEL forbids it");
        var action = new InterleavedCheck();
        WeightFormats.TryDispatchInteger(format, ref action);
        Assert.True(action.Found);
    }

    // This processor uses one of the two.
    [Theory]
    [MemberData(nameof(Formats))]
    public void Kernels_over_interleaved_rows_have_their_bits_whichever_way_they_ask_ahead(WeightFormat format)
    {
        Assert.SkipUnless(KernelVariant.Vnni, "this processor has no AVX512-VNNI, or HADAL_KERNEL forbids it");
        var action = new AskingCheck();
        WeightFormats.TryDispatchInteger(format, ref action);
        Assert.True(action.Passed);
    }

    [Fact]
    public void A_slice_of_interleaved_rows_keeps_them_where_it_begins_with_a_panel()
    {
        using var memory = new NativeBuffer(40 * 34);
        using var threads = new KernelThreads(1);
        var weight = WeightMatrix.Over(WeightFormat.Q8_0, memory, 40, 32);
        using var copy = new NativeBuffer(WeightInterleaving.Bytes(weight));
        var both = WeightInterleaving.Interleave(weight, copy.Span<byte>(0, (int)copy.ByteLength), threads);
        Assert.Equal((long)copy.Pointer + (16 / InterleavedPanel.Rows * both.InterleavedBytes), (long)both.SliceRows(16, 9).Interleaved);
        Assert.True(both.SliceRows(4, 8).Interleaved == null);
        Assert.Throws<ArgumentException>(() => WeightInterleaving.Interleave(weight, new byte[copy.ByteLength - 1], threads));
    }

    [Theory]
    [InlineData(32)]
    [InlineData(64)]
    [InlineData(96)]
    [InlineData(256)]
    public void Quantised_activations_are_rounded_to_even_and_carry_their_sums(int block)
    {
        var random = new Random(8);
        var x = Values(random, 9 * block);

        // A block whose scale is 1, with ties.
        for (var i = 0; i < block; i++)
            x[i] = random.Next(-253, 254) / 2f;
        x[5] = -127;
        var row = new byte[IntegerActivations.RowBytes(x.Length, block)];
        IntegerActivations.QuantizeRow(x, block, row);
        fixed (byte* p = row)
        {
            var view = new IntegerRow(p, x.Length);
            for (var i = 0; i < x.Length; i++)
            {
                var amax = x.AsSpan(i / block * block, block).ToArray().Max(MathF.Abs);
                Assert.Equal(amax / 127, view.Scales[i / block]);
                Assert.Equal((int)MathF.Round(x[i] * (127 / amax), MidpointRounding.ToEven), view.Codes[i]);
            }

            for (var s = 0; s < x.Length / 16; s++)
                Assert.Equal(MemoryMarshal.Cast<byte, sbyte>(row.AsSpan(s * 16, 16)).ToArray().Sum(static c => c), view.Sums16[s]);
            for (var s = 0; s < x.Length / 32; s++)
                Assert.Equal(view.Sums16[2 * s] + view.Sums16[(2 * s) + 1], view.Sums32[s]);
        }
    }

    // -128 is not used: the negative of it is no code, and sums of products that fit 16 bits would not fit any more.
    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    [InlineData(1e-38f)]
    [InlineData(float.Epsilon)]
    [InlineData(float.MaxValue)]
    public void Codes_stay_in_their_range_whatever_the_values(float value)
    {
        foreach (var (block, length) in (ReadOnlySpan<(int, int)>)[(32, 32), (32, 96), (256, 512)])
        {
            foreach (var at in (int[])[0, 13, 31, length - 1])
            {
                foreach (var rest in (float[])[0, value])
                {
                    var x = Enumerable.Repeat(rest, length).ToArray();
                    x[at] = value;
                    var row = new byte[IntegerActivations.RowBytes(length, block)];
                    IntegerActivations.QuantizeRow(x, block, row);
                    Assert.DoesNotContain(sbyte.MinValue, MemoryMarshal.Cast<byte, sbyte>(row.AsSpan(0, length)).ToArray());
                }
            }
        }
    }

    // Blocks of a longer row are quantised in pairs where that is faster, but for those that hold what is no number.
    [Fact]
    public void A_block_is_quantised_alike_alone_and_among_others()
    {
        const int Block = 32;
        var x = Values(new Random(9), 9 * Block);
        (x[(2 * Block) + 7], x[5 * Block], x[6 * Block]) = (float.NaN, float.PositiveInfinity, 1e38f);
        x.AsSpan(3 * Block, Block).Clear();
        var row = new byte[IntegerActivations.RowBytes(x.Length, Block)];
        IntegerActivations.QuantizeRow(x, Block, row);
        fixed (byte* whole = row)
        {
            var expected = new IntegerRow(whole, x.Length);
            for (var b = 0; b < x.Length / Block; b++)
            {
                var alone = new byte[IntegerActivations.RowBytes(Block, Block)];
                IntegerActivations.QuantizeRow(x.AsSpan(b * Block, Block), Block, alone);
                fixed (byte* p = alone)
                {
                    var actual = new IntegerRow(p, Block);
                    Assert.Equal(new Span<sbyte>(expected.Codes + (b * Block), Block), new Span<sbyte>(actual.Codes, Block));
                    Assert.Equal((expected.Sums16[2 * b], expected.Sums16[(2 * b) + 1], expected.Sums32[b], expected.Scales[b]), (actual.Sums16[0], actual.Sums16[1], actual.Sums32[0], actual.Scales[0]));
                }
            }
        }
    }

    [Fact]
    public void A_block_of_zeros_has_scale_zero()
    {
        var row = new byte[IntegerActivations.RowBytes(32, 32)];
        Array.Fill(row, (byte)0xFF);
        IntegerActivations.QuantizeRow(new float[32], 32, row);
        Assert.All(row.AsSpan(0, 32 + 4 + 2 + 4).ToArray(), b => Assert.Equal(0, b));
    }

    private static float[] Values(Random random, int count)
    {
        var values = new float[count];
        foreach (ref var v in values.AsSpan())
            v = ((random.NextSingle() * 2) - 1) * (random.Next(7) == 0 ? 3 : 1);
        return values;
    }

    // Random blocks; blocks whose halves are not finite or not small are drawn again.
    private static NativeBuffer Blocks<TFormat>(Random random, int count)
        where TFormat : struct, IWeightFormat<TFormat>
    {
        var memory = new NativeBuffer((long)count * TFormat.BlockBytes);
        var values = new float[TFormat.BlockLength];
        for (var b = 0; b < count; b++)
        {
            var block = memory.Span<byte>((long)b * TFormat.BlockBytes, TFormat.BlockBytes);
            do
            {
                random.NextBytes(block);
                TFormat.DecodeReference(block, values);
            }
            while (Array.Exists(values, static v => !(Math.Abs(v) < 1e4f)));
        }

        return memory;
    }

    // The weights as they are, and with a copy in interleaved order where this processor has kernels for that.
    private static WeightMatrix[] Orders(WeightMatrix weight, KernelThreads threads, out NativeBuffer? copy)
    {
        copy = KernelVariant.Avx2 ? new NativeBuffer(WeightInterleaving.Bytes(weight)) : null;
        return copy is null ? [weight] : [weight, WeightInterleaving.Interleave(weight, copy.Span<byte>(0, (int)copy.ByteLength), threads)];
    }

    private static int Bits(float value) => BitConverter.SingleToInt32Bits(value);

    private struct RowKernelCheck : IIntegerAction
    {
        public bool Found;

        public void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat> =>
            Found = Enumerable.Range(1, RowAssembly.MaxTokens).All(static n => RowKernels.Find<TFormat>(n, 11) != null);
    }

    private struct InterleavedCheck : IIntegerAction
    {
        public bool Found;

        public void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat> =>
            Found = Enumerable.Range(1, InterleavedKernels.MaxTokens).All(static n => Enum.GetValues<PanelSource>().All(source => InterleavedKernels.Find<TFormat>(n, source) != null));
    }

    private struct AskingCheck : IIntegerAction
    {
        public bool Passed;

        public void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat> =>
            Passed = Enumerable.Range(1, InterleavedKernels.MaxTokens).All(static n =>
                InterleavedKernels.PassesSelfTest<TFormat>(n, PanelSource.Copy, everyLine: false) && InterleavedKernels.PassesSelfTest<TFormat>(n, PanelSource.Copy, everyLine: true));
    }

    // Reads the layout back as InterleavedPanel describes it; of all rows, and of five, so that some are missing.
    private struct LayoutCheck : IIntegerAction
    {
        public int Blocks;

        public void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat>
        {
            Check<TFormat>(5);
            Check<TFormat>(InterleavedPanel.Rows);
        }

        private void Check<TFormat>(int rows)
            where TFormat : struct, IIntegerFormat<TFormat>
        {
            const int RowBlocks = 3;
            using var memory = Blocks<TFormat>(new Random(4), rows * RowBlocks);
            var panel = InterleavedPanel.Of<TFormat>();
            var packed = new byte[RowBlocks * panel.Bytes];
            var copied = new byte[packed.Length];
            fixed (byte* p = packed, c = copied)
            {
                InterleavedPanel.Pack<TFormat>(memory.Pointer, RowBlocks * TFormat.BlockBytes, rows, RowBlocks, p);
                packed.CopyTo(copied, 0);
                panel.MoveCodes(c, RowBlocks);
            }

            var codes = new sbyte[TFormat.BlockLength];
            short[] scales = new short[TFormat.BlockLength / 16], minima = new short[TFormat.BlockLength / 16];
            for (var i = 0; i < rows * RowBlocks; i++)
            {
                var r = i / RowBlocks;
                var block = packed.AsSpan(i % RowBlocks * panel.Bytes, panel.Bytes);
                var original = memory.Span<byte>((long)i * TFormat.BlockBytes, TFormat.BlockBytes);
                TFormat.Unpack(original, codes, scales, minima);
                fixed (byte* p = original)
                {
                    Assert.Equal(TFormat.ScaleBits(p), BitConverter.ToUInt16(block[(2 * r)..]));
                    if (TFormat.HasMinimum)
                        Assert.Equal(TFormat.MinimumBits(p), BitConverter.ToUInt16(block[(2 * (InterleavedPanel.Rows + r))..]));
                }

                for (var s = 0; s < panel.Scales; s++)
                {
                    var all = block[panel.ScalesAt..];
                    Assert.Equal(scales[s * panel.SumLength / 16], TFormat.HasMinimum ? Number(all, panel.Layout.Scale(s / 4), r, s % 4) : (sbyte)all[(s / 2 * InterleavedPanel.PairBytes) + (2 * r) + (s % 2)]);
                    if (TFormat.HasMinimum)
                        Assert.Equal(minima[s * panel.SumLength / 16], Number(all, panel.Layout.Minimum(s / 4), r, s % 4));
                }

                var copy = copied.AsSpan(i % RowBlocks * panel.Bytes, panel.Bytes);
                Assert.Equal(block[..panel.Codes], copy[..panel.Codes]);
                for (var k = 0; k < codes.Length; k++)
                {
                    Assert.Equal(codes[k] + panel.ZeroPoint, Code(panel, block[panel.Codes..], r, k));
                    Assert.Equal(codes[k] + panel.ZeroPoint, Code(panel.Copied, copy[panel.Codes..], r, k));
                }

                Blocks++;
            }
        }

        private static int Code(InterleavedPanel panel, ReadOnlySpan<byte> codes, int row, int k)
        {
            var round = codes[(k / panel.Layout.RoundCodes * panel.RoundVectors * InterleavedPanel.Vector)..];
            var step = k % panel.Layout.RoundCodes / 4;
            var number = Number(round, panel.Layout.Code(step), row, k % 4);
            return panel.Layout.Table.Length > 0 ? panel.Layout.Table[number] : panel.IsSigned ? (sbyte)number : number;
        }

        private static int Number(ReadOnlySpan<byte> vectors, BitField[] fields, int row, int column)
        {
            var (number, to) = (0, 0);
            foreach (var field in fields)
            {
                number |= ((vectors[(field.Vector * InterleavedPanel.Vector) + (row * 4) + column] >> field.Shift) & ((1 << field.Bits) - 1)) << to;
                to += field.Bits;
            }

            return number;
        }
    }

    private struct RowCheck : IIntegerAction
    {
        public int Compared;

        public void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat>
        {
            var random = new Random(1);
            foreach (var blocks in (int[])[1, 2, 3, 4, 5, 7, 8, 16])
            {
                for (var repeat = 0; repeat < 5; repeat++)
                {
                    var cols = blocks * TFormat.BlockLength;
                    using var weights = Blocks<TFormat>(random, blocks);
                    var x = Values(random, cols);
                    var row = new byte[IntegerActivations.RowBytes(cols, TFormat.BlockLength)];
                    IntegerActivations.QuantizeRow(x, TFormat.BlockLength, row);
                    fixed (byte* p = row)
                    {
                        var view = new IntegerRow(p, cols);
                        var actual = IntegerDot.Dot<TFormat>(weights.Pointer, view, blocks);
                        Assert.Equal(Bits(IntegerDot.DotReference<TFormat>(weights.Pointer, view, blocks)), Bits(actual));

                        // Against the decoded row and the quantised activations in double: float32 rounding of a few blocks is all that may differ.
                        var decoded = new float[cols];
                        TFormat.DecodeReference(weights.Span<byte>(0, (int)weights.ByteLength), decoded);
                        double exact = 0, size = 0;
                        for (var i = 0; i < cols; i++)
                        {
                            var term = (double)decoded[i] * view.Codes[i] * view.Scales[i / TFormat.BlockLength];
                            exact += term;
                            size += Math.Abs(term);
                        }

                        Assert.True(Math.Abs(actual - exact) <= 1e-5 * size, $"{TFormat.Id}, {blocks} blocks: {actual} instead of {exact}");
                        Compared++;
                    }
                }
            }
        }
    }

    // Every byte of a block is 0xFF or 0x80 but for its scales, and every activation is 127 or -127.
    private struct LimitCheck : IIntegerAction
    {
        private const int Rows = 17;
        private const int Tokens = 7;
        private const ushort One = 0x3C00;

        public int Compared;

        public void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat>
        {
            const int Blocks = 3;
            var cols = Blocks * TFormat.BlockLength;
            var rowBytes = IntegerActivations.RowBytes(cols, TFormat.BlockLength);
            using var threads = new KernelThreads(2);
            using var memory = new NativeBuffer((long)Rows * Blocks * TFormat.BlockBytes);
            var weight = WeightMatrix.Over(TFormat.Id, memory, Rows, cols);
            foreach (var fill in (byte[])[0xFF, 0x80])
            {
                var block = FiniteBlock<TFormat>(fill);
                for (var b = 0; b < Rows * Blocks; b++)
                    block.CopyTo(memory.Span<byte>((long)b * block.Length, block.Length));
                foreach (var sign in (float[])[1, -1])
                {
                    var x = new byte[Tokens * rowBytes];
                    var values = new float[cols];
                    Array.Fill(values, sign);
                    for (var t = 0; t < Tokens; t++)
                        IntegerActivations.QuantizeRow(values, TFormat.BlockLength, x.AsSpan(t * rowBytes, rowBytes));
                    var expected = new float[Tokens * Rows];
                    IntegerMatMul.MultiplyReference(weight, x, expected, Tokens);
                    foreach (var order in Orders(weight, threads, out var copy))
                    {
                        var actual = new float[Tokens * Rows];
                        IntegerMatMul.Multiply(order, x, actual, Tokens, new byte[IntegerMatMul.WorkspaceBytes(weight, Tokens)], threads);
                        Assert.Equal(expected, actual);
                        Compared += actual.Length;
                        GC.KeepAlive(copy);
                    }
                }
            }
        }

        // With 1 as binary16 in the one or two places that make the block's values numbers.
        private static byte[] FiniteBlock<TFormat>(byte fill)
            where TFormat : struct, IIntegerFormat<TFormat>
        {
            var values = new float[TFormat.BlockLength];
            for (var first = 0; first < TFormat.BlockBytes - 1; first += 2)
            {
                for (var second = first; second < TFormat.BlockBytes - 1; second += 2)
                {
                    var block = new byte[TFormat.BlockBytes];
                    Array.Fill(block, fill);
                    (block[first], block[first + 1], block[second], block[second + 1]) = (0, One >> 8, 0, One >> 8);
                    fixed (byte* p = block)
                    {
                        if (TFormat.ScaleBits(p) != One || (TFormat.HasMinimum && (TFormat.MinimumBits(p) & 0x7FFF) != One))
                            continue;
                    }

                    TFormat.DecodeReference(block, values);
                    if (Array.TrueForAll(values, float.IsFinite))
                        return block;
                }
            }

            throw new InvalidOperationException($"{TFormat.Id}: no such block");
        }
    }

    private struct MatrixCheck : IIntegerAction
    {
        public int Compared;

        public void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat>
        {
            var random = new Random(2);

            // A quarter of the rows of the last one, which a worker takes at once, is more than several tiles of tokens pass together.
            foreach (var (rows, blocks, tokens) in ((int, int, int)[])[(16, 2, 12), (16, 5, 1), (33, 4, 7), (50, 3, 29), (15, 4, 6), (64, 2, 48), (1, 1, 13), (18, 36, 9), (29, 36, 14), (43, 8, 20), (TFormat.BlockLength == 32 ? 1301 : 283, 40, 8)])
            {
                var cols = blocks * TFormat.BlockLength;
                using var memory = Blocks<TFormat>(random, rows * blocks);
                var weight = WeightMatrix.Over(TFormat.Id, memory, rows, cols);
                var rowBytes = IntegerActivations.RowBytes(cols, TFormat.BlockLength);
                var x = new byte[tokens * rowBytes];
                for (var t = 0; t < tokens; t++)
                    IntegerActivations.QuantizeRow(Values(random, cols), TFormat.BlockLength, x.AsSpan(t * rowBytes, rowBytes));
                var expected = new float[tokens * rows];
                fixed (byte* p = x)
                {
                    for (var t = 0; t < tokens; t++)
                    {
                        for (var m = 0; m < rows; m++)
                            expected[(t * rows) + m] = IntegerDot.DotReference<TFormat>(memory.Pointer + ((long)m * blocks * TFormat.BlockBytes), new IntegerRow(p + (t * rowBytes), cols), blocks);
                    }
                }

                foreach (var count in (int[])[1, 3])
                {
                    using var threads = new KernelThreads(count);
                    foreach (var order in Orders(weight, threads, out var copy))
                    {
                        var actual = new float[tokens * rows];
                        IntegerMatMul.Multiply(order, x, actual, tokens, new byte[IntegerMatMul.WorkspaceBytes(weight, tokens)], threads);
                        Assert.Equal(MemoryMarshal.Cast<float, int>(expected).ToArray(), MemoryMarshal.Cast<float, int>(actual).ToArray());
                        Compared += actual.Length;
                        GC.KeepAlive(copy);
                    }
                }
            }
        }
    }
}
