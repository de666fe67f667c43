namespace Hadal.Numerics.Kernels.Integer;

/// <summary>What kernels over several weight rows have to know of a format.</summary>
/// <param name="BlockLength">A.</param>
/// <param name="Scales">S: integer scales, 8 or 16 for super-blocks; 0 for blocks of 32.</param>
/// <param name="ZeroPoint">What is taken off every code once it is unsigned.</param>
/// <param name="HasMinimum">Whether blocks have minima.</param>
/// <param name="MaxCode">The largest unsigned code.</param>
internal readonly record struct IntegerPanel(int BlockLength, int Scales, int ZeroPoint, bool HasMinimum, int MaxCode)
{
    /// <summary>Whether pairs of unsigned codes times activations exceed 16 bits, so that codes are better left signed where products are made of such pairs.</summary>
    public bool IsSigned => MaxCode > 128;

    /// <summary>Sums of products of codes in a block: one for each integer scale, or one.</summary>
    public int Sums => Math.Max(1, Scales);

    /// <summary>Values that share an integer scale.</summary>
    public int SumLength => BlockLength / Sums;
}
