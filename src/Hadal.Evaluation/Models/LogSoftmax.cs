using System.Numerics.Tensors;

namespace Hadal.Evaluation.Models;

/// <summary>Log-probabilities of single tokens out of a row of logits.</summary>
internal static class LogSoftmax
{
    private const int Piece = 1024;

    /// <summary>ln sum exp(x), summed in double precision, in pieces of 1024 so that it does not depend on anything but the row.</summary>
    public static double LogSumExp(ReadOnlySpan<float> logits)
    {
        var max = TensorPrimitives.Max(logits);
        Span<float> scaled = stackalloc float[Piece];
        double sum = 0;
        for (var start = 0; start < logits.Length; start += Piece)
        {
            var piece = logits[start..Math.Min(start + Piece, logits.Length)];
            var target = scaled[..piece.Length];
            TensorPrimitives.Subtract(piece, max, target);
            TensorPrimitives.Exp(target, target);
            foreach (var value in target)
                sum += value;
        }

        return max + Math.Log(sum);
    }

    /// <summary>ln p of a token, and whether no token is more probable (the lowest id among equals counts).</summary>
    public static (double Logprob, bool IsGreedy) Of(ReadOnlySpan<float> logits, int token) =>
        (logits[token] - LogSumExp(logits), TensorPrimitives.IndexOfMax(logits) == token);
}
