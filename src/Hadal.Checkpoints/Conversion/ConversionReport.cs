using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Conversion;

/// <summary>What rounding did to one tensor.</summary>
/// <param name="Name">Name in the new file.</param>
/// <param name="Source">How it was stored.</param>
/// <param name="Target">How it is stored now.</param>
/// <param name="Shape">Dimensions, outermost first.</param>
/// <param name="ByteLength">Bytes in the new file, E4M3 scales included.</param>
/// <param name="MaxAbsoluteError">max |x - y|, x the source and y the new values.</param>
/// <param name="RelativeRmsError">sqrt(sum (x - y)^2 / sum x^2); 0 for a tensor of zeros that stays one.</param>
/// <param name="CalcDiff">1 - 2 &lt;x,y&gt; / (|x|^2 + |y|^2), DeepGEMM's measure; 0 is equal.</param>
public sealed record TensorReport(
    string Name,
    WeightFormat Source,
    WeightFormat Target,
    IReadOnlyList<long> Shape,
    long ByteLength,
    double MaxAbsoluteError,
    double RelativeRmsError,
    double CalcDiff);

/// <summary>How far a conversion is: said after every tensor.</summary>
/// <param name="Tensor">The tensor just written.</param>
/// <param name="TensorsDone">Tensors written.</param>
/// <param name="TensorCount">Tensors in all.</param>
/// <param name="BytesDone">Bytes of weights written.</param>
/// <param name="ByteCount">Bytes of weights in all.</param>
public readonly record struct ConversionProgress(TensorReport Tensor, int TensorsDone, int TensorCount, long BytesDone, long ByteCount);

/// <summary>What a conversion wrote.</summary>
/// <param name="Path">The new file or folder.</param>
/// <param name="Tensors">Every tensor, in the order of the file.</param>
/// <param name="ByteLength">Bytes of weights.</param>
/// <param name="Notes">What the user should know, one sentence each.</param>
public sealed record ConversionReport(string Path, IReadOnlyList<TensorReport> Tensors, long ByteLength, IReadOnlyList<string> Notes);
