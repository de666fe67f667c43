namespace Hadal.Numerics.Formats;

/// <summary>Work to be done with a format known at run time; see <see cref="WeightFormats.Dispatch{TAction}"/>.</summary>
public interface IFormatAction
{
    /// <summary>Does the work with the format as a type.</summary>
    /// <typeparam name="TFormat">The format.</typeparam>
    void Invoke<TFormat>()
        where TFormat : struct, IWeightFormat<TFormat>;
}

/// <summary>Work to be done with a format that can be written, known at run time; see <see cref="WeightFormats.TryDispatchEncoder{TAction}"/>.</summary>
public interface IEncoderAction
{
    /// <summary>Does the work with the format as a type.</summary>
    /// <typeparam name="TFormat">The format.</typeparam>
    void Invoke<TFormat>()
        where TFormat : struct, IWeightFormat<TFormat>, IWeightEncoder<TFormat>;
}

/// <summary>Work to be done with a format that has integer products, known at run time; see <see cref="WeightFormats.TryDispatchInteger{TAction}"/>.</summary>
internal interface IIntegerAction
{
    /// <summary>Does the work with the format as a type.</summary>
    /// <typeparam name="TFormat">The format.</typeparam>
    void Invoke<TFormat>()
        where TFormat : struct, IIntegerFormat<TFormat>;
}

/// <summary>From a <see cref="WeightFormat"/> value to its type: the only switches over formats there are.</summary>
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

    /// <summary>Calls <paramref name="action"/> with the type that implements <paramref name="format"/> if that type can also encode.</summary>
    /// <returns>Whether it can; if not, the action was not called.</returns>
    public static bool TryDispatchEncoder<TAction>(WeightFormat format, ref TAction action)
        where TAction : struct, IEncoderAction, allows ref struct
    {
        switch (format)
        {
            case WeightFormat.F32: action.Invoke<F32>(); return true;
            case WeightFormat.F16: action.Invoke<F16>(); return true;
            case WeightFormat.BF16: action.Invoke<BF16>(); return true;
            case WeightFormat.F8_E4M3: action.Invoke<F8_E4M3>(); return true;
            case WeightFormat.Q8_0: action.Invoke<Q8_0>(); return true;
            case WeightFormat.Q4_0: action.Invoke<Q4_0>(); return true;
            case WeightFormat.Q4_1: action.Invoke<Q4_1>(); return true;
            case WeightFormat.Q5_0: action.Invoke<Q5_0>(); return true;
            case WeightFormat.Q5_1: action.Invoke<Q5_1>(); return true;
            case WeightFormat.Q4_K: action.Invoke<Q4_K>(); return true;
            case WeightFormat.Q5_K: action.Invoke<Q5_K>(); return true;
            case WeightFormat.Q6_K: action.Invoke<Q6_K>(); return true;
            default: return false;
        }
    }

    /// <summary>Calls <paramref name="action"/> with the type that implements <paramref name="format"/>, if it has integer products.</summary>
    /// <returns>Whether it has.</returns>
    internal static bool TryDispatchInteger<TAction>(WeightFormat format, ref TAction action)
        where TAction : struct, IIntegerAction, allows ref struct
    {
        switch (format)
        {
            case WeightFormat.Q8_0: action.Invoke<Q8_0>(); return true;
            case WeightFormat.Q4_0: action.Invoke<Q4_0>(); return true;
            case WeightFormat.Q4_1: action.Invoke<Q4_1>(); return true;
            case WeightFormat.Q5_0: action.Invoke<Q5_0>(); return true;
            case WeightFormat.Q5_1: action.Invoke<Q5_1>(); return true;
            case WeightFormat.Q2_K: action.Invoke<Q2_K>(); return true;
            case WeightFormat.Q3_K: action.Invoke<Q3_K>(); return true;
            case WeightFormat.Q4_K: action.Invoke<Q4_K>(); return true;
            case WeightFormat.Q5_K: action.Invoke<Q5_K>(); return true;
            case WeightFormat.Q6_K: action.Invoke<Q6_K>(); return true;
            case WeightFormat.IQ4_NL: action.Invoke<IQ4_NL>(); return true;
            case WeightFormat.IQ4_XS: action.Invoke<IQ4_XS>(); return true;
            default: return false;
        }
    }

    /// <summary>Whether a format has integer products.</summary>
    public static bool HasIntegerProducts(WeightFormat format) => Of(format).HasIntegerProducts;

    /// <summary>Values in one block.</summary>
    public static int BlockLength(WeightFormat format) => Of(format).BlockLength;

    /// <summary>Bytes of one block.</summary>
    public static int BlockBytes(WeightFormat format) => Of(format).BlockBytes;

    /// <summary>Bytes of a row of <paramref name="cols"/> values (a multiple of the block length), without E4M3 scales.</summary>
    public static long RowBytes(WeightFormat format, long cols)
    {
        ref readonly var facts = ref Of(format);
        return cols / facts.BlockLength * facts.BlockBytes;
    }

    private static ref readonly Facts Of(WeightFormat format)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)format, (uint)Facts.All.Length, nameof(format));
        return ref Facts.All[(int)format];
    }

    /// <summary>Decodes whole blocks to float32 (E4M3: without block scales).</summary>
    /// <exception cref="ArgumentException">The lengths do not belong together.</exception>
    public static void Decode(WeightFormat format, ReadOnlySpan<byte> blocks, Span<float> values)
    {
        var action = new DecodeAction { Blocks = blocks, Values = values };
        Dispatch(format, ref action);
    }

    /// <summary>Whether Hadal writes this format.</summary>
    public static bool CanEncode(WeightFormat format)
    {
        var action = default(NoAction);
        return TryDispatchEncoder(format, ref action);
    }

    /// <summary>Rounds float32 values into whole blocks (E4M3: without block scales, saturating at ±448; see <see cref="Fp8Blocks"/>).</summary>
    /// <param name="format">A format for which <see cref="CanEncode"/> holds.</param>
    /// <param name="values">A whole number of blocks.</param>
    /// <param name="blocks">Exactly as many bytes as those blocks take.</param>
    /// <remarks>
    /// Deterministic, on every processor. Formats with an F16 scale count NaN as 0 and magnitudes beyond 65504 as 65504; F32, F16, BF16 and E4M3 round
    /// value by value and keep NaN.
    /// </remarks>
    /// <exception cref="ArgumentException">The lengths do not belong together, or the format cannot be written.</exception>
    public static void Encode(WeightFormat format, ReadOnlySpan<float> values, Span<byte> blocks)
    {
        var action = new EncodeAction { Values = values, Blocks = blocks };
        if (!TryDispatchEncoder(format, ref action))
            throw new ArgumentException($"{format} can be read but not written", nameof(format));
    }

    private struct NoAction : IEncoderAction
    {
        public readonly void Invoke<TFormat>()
            where TFormat : struct, IWeightFormat<TFormat>, IWeightEncoder<TFormat>
        {
        }
    }

    private ref struct EncodeAction : IEncoderAction
    {
        public ReadOnlySpan<float> Values;
        public Span<byte> Blocks;

        public readonly void Invoke<TFormat>()
            where TFormat : struct, IWeightFormat<TFormat>, IWeightEncoder<TFormat>
        {
            if (Values.Length % TFormat.BlockLength != 0 || (long)Values.Length / TFormat.BlockLength * TFormat.BlockBytes != Blocks.Length)
                throw new ArgumentException($"{Values.Length} values do not fill {Blocks.Length} bytes with whole blocks of {TFormat.Id} ({TFormat.BlockLength} values in {TFormat.BlockBytes} bytes)");
            TFormat.Encode(Values, Blocks);
        }
    }

    private struct Nothing : IIntegerAction
    {
        public readonly void Invoke<TFormat>()
            where TFormat : struct, IIntegerFormat<TFormat>
        {
        }
    }

    /// <summary>What is asked for often, said once by each format's type.</summary>
    private struct Facts : IFormatAction
    {
        public static readonly Facts[] All = [.. Enum.GetValues<WeightFormat>().Select(Learn)];

        public int BlockLength;
        public int BlockBytes;
        public bool HasIntegerProducts;

        public void Invoke<TFormat>()
            where TFormat : struct, IWeightFormat<TFormat>
        {
            BlockLength = TFormat.BlockLength;
            BlockBytes = TFormat.BlockBytes;
        }

        private static Facts Learn(WeightFormat format)
        {
            var (facts, nothing) = (default(Facts), default(Nothing));
            Dispatch(format, ref facts);
            facts.HasIntegerProducts = TryDispatchInteger(format, ref nothing);
            return facts;
        }
    }

    private ref struct DecodeAction : IFormatAction
    {
        public ReadOnlySpan<byte> Blocks;
        public Span<float> Values;

        public readonly void Invoke<TFormat>()
            where TFormat : struct, IWeightFormat<TFormat>
        {
            if (Blocks.Length % TFormat.BlockBytes != 0 || (long)Blocks.Length / TFormat.BlockBytes * TFormat.BlockLength != Values.Length)
                throw new ArgumentException($"{Blocks.Length} bytes do not fill {Values.Length} values with whole blocks of {TFormat.Id} ({TFormat.BlockLength} values in {TFormat.BlockBytes} bytes)");
            TFormat.Decode(Blocks, Values);
        }
    }
}
