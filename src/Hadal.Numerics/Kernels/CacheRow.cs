using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels;

/// <summary>How the rows of an attention cache are stored.</summary>
public enum CacheFormat
{
    /// <summary>Float32, as computed. The default.</summary>
    F32,

    /// <summary>bfloat16: half the memory.</summary>
    BF16,

    /// <summary>8-bit integers with a float32 scale for each group of 64 values along the row: 17 bytes for 64 of float32.</summary>
    Q8,
}

/// <summary>
/// One row of an attention cache in each <see cref="CacheFormat"/>. F32 and BF16 rows are their values in order; a Q8 row is the scales of its groups of
/// 64 values, then the codes, the last group filled up with zeros: value = scale * code, scale = max |value| / 127.
/// </summary>
public static unsafe class CacheRow
{
    /// <summary>Values that share a scale in Q8.</summary>
    public const int Group = 64;

    /// <summary>Bytes of a row of <paramref name="width"/> values.</summary>
    public static int Bytes(CacheFormat format, int width) => format switch
    {
        CacheFormat.F32 => checked(width * sizeof(float)),
        CacheFormat.BF16 => checked(width * sizeof(ushort)),
        CacheFormat.Q8 => checked(Groups(width) * (Group + sizeof(float))),
        _ => throw new ArgumentOutOfRangeException(nameof(format), format, "no such format"),
    };

    /// <summary>Stores a row of two parts, followed by zeros.</summary>
    internal static void Encode(CacheFormat format, ReadOnlySpan<float> first, ReadOnlySpan<float> second, byte* row, int width)
    {
        var group = stackalloc float[Group];
        var values = new Span<float>(group, Group);
        for (var k = 0; k < width; k += Group)
        {
            values.Clear();
            var count = Math.Min(Group, width - k);
            Part(first, k, values[..count]);
            Part(second, k - first.Length, values[..count]);
            switch (format)
            {
                case CacheFormat.F32:
                    values[..count].CopyTo(new Span<float>(row + (k * sizeof(float)), count));
                    break;
                case CacheFormat.BF16:
                    BF16.Encode(values[..count], new Span<byte>(row + (k * sizeof(ushort)), count * sizeof(ushort)));
                    break;
                default:
                    ((float*)row)[k / Group] = EncodeGroup(values, (sbyte*)row + ScaleBytes(width) + k);
                    break;
            }
        }
    }

    /// <summary>Values [start, start + count) of a row; what lies between count and the next multiple of 16 in <paramref name="target"/> becomes 0.</summary>
    /// <param name="format">How the row is stored.</param>
    /// <param name="row">The row.</param>
    /// <param name="width">Its values.</param>
    /// <param name="start">First value, a multiple of 16.</param>
    /// <param name="count">How many.</param>
    /// <param name="target">Where to.</param>
    internal static void Decode(CacheFormat format, byte* row, int width, int start, int count, float* target)
    {
        switch (format)
        {
            case CacheFormat.F32:
                Decode<F32Values>(row, width, start, count, target);
                break;
            case CacheFormat.BF16:
                Decode<BF16Values>(row, width, start, count, target);
                break;
            default:
                Decode<Q8Values>(row, width, start, count, target);
                break;
        }
    }

    private static void Decode<TValues>(byte* row, int width, int start, int count, float* target)
        where TValues : struct, IStoredValues
    {
        var values = TValues.Start(width);
        var k = 0;
        for (; k <= count - 16; k += 16)
            TValues.Load(row, start + k, values).Store(target + k);
        for (; k < count; k++)
            target[k] = TValues.Value(row, start + k, values);
        for (; k % 16 != 0; k++)
            target[k] = 0;
    }

    /// <summary>Bytes of a Q8 row's scales.</summary>
    internal static int ScaleBytes(int width) => Groups(width) * sizeof(float);

    private static int Groups(int width) => (width + Group - 1) / Group;

    // The overlap of values [k, k + target's length) with a part that starts at 0.
    private static void Part(ReadOnlySpan<float> part, int k, Span<float> target)
    {
        var from = Math.Max(0, k);
        var end = Math.Min(part.Length, k + target.Length);
        if (from < end)
            part[from..end].CopyTo(target[(from - k)..]);
    }

    // An infinity or NaN among the values makes the whole group NaN, so that it is noticed.
    private static float EncodeGroup(ReadOnlySpan<float> values, sbyte* codes)
    {
        var scale = MathF.Abs(TensorPrimitives.MaxMagnitude(values)) / sbyte.MaxValue;
        for (var i = 0; i < Group; i++)
            codes[i] = scale > 0 && float.IsFinite(scale) ? (sbyte)Math.Clamp(MathF.Round(values[i] / scale), -sbyte.MaxValue, sbyte.MaxValue) : (sbyte)0;
        return float.IsFinite(scale) ? scale : float.NaN;
    }

    /// <summary>Sixteen codes as float32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<float> Load16(sbyte* codes)
    {
        var packed = Vector128.Load(codes);
        if (Avx512F.IsSupported)
            return Avx512F.ConvertToVector512Single(Avx512F.ConvertToVector512Int32(packed));
        var (low, high) = (Vector128.WidenLower(packed), Vector128.WidenUpper(packed));
        var wide = Vector512.Create(
            Vector256.Create(Vector128.WidenLower(low), Vector128.WidenUpper(low)), Vector256.Create(Vector128.WidenLower(high), Vector128.WidenUpper(high)));
        return Vector512.ConvertToSingle(wide);
    }
}
