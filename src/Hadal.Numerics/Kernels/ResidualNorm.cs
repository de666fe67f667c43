using System.Numerics.Tensors;
using Hadal.Numerics.Kernels.Integer;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// What lies between two parts of a pre-norm layer: what the one has made is added to the residual stream, which is normalised (<see cref="RmsNorm"/>) and quantised
/// (<see cref="IntegerActivations"/>) for the other. A row at a time, all of it while the row is in a worker's cache. The bits are those of the three one after the other.
/// </summary>
public static class ResidualNorm
{
    // Fewer values are not worth handing out.
    private const int LeastValues = 8192;

    /// <summary>x += branch, y = norm(x), and y quantised.</summary>
    /// <param name="x">[T, D], the residual stream.</param>
    /// <param name="branch">[T, D], or empty where nothing is added.</param>
    /// <param name="weight">[D].</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <param name="y">[T, D]; may be the memory of <paramref name="branch"/>.</param>
    /// <param name="block">Values that get one scale; 0 where nothing is quantised.</param>
    /// <param name="codes">Receives T times <see cref="IntegerActivations.RowBytes"/> bytes, or is empty where nothing is quantised.</param>
    /// <param name="threads">Pool to run on.</param>
    /// <exception cref="ArgumentException">The lengths do not belong together.</exception>
    public static void Apply(
        Span<float> x, ReadOnlySpan<float> branch, ReadOnlySpan<float> weight, double epsilon, Span<float> y, int block, Span<byte> codes, KernelThreads threads)
    {
        ArgumentNullException.ThrowIfNull(threads);
        var width = weight.Length;
        if (width == 0 || x.Length % width != 0 || y.Length != x.Length || !(branch.IsEmpty || branch.Length == x.Length))
            throw new ArgumentException($"rows of {width} values in x of {x.Length}, a branch of {branch.Length} and y of {y.Length}");
        var codesBytes = block == 0 ? 0 : (long)x.Length / width * IntegerActivations.RowBytes(width, block);
        if (block < 0 || block % 32 != 0 || (block > 0 && width % block != 0) || codes.Length != codesBytes)
            throw new ArgumentException($"{x.Length} values in rows of {width} and blocks of {block} do not fit {codes.Length} bytes");
        threads.Run(x.Length / width, Math.Max(1, LeastValues / width), new Job { X = x, Branch = branch, Weight = weight, Epsilon = epsilon, Y = y, Block = block, Codes = codes });
    }

    private ref struct Job : IKernelJob
    {
        public Span<float> X;
        public ReadOnlySpan<float> Branch;
        public ReadOnlySpan<float> Weight;
        public double Epsilon;
        public Span<float> Y;
        public int Block;
        public Span<byte> Codes;

        public readonly void Invoke(int start, int end, int worker)
        {
            var width = Weight.Length;
            for (var t = start; t < end; t++)
            {
                var x = X.Slice(t * width, width);
                var y = Y.Slice(t * width, width);
                if (!Branch.IsEmpty)
                    TensorPrimitives.Add(x, Branch.Slice(t * width, width), x);
                RmsNorm.Apply(x, Weight, y, Epsilon);
                if (Block > 0)
                    IntegerActivations.QuantizeRow(y, Block, Codes[(t * IntegerActivations.RowBytes(width, Block))..]);
            }
        }
    }
}
