using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Kernels.Training;
using Hadal.Training.Optimization;

namespace Hadal.Training.Tests.Kernels;

/// <summary>The kernels of a training step against recorded operators.</summary>
public sealed class RecordedKernelTests
{
    [Theory]
    [InlineData("rmsnorm")]
    [InlineData("rmsnorm_small")]
    public void RmsNorm(string name)
    {
        using var op = new RecordedOperator(name);
        var (x, w, y, dx, dw) = (op.Rows("x"), op.Rows("w"), op.Empty(6, 40), op.Empty(6, 40), op.Empty(1, 40));
        RmsNormTraining.Forward(x, w, y, op.Scalar("eps"), op.Threads);
        RmsNormTraining.Backward(op.Rows("dy"), x, w, dx, accumulate: false, dw, op.Empty(1, 40), op.Scalar("eps"), op.Threads);
        op.Close("y", y);
        op.Close("dx", dx);
        op.Close("dw", dw);
    }

    [Theory]
    [InlineData("rope_interleaved_yarn", true)]
    [InlineData("rope_interleaved_plain", true)]
    [InlineData("rope_half_yarn", false)]
    [InlineData("rope_half_plain", false)]
    public void Rope(string name, bool interleaved)
    {
        using var op = new RecordedOperator(name);
        var rotary = new RotaryEmbedding(op.Doubles("inv_freq"), interleaved);
        var positions = op.Integers("positions");
        var (cos, sin) = (op.Empty(positions.Length, 8), op.Empty(positions.Length, 8));
        for (var row = 0; row < positions.Length; row++)
            rotary.Angles(positions[row], cos.Row(row), sin.Row(row));
        var (x, dx) = (op.Rows("x", inner: 2), op.Rows("dy", inner: 2));
        RowKernels.Rotate(x, 16, rotary, cos, sin, backward: false, op.Threads);
        RowKernels.Rotate(dx, 16, rotary, cos, sin, backward: true, op.Threads);
        op.Close("y", x);
        op.Close("dx", dx);
    }

    [Theory]
    [InlineData("attention")]
    [InlineData("attention_documents")]
    [InlineData("attention_gqa")]
    public void Attention(string name)
    {
        using var op = new RecordedOperator(name);
        var (heads, keyHeads, keyWidth, valueWidth) = (op.Shape("q")[2], op.Shape("k")[2], op.Shape("k")[3], op.Shape("v")[3]);
        var layout = new AttentionLayout
        {
            Sequences = 2, Length = 7, Heads = heads, KeyHeads = keyHeads, KeyWidth = keyWidth, SharedWidth = 0, ValueWidth = valueWidth, KeyStride = keyWidth, ValueStride = valueWidth,
            Scale = (float)op.Scalar("scale"), Operands = WeightFormat.F32,
        };
        var starts = new int[14];
        if (name == "attention_documents")
        {
            var documents = op.Integers("documents");
            for (var row = 0; row < 14; row++)
                starts[row] = row % 7 == 0 ? 0 : documents[row] == documents[row - 1] ? starts[row - 1] : row % 7;
        }

        var (q, k, v) = (op.Rows("q", inner: 2), op.Rows("k", inner: 2), op.Rows("v", inner: 2));
        var (y, lse) = (op.Empty(14, heads * valueWidth), op.Empty(14, heads));
        var (dq, dk, dv) = (op.Empty(14, heads * keyWidth), op.Empty(14, keyHeads * keyWidth), op.Empty(14, keyHeads * valueWidth));
        CausalAttention.Forward(layout, q, k, default, v, starts, y, lse, op.Threads);
        CausalAttention.Backward(layout, q, k, default, v, starts, lse, op.Rows("dy", inner: 2), dq, dk, default, dv, op.Threads);
        op.Close("y", y);
        op.Close("dq", dq);
        op.Close("dk", dk);
        op.Close("dv", dv);
        if (name == "attention")
        {
            // Recorded [B, H, S]; kept [B*S, H].
            var byHead = new float[2 * heads * 7];
            for (var i = 0; i < byHead.Length; i++)
                byHead[i] = lse.Row((i / (heads * 7) * 7) + (i % 7))[i / 7 % heads];
            op.Close("lse", byHead);
        }
    }

    [Fact]
    public void SwiGlu()
    {
        using var op = new RecordedOperator("swiglu");
        var (gate, up) = (op.Rows("gate"), op.Rows("up"));
        var (gateUp, kept, y, dgateUp) = (op.Empty(5, 18), op.Empty(5, 18), op.Empty(5, 9), op.Empty(5, 18));
        RowKernels.Copy(gate, gateUp.SliceColumns(0, 9), op.Threads);
        RowKernels.Copy(up, gateUp.SliceColumns(9, 9), op.Threads);
        SwiGluTraining.Forward(gateUp, [], kept, y);
        op.Close("y", y);
        SwiGluTraining.Backward(kept, [], op.Rows("dy"), [], dgateUp, y);
        op.Close("y", y);
        op.Close("dgate", dgateUp.SliceColumns(0, 9));
        op.Close("dup", dgateUp.SliceColumns(9, 9));
    }

    [Fact]
    public void CrossEntropyOfMaskedRows()
    {
        using var op = new RecordedOperator("cross_entropy");
        int[] targets = [.. op.Integers("targets").Zip(op.Integers("valid"), (target, valid) => valid == 1 ? target : -1)];
        var logits = op.Rows("logits");
        float[] largest = [.. Enumerable.Range(0, targets.Length).Select(row => logits.Row(row).ToArray().Max(Math.Abs))];
        var losses = new float[targets.Length];
        var count = targets.Count(target => target >= 0);
        CrossEntropy.Apply(logits, targets, losses, logits, (float)(op.Scalar("dy") / count), op.Threads);
        op.Close("dlogits", logits);
        op.Close("y", [losses.Sum() / count]);
        var rows = op.Doubles("per_row");

        // A loss is the difference of two logits, which were rounded to float32 on the way in.
        for (var row = 0; row < targets.Length; row++)
            Assert.Equal(targets[row] < 0 ? 0 : rows[row], losses[row], largest[row] * Math.Pow(2, -23));
    }

    [Fact]
    public void EmbeddingOfRepeatedTokens()
    {
        using var op = new RecordedOperator("embedding");
        var (tokens, w, y, dw) = (op.Integers("tokens"), op.Rows("w"), op.Empty(16, 5), op.Empty(9, 5));
        RowKernels.Gather(w, tokens, y);
        RowKernels.AddByToken(op.Rows("dy"), tokens, dw, op.Threads);
        op.Close("y", y);
        op.Close("dw", dw);
    }

    [Fact]
    public void BiasOfExpertsAboveBelowAndAtTheMean()
    {
        using var op = new RecordedOperator("bias_update");
        float[] bias = [.. op.Doubles("bias").Select(b => (float)b)];
        RouterBiasUpdate.Apply(bias, op.Integers("counts"), op.Scalar("gamma"));
        op.Close("new_bias", bias);
    }

    [Fact]
    public void ThreeStepsOfAdamW()
    {
        using var op = new RecordedOperator("adamw");
        var (w, b) = (Tensor.Of(op, "w"), Tensor.Of(op, "b"));
        for (var step = 1; step <= 3; step++)
        {
            var recorded = op.Doubles($"step{step}.norm_coef_lr");
            var squares = new double[1];
            var norm = Math.Sqrt(
                AdamWKernel.SumOfSquares(op.Rows($"step{step}.gw").Reshape(1, 24).Row(0), squares, op.Threads)
                + AdamWKernel.SumOfSquares(op.Rows($"step{step}.gb").Row(0), squares, op.Threads));
            Assert.Equal(recorded[0], norm, 1e-5);
            var clip = Math.Min(1, 1 / (norm + 1e-6));
            Assert.Equal(recorded[1], clip, 1e-6);
            var settings = new AdamWSettings { Step = step, LearningRate = recorded[2] };
            w.Step(op, $"step{step}.gw", AdamW.Factors(settings, clip, decays: true));
            b.Step(op, $"step{step}.gb", AdamW.Factors(settings, clip, decays: false));
            w.Close(op, $"step{step}.w");
            b.Close(op, $"step{step}.b");
        }
    }

    private sealed record Tensor(MatrixView Values, MatrixView First, MatrixView Second)
    {
        public static Tensor Of(RecordedOperator op, string name)
        {
            var values = op.Rows(name);
            values = values.Reshape(1, values.Rows * values.Cols);
            return new(values, op.Empty(1, values.Cols), op.Empty(1, values.Cols));
        }

        public void Step(RecordedOperator op, string gradient, AdamWFactors factors)
        {
            var g = op.Rows(gradient);
            AdamWKernel.Step(Values.Row(0), g.Reshape(1, Values.Cols).Row(0), Bytes(First), Bytes(Second), WeightFormat.F32, factors, op.Threads);
        }

        public void Close(RecordedOperator op, string name)
        {
            op.Close(name, Values);
            op.Close($"{name}_m", First);
            op.Close($"{name}_v", Second);
        }

        private static Span<byte> Bytes(MatrixView view) => System.Runtime.InteropServices.MemoryMarshal.AsBytes(view.Row(0));
    }
}
