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
                    ((float*)row)[k / Group] = EncodeGroup(values, (sbyte*)row + (Groups(width) * sizeof(float)) + k);
                    break;
            }
        }
    }

    /// <summary>Values [start, start + count) of a row; what lies between count and the next multiple of 16 in <paramref name="target"/> becomes 0.</summary>
    internal static void Decode(CacheFormat format, byte* row, int width, int start, int count, float* target)
    {
        // Sixteen at once; of Q8 where they share a scale.
        var codes = (sbyte*)row + (Groups(width) * sizeof(float));
        var scales = (float*)row;
        var vectors = format == CacheFormat.Q8 && start % 16 != 0 ? 0 : count / 16 * 16;
        var k = 0;
        switch (format)
        {
            case CacheFormat.F32:
                for (; k < vectors; k += 16)
                    Vector512.Load((float*)row + start + k).Store(target + k);
                break;
            case CacheFormat.BF16:
                for (; k < vectors; k += 16)
                    BF16.Load16(row + ((start + k) * sizeof(ushort))).Store(target + k);
                break;
            default:
                for (; k <= vectors - Group && (start + k) % Group == 0; k += Group)
                {
                    var scale = Vector512.Create(scales[(start + k) / Group]);
                    var group = codes + start + k;
                    (Load16(group) * scale).Store(target + k);
                    (Load16(group + 16) * scale).Store(target + k + 16);
                    (Load16(group + 32) * scale).Store(target + k + 32);
                    (Load16(group + 48) * scale).Store(target + k + 48);
                }

                for (; k < vectors; k += 16)
                    (Load16(codes + start + k) * Vector512.Create(scales[(start + k) / Group])).Store(target + k);
                break;
        }

        for (; k < count; k++)
        {
            target[k] = format switch
            {
                CacheFormat.F32 => ((float*)row)[start + k],
                CacheFormat.BF16 => BF16.ToSingle(((ushort*)row)[start + k]),
                _ => codes[start + k] * scales[(start + k) / Group],
            };
        }

        for (; k % 16 != 0; k++)
            target[k] = 0;
    }

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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Load16(sbyte* codes)
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
