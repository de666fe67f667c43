using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// Activations as 8-bit integers, for products with the integer formats: per block of A values (the weight's block length, 32 or 256) s = amax / 127 and
/// q = round(x / s) to nearest even, with the sums of each 16 and each 32 codes beside them (they carry zero points and minima). Rows of one token after
/// the other, in one piece of memory: codes [K], sums of 16 [K/16], sums of 32 [K/32], scales [K/A].
/// </summary>
public static unsafe class IntegerActivations
{
    /// <summary>The largest code; -128 is not used, so that sums of products fit 16 bits.</summary>
    public const int MaxCode = 127;

    // Values at once with AVX-512.
    private const int Many = 64;

    // Fewer values are not worth handing out.
    private const int LeastValues = 4096;

    /// <summary>Bytes of a row of <paramref name="cols"/> values in blocks of <paramref name="block"/>, a multiple of 64.</summary>
    public static int RowBytes(int cols, int block) => (cols + (cols / 16 * 2) + (cols / 32 * 2) + (cols / block * 4) + 63) & ~63;

    /// <summary>Quantises rows one after the other, on all threads where there is enough to do.</summary>
    /// <param name="x">[T, K].</param>
    /// <param name="cols">K, a multiple of the block.</param>
    /// <param name="block">A: 32 or 256.</param>
    /// <param name="rows">Receives T times <see cref="RowBytes"/> bytes.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The lengths do not belong together.</exception>
    public static void Quantize(ReadOnlySpan<float> x, int cols, int block, Span<byte> rows, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        var count = x.Length / cols;
        if (x.Length % cols != 0 || cols % block != 0 || block % 32 != 0 || rows.Length != (long)count * RowBytes(cols, block))
            throw new ArgumentException($"{x.Length} values in rows of {cols} and blocks of {block} do not fit {rows.Length} bytes");
        fixed (float* px = x)
        fixed (byte* p = rows)
            threads.Run(count, Math.Max(1, LeastValues / cols), new QuantizeJob(px, cols, block, p));
    }

    /// <summary>Quantises one row.</summary>
    /// <param name="x">[K], K a multiple of the block.</param>
    /// <param name="block">A: 32 or 256.</param>
    /// <param name="row">Receives <see cref="RowBytes"/> bytes.</param>
    public static void QuantizeRow(ReadOnlySpan<float> x, int block, Span<byte> row)
    {
        if (x.Length % block != 0 || block % 32 != 0 || row.Length < RowBytes(x.Length, block))
            throw new ArgumentException($"{x.Length} values in blocks of {block} need {RowBytes(x.Length, block)} bytes, but there are {row.Length}");
        fixed (float* px = x)
        fixed (byte* p = row)
            QuantizeBlocks(px, x.Length, block, new IntegerRow(p, x.Length), 0);
    }

    /// <summary>Quantises some blocks of a row.</summary>
    /// <param name="x">Their values.</param>
    /// <param name="count">How many, a multiple of the block.</param>
    /// <param name="block">A: 32 or 256.</param>
    /// <param name="row">The row.</param>
    /// <param name="start">Where the values stand in it, a multiple of the block.</param>
    internal static void QuantizeBlocks(float* x, int count, int block, IntegerRow row, int start)
    {
        var (piece, at) = (Math.Max(block, Many), 0);
        var many = Avx512BW.IsSupported && Vector512.IsHardwareAccelerated && piece % Many == 0;
        for (; many && at <= count - piece; at += piece)
            QuantizePiece(x + at, piece, block, row, start + at);
        for (; at < count; at += block)
            QuantizeBlock(x + at, block, row, (start + at) / block);
    }

    private readonly struct QuantizeJob(float* x, int cols, int block, byte* rows) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var rowBytes = RowBytes(cols, block);
            for (var t = start; t < end; t++)
                QuantizeBlocks(x + ((long)t * cols), cols, block, new IntegerRow(rows + ((long)t * rowBytes), cols), 0);
        }
    }

    // A block of a multiple of 64 values, or two of 32.
    private static void QuantizePiece(float* x, int length, int block, IntegerRow row, int at)
    {
        var first = Scale(x, block, row, at / block);
        var second = length == block ? first : Scale(x + block, block, row, (at / block) + 1);
        if (!float.IsFinite(first) || !float.IsFinite(second))
        {
            for (var i = 0; i < length; i += block)
                QuantizeBlock(x + i, block, row, (at + i) / block);
            return;
        }

        var (left, right) = (Vector512.Create(first), Vector512.Create(second));
        for (var i = 0; i < length; i += Many)
            Quantize64(x + i, left, right, row, at + i);
    }

    // Stores a block's scale and returns its inverse; one that is not finite where no product with it can be relied on to be a number.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Scale(float* x, int block, IntegerRow row, int index)
    {
        // The order of magnitudes is that of their bits, a NaN above all.
        var max = Vector512<int>.Zero;
        for (var i = 0; i < block; i += 16)
            max = Vector512.Max(max, Vector512.Load((int*)x + i) & Vector512.Create(int.MaxValue));
        var v8 = Vector256.Max(max.GetLower(), max.GetUpper());
        var v4 = Vector128.Max(v8.GetLower(), v8.GetUpper());
        v4 = Vector128.Max(v4, Vector128.Shuffle(v4, Vector128.Create(2, 3, 0, 1)));
        var amax = BitConverter.Int32BitsToSingle(Math.Max(v4[0], v4[1]));
        row.Scales[index] = amax / MaxCode;
        return amax == 0 ? 0 : float.IsFinite(amax) ? MaxCode / amax : float.NaN;
    }

    private static void QuantizeBlock(float* x, int block, IntegerRow row, int index)
    {
        var factor = Scale(x, block, row, index);
        var start = index * block;

        // Where it is not finite, a product may be no number, of which the processor's own conversion makes a code that is not used.
        if (Avx2.IsSupported && !Vector512.IsHardwareAccelerated && float.IsFinite(factor))
        {
            for (var i = 0; i < block; i += 32)
                Quantize32(x + i, Vector256.Create(factor), row, start + i);
            return;
        }

        for (var i = 0; i < block; i += 16)
        {
            // Within +-127 after rounding: |x| * (127 / amax) exceeds 127 by less than half.
            var codes = Vector512.ConvertToInt32(Vector512.Round(Vector512.Load(x + i) * Vector512.Create(factor)));
            Narrow(codes).Store(row.Codes + start + i);
            row.Sums16[(start + i) / 16] = (short)Vector512.Sum(codes);
        }

        for (var i = start / 32; i < (start + block) / 32; i++)
            row.Sums32[i] = (short)(row.Sums16[2 * i] + row.Sums16[(2 * i) + 1]);
    }

    // 64 values, of which both halves have their own scale; AVX-512.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Quantize64(float* x, Vector512<float> left, Vector512<float> right, IntegerRow row, int at)
    {
        var first = Avx512BW.PackSignedSaturate(Codes16(x, left), Codes16(x + 16, left));
        var second = Avx512BW.PackSignedSaturate(Codes16(x + 32, right), Codes16(x + 48, right));

        // Packing works in lanes of 128 bits, each with four values of every vector.
        var packed = Avx512BW.PackSignedSaturate(first, second);
        Avx512F.PermuteVar16x32(packed.AsInt32(), Vector512.Create(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)).AsSByte().Store(row.Codes + at);
        var fours = Avx512BW.MultiplyAddAdjacent(Avx512BW.MultiplyAddAdjacent(Vector512<byte>.One, packed), Vector512<short>.One);
        var halves = fours.GetLower() + fours.GetUpper();
        var sums = Sse2.PackSignedSaturate(halves.GetLower() + halves.GetUpper(), Vector128<int>.Zero);
        *(long*)(row.Sums16 + (at / 16)) = sums.AsInt64().ToScalar();
        *(int*)(row.Sums32 + (at / 32)) = Ssse3.HorizontalAdd(sums, sums).AsInt32().ToScalar();
    }

    // Rounded to nearest even, as the processor converts by itself.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<int> Codes16(float* x, Vector512<float> inverse) => Avx512F.ConvertToVector512Int32(Vector512.Load(x) * inverse);

    // The same for 32 values with what AVX2 has: the conversion rounds to nearest even by itself, and pairs of sixteen-bit codes are added up at once.
    private static void Quantize32(float* x, Vector256<float> inverse, IntegerRow row, int at)
    {
        var first = Avx2.PackSignedSaturate(Codes8(x, inverse), Codes8(x + 8, inverse));
        var second = Avx2.PackSignedSaturate(Codes8(x + 16, inverse), Codes8(x + 24, inverse));

        // Packing works in halves of 128 bits, each with four values of every vector.
        var codes = Avx2.PackSignedSaturate(first, second).AsInt32();
        Avx2.PermuteVar8x32(codes, Vector256.Create(0, 4, 1, 5, 2, 6, 3, 7)).AsSByte().Store(row.Codes + at);
        var pairs = Avx2.HorizontalAdd(Avx2.MultiplyAddAdjacent(first, Vector256<short>.One), Avx2.MultiplyAddAdjacent(second, Vector256<short>.One));
        var halves = Avx2.HorizontalAdd(pairs, pairs);
        var sums = halves.GetLower() + halves.GetUpper();
        var (low, high) = ((short)sums[0], (short)sums[1]);
        (row.Sums16[at / 16], row.Sums16[(at / 16) + 1], row.Sums32[at / 32]) = (low, high, (short)(low + high));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Codes8(float* x, Vector256<float> inverse) => Avx.ConvertToVector256Int32(Vector256.Load(x) * inverse);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<sbyte> Narrow(Vector512<int> codes) =>
        Vector128.Narrow(
            Vector128.Narrow(codes.GetLower().GetLower(), codes.GetLower().GetUpper()),
            Vector128.Narrow(codes.GetUpper().GetLower(), codes.GetUpper().GetUpper()));
}

/// <summary>Where the parts of one quantised row lie.</summary>
internal readonly unsafe struct IntegerRow
{
    public readonly sbyte* Codes;
    public readonly short* Sums16;
    public readonly short* Sums32;
    public readonly float* Scales;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public IntegerRow(byte* row, int cols)
    {
        Codes = (sbyte*)row;
        Sums16 = (short*)(row + cols);
        Sums32 = Sums16 + (cols / 16);
        Scales = (float*)(Sums32 + (cols / 32));
    }

    private IntegerRow(sbyte* codes, short* sums16, short* sums32, float* scales)
    {
        Codes = codes;
        Sums16 = sums16;
        Sums32 = sums32;
        Scales = scales;
    }

    /// <summary>What comes after some blocks.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public IntegerRow Skip(int values, int blocks) => new(Codes + values, Sums16 + (values / 16), Sums32 + (values / 32), Scales + blocks);
}
