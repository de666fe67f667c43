using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Hadal.Checkpoints.Files;
using Hadal.Numerics;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Safetensors;

/// <summary>
/// Checks an FP8 weight and its block scales once, and converts scales that are not float32. A NaN code or a scale that is no positive finite number
/// would spread silently through every answer, so both are refused.
/// </summary>
internal static unsafe class Fp8Tensor
{
    /// <summary>Float32 scales [ceil(rows/128), ceil(cols/128)] of a weight; the caller owns the buffer.</summary>
    /// <exception cref="InvalidDataException">Shape, type or a value is wrong.</exception>
    public static NativeBuffer ReadScales(SafetensorsFile file, SafetensorsTensor scales, int rows, int cols)
    {
        long[] expected = [Blocks(rows), Blocks(cols)];
        if (!scales.Shape.SequenceEqual(expected))
            throw BadFile.Tensor(file.Path, scales.Name, $"expected shape {BadFile.Shape(expected)} for blocks of 128x128, found {BadFile.Shape(scales.Shape)}");
        var count = checked((int)(expected[0] * expected[1]));
        var bytes = new ReadOnlySpan<byte>(file.Data(scales), checked((int)scales.ByteLength));
        var buffer = new NativeBuffer((long)count * sizeof(float));
        try
        {
            var values = buffer.Span<float>(0, count);
            switch (scales.Dtype)
            {
                case SafetensorsDtype.F32 or SafetensorsDtype.BF16:
                    WeightFormats.Decode(scales.Dtype.WeightFormat()!.Value, bytes, values);
                    break;
                case SafetensorsDtype.F8_E8M0:
                    for (var i = 0; i < values.Length; i++)
                        values[i] = FromE8M0(bytes[i]);
                    break;
                default:
                    throw BadFile.Tensor(file.Path, scales.Name, $"expected F32, BF16 or F8_E8M0 scales, found {scales.Dtype}");
            }

            for (var i = 0; i < values.Length; i++)
            {
                if (!(float.IsFinite(values[i]) && values[i] > 0))
                    throw BadFile.Tensor(file.Path, scales.Name, $"expected positive finite scales, found {values[i]} at [{i / expected[1]}, {i % expected[1]}]");
            }

            return buffer;
        }
        catch
        {
            buffer.Dispose();
            throw;
        }
    }

    /// <summary>Refuses NaN codes (0x7F and 0xFF; E4M3 has no infinities).</summary>
    public static void RefuseNaN(SafetensorsFile file, SafetensorsTensor codes)
    {
        var data = file.Data(codes);
        for (var start = 0L; start < codes.ByteLength; start += 1 << 30)
        {
            var piece = new ReadOnlySpan<byte>(data + start, (int)Math.Min(1 << 30, codes.ByteLength - start));
            if (IndexOfNaN(piece) is >= 0 and var index)
                throw BadFile.Tensor(file.Path, codes.Name, $"expected numbers, found the NaN code 0x{piece[index]:X2} at element {start + index}");
        }
    }

    /// <summary>The index of the first NaN code, or -1.</summary>
    internal static int IndexOfNaN(ReadOnlySpan<byte> codes)
    {
        ref var first = ref MemoryMarshal.GetReference(codes);
        var magnitude = Vector512.Create((byte)0x7F);
        var i = 0;
        for (; i <= codes.Length - 256; i += 256)
        {
            // Four at once: the loop is bound by memory, not by the test.
            var a = Vector512.LoadUnsafe(ref first, (nuint)i) & magnitude;
            var b = Vector512.LoadUnsafe(ref first, (nuint)i + 64) & magnitude;
            var c = Vector512.LoadUnsafe(ref first, (nuint)i + 128) & magnitude;
            var d = Vector512.LoadUnsafe(ref first, (nuint)i + 192) & magnitude;
            if (Vector512.EqualsAny(Vector512.Max(Vector512.Max(a, b), Vector512.Max(c, d)), magnitude))
                break;
        }

        for (; i < codes.Length; i++)
        {
            if ((Unsafe.Add(ref first, i) & 0x7F) == 0x7F)
                return i;
        }

        return -1;
    }

    /// <summary>2^(code - 127), exactly; 0xFF is NaN (OCP Microscaling Formats 1.0, E8M0).</summary>
    internal static float FromE8M0(byte code) => code switch
    {
        0xFF => float.NaN,
        0 => BitConverter.UInt32BitsToSingle(0x00400000), // 2^-127 is subnormal.
        _ => BitConverter.UInt32BitsToSingle((uint)code << 23),
    };

    private static long Blocks(int length) => (length + WeightMatrix.ScaleBlock - 1) / WeightMatrix.ScaleBlock;
}
