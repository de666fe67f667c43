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
        var whole = width - (width % Lanes);
        for (var row = 0; row < gateUp.Rows; row++)
        {
            RowKernels.CopyRow(WeightFormat.F32, gateUp.RowPointer(row), kept.Format, kept.RowPointer(row), 2 * width);
            var w = Vector512.Create(weights.IsEmpty ? 1f : weights[row]);
            Values gate = new(kept, row), up = new(kept, row, width), a = new(activation, row);
            for (var k = 0; k < whole; k += Lanes)
                a.Store(k, Activation(gate.Load(k), up.Load(k), w));
            if (whole < width)
                a.StoreFirst(whole, width - whole, Activation(gate.LoadFirst(whole, width - whole), up.LoadFirst(whole, width - whole), w));
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
        var whole = width - (width % Lanes);
        for (var row = 0; row < kept.Rows; row++)
        {
            var w = Vector512.Create(weights.IsEmpty ? 1f : weights[row]);
            Vector512<float> dw = default;
            Values gate = new(kept, row), up = new(kept, row, width), da = new(dactivation, row);
            Values dgate = new(dgateUp, row), dup = new(dgateUp, row, width), a = new(activation, row);
            for (var k = 0; k < whole; k += Lanes)
            {
                Gradients(gate.Load(k), up.Load(k), da.Load(k), w, ref dw, out var dg, out var du, out var wa);
                dgate.Store(k, dg);
                dup.Store(k, du);
                a.Store(k, wa);
            }

            if (whole < width)
            {
                var rest = width - whole;
                Gradients(gate.LoadFirst(whole, rest), up.LoadFirst(whole, rest), da.LoadFirst(whole, rest), w, ref dw, out var dg, out var du, out var wa);
                dgate.StoreFirst(whole, rest, dg);
                dup.StoreFirst(whole, rest, du);
                a.StoreFirst(whole, rest, wa);
            }

            if (!dweights.IsEmpty)
                dweights[row] = DotProduct.Sum(dw, default, default, default);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Activation(Vector512<float> g, Vector512<float> u, Vector512<float> w) => w * (g * Sigmoid(g) * u);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Gradients(
        Vector512<float> g, Vector512<float> u, Vector512<float> da, Vector512<float> w, ref Vector512<float> dw,
        out Vector512<float> dg, out Vector512<float> du, out Vector512<float> wa)
    {
        var s = Sigmoid(g);
        var silu = g * s;
        var a = silu * u;
        dw += da * a;
        da *= w;
        dg = da * u * (s + (silu * (Vector512<float>.One - s)));
        du = da * silu;
        wa = w * a;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Sigmoid(Vector512<float> x) => Vector512<float>.One / (Vector512<float>.One + FastExp.Exp(-x));

    private static void Check(MatrixView gateUp, MatrixView activation, ReadOnlySpan<float> weights)
    {
        if (gateUp.Rows != activation.Rows || gateUp.Cols != 2 * activation.Cols || (!weights.IsEmpty && weights.Length != activation.Rows))
            throw new ArgumentException($"[{gateUp.Rows}, {gateUp.Cols}] for activations [{activation.Rows}, {activation.Cols}] and {weights.Length} weights");
    }

    // A row's values from a column on, F32 or BF16, sixteen at a time.
    private readonly ref struct Values(MatrixView view, int row, int column = 0)
    {
        private readonly byte* data = view.RowPointer(row) + ((long)column * view.ElementBytes);
        private readonly bool single = view.Format == WeightFormat.F32;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<float> Load(int k) => single ? Vector512.Load((float*)data + k) : BF16.Load16(data + (2L * k));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Store(int k, Vector512<float> values)
        {
            if (single)
                values.Store((float*)data + k);
            else
                BF16.Narrow16(BF16.Round16(values)).Store((ushort*)data + k);
        }

        /// <summary>The values [k, k + count), zero behind them.</summary>
        public Vector512<float> LoadFirst(int k, int count)
        {
            var values = Vector512<float>.Zero;
            RowKernels.CopyRow(Format, data + ((long)k * Bytes), WeightFormat.F32, (byte*)&values, count);
            return values;
        }

        public void StoreFirst(int k, int count, Vector512<float> values) =>
            RowKernels.CopyRow(WeightFormat.F32, (byte*)&values, Format, data + ((long)k * Bytes), count);

        private WeightFormat Format => single ? WeightFormat.F32 : WeightFormat.BF16;

        private int Bytes => single ? 4 : 2;
    }
}
