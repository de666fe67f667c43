using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels.Integer;

/// <summary>
/// The one order in which integer products are summed. Within a block everything is exact int32 arithmetic; block b goes, in rising b, to chain b mod 4:
/// c = fma(sum(s q x), d * dx, c), then with minima c = fma(-sum(m x), dmin * dx, c). The result is (c0 + c2) + (c1 + c3).
/// </summary>
internal static unsafe class IntegerDot
{
    /// <summary>One weight row times one activation row. A method of its own: inlined into a caller, its many small parts would exceed the JIT's budget.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static float Dot<TFormat>(byte* row, IntegerRow x, int blocks)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var chains = Vector128<float>.Zero;
        var b = 0;
        for (; b <= blocks - 4; b += 4)
        {
            Prefetch<TFormat>(row);
            var products = HorizontalSums(Product<TFormat>(row, x, 0), Product<TFormat>(row, x, 1), Product<TFormat>(row, x, 2), Product<TFormat>(row, x, 3));
            if (TFormat.ProductZero != 0)
                products -= Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(long*)x.Sums32).AsInt16()) << BitOperations.Log2((uint)TFormat.ProductZero);
            var scales = Vector128.Load(x.Scales);
            chains = Vector128.FusedMultiplyAdd(Vector128.ConvertToSingle(products), Scales<TFormat>(row) * scales, chains);
            if (TFormat.HasMinimum)
            {
                var minima = HorizontalSums(Minimum<TFormat>(row, x, 0), Minimum<TFormat>(row, x, 1), Minimum<TFormat>(row, x, 2), Minimum<TFormat>(row, x, 3));
                chains = Vector128.FusedMultiplyAdd(-Vector128.ConvertToSingle(minima), Minima<TFormat>(row) * scales, chains);
            }

            row += 4 * TFormat.BlockBytes;
            x = x.Skip(4 * TFormat.BlockLength, 4);
        }

        for (var c = 0; b + c < blocks; c++)
            chains = chains.WithElement(c, Step<TFormat>(row + (c * TFormat.BlockBytes), x.Skip(c * TFormat.BlockLength, c), chains.GetElement(c)));
        return Sum(chains);
    }

    /// <summary>The specification of <see cref="Dot"/>, from unpacked blocks.</summary>
    public static float DotReference<TFormat>(byte* row, IntegerRow x, int blocks)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var codes = new sbyte[TFormat.BlockLength];
        var scales = new short[TFormat.BlockLength / 16];
        var minima = new short[TFormat.BlockLength / 16];
        var chains = new float[4];
        for (var b = 0; b < blocks; b++)
        {
            var block = row + ((long)b * TFormat.BlockBytes);
            TFormat.Unpack(new ReadOnlySpan<byte>(block, TFormat.BlockBytes), codes, scales, minima);
            int product = 0, minimum = 0;
            for (var i = 0; i < codes.Length; i++)
            {
                var q = x.Codes[(b * codes.Length) + i];
                product += scales[i / 16] * codes[i] * q;
                minimum += minima[i / 16] * q;
            }

            ref var c = ref chains[b % 4];
            c = MathF.FusedMultiplyAdd(product, HalfToSingle(TFormat.ScaleBits(block)) * x.Scales[b], c);
            if (TFormat.HasMinimum)
                c = MathF.FusedMultiplyAdd(-(float)minimum, HalfToSingle(TFormat.MinimumBits(block)) * x.Scales[b], c);
        }

        return (chains[0] + chains[2]) + (chains[1] + chains[3]);
    }

    /// <summary>The value of a finite binary16, from its bits; infinities and NaN, which no weight has, become large.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float HalfToSingle(ushort bits) => HalfToSingle(Vector128.CreateScalar((int)bits)).ToScalar();

    /// <summary>Four finite binary16 values: exponent and mantissa moved to where float32 has them mean the value times 2^-112, subnormals included.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> HalfToSingle(Vector128<int> bits)
    {
        var magnitude = ((bits & Vector128.Create(0x7FFF)) << 13).AsSingle() * Vector128.Create(5.192296858534828e33f);
        return (magnitude.AsInt32() | ((bits & Vector128.Create(0x8000)) << 16)).AsSingle();
    }

    /// <inheritdoc cref="HalfToSingle(Vector128{int})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> HalfToSingle(Vector512<int> bits)
    {
        var magnitude = ((bits & Vector512.Create(0x7FFF)) << 13).AsSingle() * Vector512.Create(5.192296858534828e33f);
        return (magnitude.AsInt32() | ((bits & Vector512.Create(0x8000)) << 16)).AsSingle();
    }

    /// <summary>(c0 + c2) + (c1 + c3).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector128<float> chains) => (chains[0] + chains[2]) + (chains[1] + chains[3]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Product<TFormat>(byte* row, IntegerRow x, int c)
        where TFormat : struct, IIntegerFormat<TFormat> =>
        TFormat.Product(
            row + (c * TFormat.BlockBytes), x.Codes + (c * TFormat.BlockLength), x.Sums16 + (c * TFormat.BlockLength / 16), x.Sums32 + (c * TFormat.BlockLength / 32));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Minimum<TFormat>(byte* row, IntegerRow x, int c)
        where TFormat : struct, IIntegerFormat<TFormat> =>
        TFormat.MinimumProduct(row + (c * TFormat.BlockBytes), x.Sums16 + (c * TFormat.BlockLength / 16), x.Sums32 + (c * TFormat.BlockLength / 32));

    private static float Step<TFormat>(byte* block, IntegerRow x, float chain)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        var product = Vector256.Sum(Product<TFormat>(block, x, 0)) - (TFormat.ProductZero == 0 ? 0 : TFormat.ProductZero * x.Sums32[0]);
        chain = MathF.FusedMultiplyAdd(product, HalfToSingle(TFormat.ScaleBits(block)) * x.Scales[0], chain);
        if (TFormat.HasMinimum)
            chain = MathF.FusedMultiplyAdd(-(float)Vector128.Sum(Minimum<TFormat>(block, x, 0)), HalfToSingle(TFormat.MinimumBits(block)) * x.Scales[0], chain);
        return chain;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Scales<TFormat>(byte* row)
        where TFormat : struct, IIntegerFormat<TFormat> =>
        HalfToSingle(Vector128.Create(
            (int)TFormat.ScaleBits(row), TFormat.ScaleBits(row + TFormat.BlockBytes), TFormat.ScaleBits(row + (2 * TFormat.BlockBytes)), TFormat.ScaleBits(row + (3 * TFormat.BlockBytes))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Minima<TFormat>(byte* row)
        where TFormat : struct, IIntegerFormat<TFormat> =>
        HalfToSingle(Vector128.Create(
            (int)TFormat.MinimumBits(row), TFormat.MinimumBits(row + TFormat.BlockBytes), TFormat.MinimumBits(row + (2 * TFormat.BlockBytes)), TFormat.MinimumBits(row + (3 * TFormat.BlockBytes))));

    // Sums of four vectors, side by side.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> HorizontalSums(Vector256<int> a, Vector256<int> b, Vector256<int> c, Vector256<int> d) => Avx2.IsSupported
        ? IntegerLanes.Fold(Avx2.HorizontalAdd(Avx2.HorizontalAdd(a, b), Avx2.HorizontalAdd(c, d)))
        : HorizontalSums(IntegerLanes.Fold(a), IntegerLanes.Fold(b), IntegerLanes.Fold(c), IntegerLanes.Fold(d));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> HorizontalSums(Vector128<int> a, Vector128<int> b, Vector128<int> c, Vector128<int> d)
    {
        if (Ssse3.IsSupported)
            return Ssse3.HorizontalAdd(Ssse3.HorizontalAdd(a, b), Ssse3.HorizontalAdd(c, d));
        return Vector128.Create(Vector128.Sum(a), Vector128.Sum(b), Vector128.Sum(c), Vector128.Sum(d));
    }

    // Weights come from memory in one sequential stream: ask for what the hardware prefetcher has not reached, 4 kB ahead.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch<TFormat>(byte* row)
        where TFormat : struct, IIntegerFormat<TFormat>
    {
        if (!Sse.IsSupported)
            return;
        for (var line = 0; line < 4 * TFormat.BlockBytes; line += 64)
            Sse.Prefetch0(row + 4096 + line);
    }
}
