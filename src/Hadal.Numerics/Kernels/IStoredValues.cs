using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels;

/// <summary>Reads values of a stored row, of a cache or of weights, where they lie, for formats that a vector instruction or two decode.</summary>
internal unsafe interface IStoredValues
{
    /// <summary>Bytes from one value to the next.</summary>
    static abstract int ValueBytes { get; }

    /// <summary>Where values begin in a row of <paramref name="width"/> of them.</summary>
    static abstract int Start(int width);

    /// <summary>Values [k, k + 16) as float32; k is a multiple of 16.</summary>
    /// <param name="row">The row.</param>
    /// <param name="k">First value.</param>
    /// <param name="start">As <see cref="Start"/> says.</param>
    static abstract Vector512<float> Load(byte* row, nint k, nint start);

    /// <summary>Value k.</summary>
    static abstract float Value(byte* row, nint k, nint start);
}

internal readonly unsafe struct F32Values : IStoredValues
{
    public static int ValueBytes => sizeof(float);

    public static int Start(int width) => 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(byte* row, nint k, nint start) => Vector512.Load((float*)row + k);

    public static float Value(byte* row, nint k, nint start) => ((float*)row)[k];
}

internal readonly unsafe struct BF16Values : IStoredValues
{
    public static int ValueBytes => sizeof(ushort);

    public static int Start(int width) => 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(byte* row, nint k, nint start) => BF16.Load16(row + (k * sizeof(ushort)));

    public static float Value(byte* row, nint k, nint start) => BF16.ToSingle(((ushort*)row)[k]);
}

internal readonly unsafe struct Q8Values : IStoredValues
{
    public static int ValueBytes => sizeof(sbyte);

    public static int Start(int width) => CacheRow.ScaleBytes(width);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(byte* row, nint k, nint start) =>
        CacheRow.Load16((sbyte*)row + start + k) * Vector512.Create(((float*)row)[k / CacheRow.Group]);

    public static float Value(byte* row, nint k, nint start) => ((sbyte*)row)[start + k] * ((float*)row)[k / CacheRow.Group];
}
