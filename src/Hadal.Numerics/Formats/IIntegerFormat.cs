using System.Runtime.Intrinsics;
using Hadal.Numerics.Kernels.Integer;
using Hadal.Numerics.MachineCode;

namespace Hadal.Numerics.Formats;

/// <summary>
/// A format whose weights are integers up to a float scale for each block, so that a product with integer activations is exact within a block:
/// w = d * s * q - dmin * m, with an integer scale s and minimum m for each 16 values.
/// </summary>
/// <typeparam name="TSelf">The implementing struct; it has no state.</typeparam>
internal unsafe interface IIntegerFormat<TSelf> : IWeightFormat<TSelf>
    where TSelf : struct, IIntegerFormat<TSelf>
{
    /// <summary>Whether blocks have minima.</summary>
    static abstract bool HasMinimum { get; }

    /// <summary>The specification: one block as integers.</summary>
    /// <param name="block">One block.</param>
    /// <param name="codes">[A]: q, zero point removed.</param>
    /// <param name="scales">[A/16]: s.</param>
    /// <param name="minima">[A/16]: m.</param>
    static abstract void Unpack(ReadOnlySpan<byte> block, Span<sbyte> codes, Span<short> scales, Span<short> minima);

    /// <summary>d of a block as binary16 bits.</summary>
    static abstract ushort ScaleBits(byte* block);

    /// <summary>dmin of a block as binary16 bits; negated where the format adds its minimum.</summary>
    static abstract ushort MinimumBits(byte* block);

    /// <summary>A zero point that <see cref="Product"/> leaves on the codes of a block of 32.</summary>
    static abstract int ProductZero { get; }

    /// <summary>Eight partial sums of sum_i s (q + z) x over a block, z being <see cref="ProductZero"/>.</summary>
    /// <param name="block">One block.</param>
    /// <param name="codes">[A] activation codes.</param>
    /// <param name="sums16">[A/16] their sums.</param>
    /// <param name="sums32">[A/32] their sums.</param>
    static abstract Vector256<int> Product(byte* block, sbyte* codes, short* sums16, short* sums32);

    /// <summary>Four partial sums of sum_i m x over a block; only with minima.</summary>
    /// <param name="block">One block.</param>
    /// <param name="sums16">[A/16] sums of activation codes.</param>
    /// <param name="sums32">[A/32] sums of activation codes.</param>
    static abstract Vector128<int> MinimumProduct(byte* block, short* sums16, short* sums32);

    /// <summary>What assembles row kernels of this format.</summary>
    static abstract RowAssembly Rows { get; }

    /// <summary>What kernels over several rows have to know of this format.</summary>
    static abstract IntegerPanel Panel { get; }

    /// <summary>Where the codes of a block lie, for <see cref="InterleavedPanel"/>.</summary>
    static abstract CodeLayout Layout { get; }

    /// <summary>From so many tokens on, interleaving rows on the way is faster with AVX2 than multiplying them as they lie; docs/LOG.md.</summary>
    static virtual int InterleavedThreshold => 1;

    /// <summary>The signed integer scales of one block of each of eight rows; nothing for formats with minima and for blocks of 32.</summary>
    /// <param name="bytes">[4]: the 16 bytes at <see cref="CodeLayout.ScalesAt"/>, four of each row in a vector.</param>
    /// <param name="scales">[S/4]: receives four scales of each row, a byte each.</param>
    static virtual void UnpackScaleColumns(Vector256<uint>* bytes, Vector256<uint>* scales)
    {
    }

    /// <summary>One block as <see cref="PortableTiles"/> wants it.</summary>
    /// <param name="block">One block.</param>
    /// <param name="codes">[A]: q with the zero point on it, so that it is unsigned; as it is where <see cref="IntegerPanel.IsSigned"/>.</param>
    /// <param name="scales">[S]: each integer scale once, if there are any.</param>
    /// <param name="minima">[S]: each minimum once, if there are any beside integer scales.</param>
    static abstract void UnpackForTiles(byte* block, byte* codes, short* scales, short* minima);
}
