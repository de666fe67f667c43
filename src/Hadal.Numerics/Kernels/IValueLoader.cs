using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels;

/// <summary>Reads weights that take one vector instruction or two to decode.</summary>
internal unsafe interface IValueLoader
{
    /// <summary>Bytes of a value.</summary>
    static abstract int Bytes { get; }

    /// <summary>Sixteen values.</summary>
    static abstract Vector512<float> Load(byte* w);
}

internal readonly unsafe struct F32Loader : IValueLoader
{
    public static int Bytes => sizeof(float);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(byte* w) => Vector512.Load((float*)w);
}

internal readonly unsafe struct BF16Loader : IValueLoader
{
    public static int Bytes => sizeof(ushort);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(byte* w) => BF16.Load16(w);
}
