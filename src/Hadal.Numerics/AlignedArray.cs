using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hadal.Numerics;

/// <summary>
/// Float32 values on the managed heap that begin at a cache line and never move: a vector of 512 bits that lies across two lines takes two loads. An array of its own begins
/// 16 bytes behind one.
/// </summary>
public readonly struct AlignedArray
{
    private const int Alignment = 64;

    private readonly float[] array;
    private readonly int start;

    private AlignedArray(float[] array, int start, int length) => (this.array, this.start, Length) = (array, start, length);

    /// <summary>The longest possible.</summary>
    public static int MaxLength => Array.MaxLength - (Alignment / sizeof(float));

    /// <summary>Values allocated; 0 of a default value.</summary>
    public int Length { get; }

    /// <summary>Allocates values that are undefined until they are written.</summary>
    /// <param name="length">At most <see cref="MaxLength"/>.</param>
    /// <exception cref="OutOfMemoryException">The system has not that much.</exception>
    public static unsafe AlignedArray Allocate(int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, MaxLength);
        var values = GC.AllocateUninitializedArray<float>(length + (Alignment / sizeof(float)), pinned: true);
        var address = (nint)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(values));
        return new AlignedArray(values, (int)(-address & (Alignment - 1)) / sizeof(float), length);
    }

    /// <summary>The first <paramref name="count"/> values.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There are fewer.</exception>
    public Span<float> Span(int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)count, (uint)Length);
        return array.AsSpan(start, count);
    }
}
