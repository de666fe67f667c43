namespace Hadal.Numerics.Formats;

/// <summary>
/// One weight format as a type parameter: drivers (<c>MatMul&lt;TFormat&gt;</c>) are compiled once for each format, with the decoding
/// inlined. A row of a matrix is a whole number of blocks of <see cref="BlockLength"/> values, stored in <see cref="BlockBytes"/> bytes each.
/// </summary>
/// <typeparam name="TSelf">The implementing struct; it has no state.</typeparam>
public interface IWeightFormat<TSelf>
    where TSelf : struct, IWeightFormat<TSelf>
{
    /// <summary>The member of <see cref="WeightFormat"/> that this type implements.</summary>
    static abstract WeightFormat Id { get; }

    /// <summary>Values in one block: 1 for the plain floats and E4M3, else 32 or 256.</summary>
    static abstract int BlockLength { get; }

    /// <summary>Bytes of one block.</summary>
    static abstract int BlockBytes { get; }

    /// <summary>The specification, in plain loops: decodes <paramref name="blocks"/> into <paramref name="values"/> (E4M3: codes without their block scale).</summary>
    /// <param name="blocks">A whole number of blocks.</param>
    /// <param name="values">Exactly as many values as the blocks hold.</param>
    static abstract void DecodeReference(ReadOnlySpan<byte> blocks, Span<float> values);

    /// <summary>As <see cref="DecodeReference"/>, bit for bit, with the vector instructions of this machine.</summary>
    static abstract void Decode(ReadOnlySpan<byte> blocks, Span<float> values);
}

/// <summary>A format that Hadal also writes.</summary>
/// <typeparam name="TSelf">The implementing struct; it has no state.</typeparam>
public interface IWeightEncoder<TSelf>
    where TSelf : struct, IWeightFormat<TSelf>, IWeightEncoder<TSelf>
{
    /// <summary>Rounds <paramref name="values"/> (a whole number of blocks) into <paramref name="blocks"/>.</summary>
    static abstract void Encode(ReadOnlySpan<float> values, Span<byte> blocks);
}
