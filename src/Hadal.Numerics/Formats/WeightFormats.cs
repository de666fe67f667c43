namespace Hadal.Numerics.Formats;

/// <summary>Work to be done with a format known at run time; see <see cref="WeightFormats.Dispatch{TAction}"/>.</summary>
public interface IFormatAction
{
    /// <summary>Does the work with the format as a type.</summary>
    /// <typeparam name="TFormat">The format.</typeparam>
    void Invoke<TFormat>()
        where TFormat : struct, IWeightFormat<TFormat>;
}

/// <summary>From a <see cref="WeightFormat"/> value to its type: the only switch over formats there is.</summary>
public static class WeightFormats
{
    /// <summary>Calls <paramref name="action"/> with the type that implements <paramref name="format"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Not a member of the enumeration.</exception>
    public static void Dispatch<TAction>(WeightFormat format, ref TAction action)
        where TAction : struct, IFormatAction, allows ref struct
    {
        switch (format)
        {
            case WeightFormat.F32: action.Invoke<F32>(); break;
            case WeightFormat.F16: action.Invoke<F16>(); break;
            case WeightFormat.BF16: action.Invoke<BF16>(); break;
            case WeightFormat.F8_E4M3: action.Invoke<F8_E4M3>(); break;
            case WeightFormat.Q8_0: action.Invoke<Q8_0>(); break;
            case WeightFormat.Q4_0: action.Invoke<Q4_0>(); break;
            case WeightFormat.Q4_1: action.Invoke<Q4_1>(); break;
            case WeightFormat.Q5_0: action.Invoke<Q5_0>(); break;
            case WeightFormat.Q5_1: action.Invoke<Q5_1>(); break;
            case WeightFormat.Q2_K: action.Invoke<Q2_K>(); break;
            case WeightFormat.Q3_K: action.Invoke<Q3_K>(); break;
            case WeightFormat.Q4_K: action.Invoke<Q4_K>(); break;
            case WeightFormat.Q5_K: action.Invoke<Q5_K>(); break;
            case WeightFormat.Q6_K: action.Invoke<Q6_K>(); break;
            case WeightFormat.IQ4_NL: action.Invoke<IQ4_NL>(); break;
            case WeightFormat.IQ4_XS: action.Invoke<IQ4_XS>(); break;
            default: throw new ArgumentOutOfRangeException(nameof(format), format, "not a weight format");
        }
    }

    /// <summary>Values in one block.</summary>
    public static int BlockLength(WeightFormat format)
    {
        var facts = default(Facts);
        Dispatch(format, ref facts);
        return facts.BlockLength;
    }

    /// <summary>Bytes of one block.</summary>
    public static int BlockBytes(WeightFormat format)
    {
        var facts = default(Facts);
        Dispatch(format, ref facts);
        return facts.BlockBytes;
    }

    /// <summary>Bytes of a row of <paramref name="cols"/> values (a multiple of the block length), without E4M3 scales.</summary>
    public static long RowBytes(WeightFormat format, long cols)
    {
        var facts = default(Facts);
        Dispatch(format, ref facts);
        return cols / facts.BlockLength * facts.BlockBytes;
    }

    /// <summary>Decodes whole blocks to float32 (E4M3: without block scales).</summary>
    /// <exception cref="ArgumentException">The lengths do not belong together.</exception>
    public static void Decode(WeightFormat format, ReadOnlySpan<byte> blocks, Span<float> values)
    {
        var action = new DecodeAction { Blocks = blocks, Values = values };
        Dispatch(format, ref action);
    }

    private struct Facts : IFormatAction
    {
        public int BlockLength;
        public int BlockBytes;

        public void Invoke<TFormat>()
            where TFormat : struct, IWeightFormat<TFormat>
        {
            BlockLength = TFormat.BlockLength;
            BlockBytes = TFormat.BlockBytes;
        }
    }

    private ref struct DecodeAction : IFormatAction
    {
        public ReadOnlySpan<byte> Blocks;
        public Span<float> Values;

        public readonly void Invoke<TFormat>()
            where TFormat : struct, IWeightFormat<TFormat>
        {
            if ((long)Values.Length * TFormat.BlockBytes != (long)Blocks.Length * TFormat.BlockLength)
                throw new ArgumentException($"{Blocks.Length} bytes of {TFormat.Id} hold {(long)Blocks.Length * TFormat.BlockLength / TFormat.BlockBytes} values, but the destination has {Values.Length}");
            TFormat.Decode(Blocks, Values);
        }
    }
}
