using System.Runtime.Intrinsics;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>The gated activation of the feed-forward layers: silu(gate) * up with silu(x) = x * sigmoid(x) (arXiv 2002.05202).</summary>
public static class SwiGlu
{
    private const int Lanes = 16;

    // A whole number of vectors, so that a value's place in its vector does not matter.
    private const int Piece = 4096;

    /// <summary>
    /// up = silu(gate) * up; gate is unchanged. Each value gets the same bits wherever in the span it stands, so that a token's result does not depend on
    /// the tokens beside it.
    /// </summary>
    /// <param name="gate">[T, I].</param>
    /// <param name="up">[T, I], overwritten.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public static void InPlace(ReadOnlySpan<float> gate, Span<float> up)
    {
        if (gate.Length != up.Length)
            throw new ArgumentException($"gate of {gate.Length} and up of {up.Length} values");
        var k = 0;
        for (; k <= gate.Length - Lanes; k += Lanes)
            Gated(Vector512.Create(gate.Slice(k, Lanes)), Vector512.Create<float>(up.Slice(k, Lanes))).CopyTo(up[k..]);
        if (k == gate.Length)
            return;
        Span<float> gateTail = stackalloc float[Lanes], upTail = stackalloc float[Lanes];
        gateTail.Clear();
        upTail.Clear();
        gate[k..].CopyTo(gateTail);
        up[k..].CopyTo(upTail);
        Gated(Vector512.Create<float>(gateTail), Vector512.Create<float>(upTail)).CopyTo(upTail);
        upTail[..(up.Length - k)].CopyTo(up[k..]);
    }

    /// <summary>As <see cref="InPlace(ReadOnlySpan{float}, Span{float})"/>, on all threads where there is enough to do.</summary>
    /// <param name="gate">[T, I].</param>
    /// <param name="up">[T, I], overwritten.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public static unsafe void InPlace(ReadOnlySpan<float> gate, Span<float> up, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        if (gate.Length != up.Length)
            throw new ArgumentException($"gate of {gate.Length} and up of {up.Length} values");
        fixed (float* g = gate, u = up)
            threads.Run((gate.Length + Piece - 1) / Piece, 4, new Job(g, u, gate.Length));
    }

    private readonly unsafe struct Job(float* gate, float* up, int length) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var count = (int)Math.Min((long)end * Piece, length) - (start * Piece);
            InPlace(new ReadOnlySpan<float>(gate + (start * Piece), count), new Span<float>(up + (start * Piece), count));
        }
    }

    // silu first: gate * up may overflow where silu(gate) is 0, and infinity times 0 is no number. The exponential is the square of its root, which is never out of range.
    private static Vector512<float> Gated(Vector512<float> gate, Vector512<float> up)
    {
        var root = FastExp.Exp(gate * Vector512.Create(-0.5f));
        return gate / Vector512.FusedMultiplyAdd(root, root, Vector512<float>.One) * up;
    }
}
