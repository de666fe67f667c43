using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Kernels.Training;

/// <summary>
/// The gated activation a = silu(g) u of rows [g (F) | u (F)], times a weight for each row (a routed expert's), and its gradient:
/// dg = w da u s (1 + g (1 - s)) and du = w da g s with s = sigmoid(g); dw = sum of da a. On the calling worker alone.
/// </summary>
public static unsafe class SwiGluTraining
{
    private const int Lanes = 16;

    /// <summary>Keeps [g | u] for the backward pass and computes w a from what is kept, so that both passes see the same values.</summary>
    /// <param name="gateUp">F32 [rows, 2F].</param>
    /// <param name="weights">One for each row; empty for 1.</param>
    /// <param name="kept">[rows, 2F], rounded where it is BF16.</param>
    /// <param name="activation">[rows, F], rounded where it is BF16.</param>
    public static void Forward(MatrixView gateUp, ReadOnlySpan<float> weights, MatrixView kept, MatrixView activation)
    {
        var width = activation.Cols;
        Check(gateUp, activation, weights);
        Check(kept, activation, weights);
        for (var row = 0; row < gateUp.Rows; row++)
        {
            RowKernels.CopyRow(WeightFormat.F32, gateUp.RowPointer(row), kept.Format, kept.RowPointer(row), 2 * width);
            var w = Vector512.Create(weights.IsEmpty ? 1f : weights[row]);
            for (var k = 0; k < width; k += Lanes)
            {
                var count = Math.Min(Lanes, width - k);
                var g = Load(kept, row, k, count);
                Store(activation, row, k, count, w * (g * Sigmoid(g) * Load(kept, row, width + k, count)));
            }
        }
    }

    /// <summary>The gradient, and once more w a, which the weight gradient of the down-projection needs.</summary>
    /// <param name="kept">[rows, 2F] of the forward pass.</param>
    /// <param name="weights">One for each row; empty for 1.</param>
    /// <param name="dactivation">F32 [rows, F]: gradient of w a, before the weight.</param>
    /// <param name="dweights">Gradient of each row's weight; empty when there are no weights.</param>
    /// <param name="dgateUp">[rows, 2F], rounded where it is BF16.</param>
    /// <param name="activation">[rows, F], rounded where it is BF16.</param>
    public static void Backward(
        MatrixView kept, ReadOnlySpan<float> weights, MatrixView dactivation, Span<float> dweights, MatrixView dgateUp, MatrixView activation)
    {
        var width = activation.Cols;
        Check(kept, activation, weights);
        Check(dgateUp, activation, weights);
        if (dactivation.Rows != kept.Rows || dactivation.Cols != width || dweights.Length != weights.Length)
            throw new ArgumentException($"da [{dactivation.Rows}, {dactivation.Cols}] and {dweights.Length} dw for {kept.Rows} rows of {width}");
        for (var row = 0; row < kept.Rows; row++)
        {
            var w = Vector512.Create(weights.IsEmpty ? 1f : weights[row]);
            Vector512<float> dw = default;
            for (var k = 0; k < width; k += Lanes)
            {
                var count = Math.Min(Lanes, width - k);
                var g = Load(kept, row, k, count);
                var u = Load(kept, row, width + k, count);
                var da = Load(dactivation, row, k, count);
                var s = Sigmoid(g);
                var silu = g * s;
                var a = silu * u;
                dw += da * a;
                da *= w;
                Store(dgateUp, row, k, count, da * u * (s + (silu * (Vector512<float>.One - s))));
                Store(dgateUp, row, width + k, count, da * silu);
                Store(activation, row, k, count, w * a);
            }

            if (!dweights.IsEmpty)
                dweights[row] = DotProduct.Sum(dw, default, default, default);
        }
    }

    private static Vector512<float> Sigmoid(Vector512<float> x) => Vector512<float>.One / (Vector512<float>.One + FastExp.Exp(-x));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Load(MatrixView view, int row, int column, int count)
    {
        if (count == Lanes)
            return view.Format == WeightFormat.F32 ? Vector512.Load(view.Float(row) + column) : BF16.Load16(view.RowPointer(row) + (2 * column));
        var tail = stackalloc float[Lanes];
        new Span<float>(tail, Lanes).Clear();
        RowKernels.CopyRow(view.Format, view.RowPointer(row) + (column * view.ElementBytes), WeightFormat.F32, (byte*)tail, count);
        return Vector512.Load(tail);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(MatrixView view, int row, int column, int count, Vector512<float> values)
    {
        if (count == Lanes && view.Format == WeightFormat.F32)
        {
            values.Store(view.Float(row) + column);
        }
        else if (count == Lanes)
        {
            var codes = BF16.Round16(values);
            Vector256.Narrow(codes.GetLower(), codes.GetUpper()).Store((ushort*)view.RowPointer(row) + column);
        }
        else
        {
            var tail = stackalloc float[Lanes];
            values.Store(tail);
            RowKernels.CopyRow(WeightFormat.F32, (byte*)tail, view.Format, view.RowPointer(row) + (column * view.ElementBytes), count);
        }
    }

    private static void Check(MatrixView gateUp, MatrixView activation, ReadOnlySpan<float> weights)
    {
        if (gateUp.Rows != activation.Rows || gateUp.Cols != 2 * activation.Cols || (!weights.IsEmpty && weights.Length != activation.Rows))
            throw new ArgumentException($"[{gateUp.Rows}, {gateUp.Cols}] for activations [{activation.Rows}, {activation.Cols}] and {weights.Length} weights");
    }
}
