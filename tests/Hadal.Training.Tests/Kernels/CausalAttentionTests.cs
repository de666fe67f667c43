using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Training;
using Hadal.Numerics.Threading;

namespace Hadal.Training.Tests.Kernels;

/// <summary>Attention for training against plain loops in double precision, over ragged lengths, documents, shared keys and grouped heads, for both operand formats.</summary>
public sealed class CausalAttentionTests
{
    [Theory]
    [InlineData(1, 2, 2, 32, 16, 32, WeightFormat.F32)]
    [InlineData(37, 2, 2, 32, 16, 32, WeightFormat.F32)]
    [InlineData(131, 2, 2, 7, 4, 5, WeightFormat.F32)]
    [InlineData(96, 4, 2, 24, 0, 24, WeightFormat.F32)]
    [InlineData(1, 2, 2, 32, 16, 32, WeightFormat.BF16)]
    [InlineData(37, 2, 2, 32, 16, 32, WeightFormat.BF16)]
    [InlineData(131, 2, 2, 7, 4, 5, WeightFormat.BF16)]
    [InlineData(131, 1, 1, 32, 17, 40, WeightFormat.BF16)]
    [InlineData(96, 4, 2, 24, 0, 24, WeightFormat.BF16)]
    public void EqualsPlainLoops(int length, int heads, int keyHeads, int keyWidth, int sharedWidth, int valueWidth, WeightFormat operands)
    {
        using var op = new Case(length, heads, keyHeads, keyWidth, sharedWidth, valueWidth, operands);
        op.Run();
        op.Reference();

        // Float32 sums of a few hundred values; rounding every operand to 8 bits leaves 2^-9 of each at most, and errors add up at random.
        var most = operands == WeightFormat.F32 ? 1e-10 : 4e-5;
        foreach (var (name, actual, expected) in op.Results())
            Assert.True(Difference(actual, expected) < most, $"{name}: {Difference(actual, expected):E2}");
    }

    [Fact]
    public void BitsDependNotOnThreads()
    {
        using Case one = new(77, 2, 2, 32, 16, 32, WeightFormat.BF16, threads: 1), three = new(77, 2, 2, 32, 16, 32, WeightFormat.BF16, threads: 3);
        one.Run();
        three.Run();
        foreach (var (first, second) in one.Results().Zip(three.Results()))
            Assert.Equal(first.Actual, second.Actual);
    }

    [Fact]
    public void RowsOfAnotherFormatAreRefused()
    {
        using Case bf16 = new(8, 2, 2, 32, 16, 32, WeightFormat.F32, rows: WeightFormat.BF16), fp8 = new(8, 2, 2, 32, 16, 32, WeightFormat.F8_E4M3);
        Assert.Contains("expected F32 rows", Assert.Throws<ArgumentException>(bf16.Run).Message, StringComparison.Ordinal);
        Assert.Contains("products of F8_E4M3", Assert.Throws<ArgumentException>(fp8.Run).Message, StringComparison.Ordinal);
    }

    // 1 - 2 xy / (xx + yy).
    private static double Difference(float[] x, double[] y)
    {
        double xy = 0, both = 0;
        for (var i = 0; i < x.Length; i++)
        {
            xy += x[i] * y[i];
            both += ((double)x[i] * x[i]) + (y[i] * y[i]);
        }

        return both == 0 ? 0 : 1 - (2 * xy / both);
    }

    private sealed class Case : IDisposable
    {
        private const int Sequences = 2;
        private readonly AttentionLayout layout;
        private readonly KernelThreads threads;
        private readonly List<NativeBuffer> buffers = [];
        private readonly Random random = new(11);
        private readonly int[] starts;
        private readonly MatrixView query, key, shared, value, doutput, output, logSums, dquery, dkey, dshared, dvalue;
        private readonly double[] expectedOutput, expectedQuery, expectedKey, expectedShared, expectedValue;

        public Case(int length, int heads, int keyHeads, int keyWidth, int sharedWidth, int valueWidth, WeightFormat operands, int threads = 2, WeightFormat rows = WeightFormat.F32)
        {
            layout = new AttentionLayout
            {
                Sequences = Sequences, Length = length, Heads = heads, KeyHeads = keyHeads, KeyWidth = keyWidth, SharedWidth = sharedWidth, ValueWidth = valueWidth,
                KeyStride = keyWidth, ValueStride = valueWidth, Scale = 1 / MathF.Sqrt(keyWidth + sharedWidth), Operands = operands,
            };
            this.threads = new KernelThreads(threads);
            var tokens = Sequences * length;

            // The second sequence holds three documents.
            starts = new int[tokens];
            for (var i = 0; i < length; i++)
                starts[length + i] = i < length / 3 ? 0 : i < length / 2 ? length / 3 : length / 2;
            (query, key, value, doutput) = (Rows(heads * layout.QueryWidth), Rows(keyHeads * keyWidth), Rows(keyHeads * valueWidth), Rows(heads * valueWidth));
            if (rows != WeightFormat.F32)
                key = MatrixView.Over(buffers[1], 0, rows, tokens, keyHeads * keyWidth);
            shared = sharedWidth == 0 ? default : Rows(sharedWidth);
            (output, logSums, dquery, dkey, dvalue) = (Rows(heads * valueWidth), Rows(heads), Rows(heads * layout.QueryWidth), Rows(keyHeads * keyWidth), Rows(keyHeads * valueWidth));
            dshared = sharedWidth == 0 ? default : Rows(keyHeads * sharedWidth);
            (expectedOutput, expectedQuery) = (new double[tokens * heads * valueWidth], new double[tokens * heads * layout.QueryWidth]);
            (expectedKey, expectedShared, expectedValue) = (new double[tokens * keyHeads * keyWidth], new double[tokens * keyHeads * sharedWidth], new double[tokens * keyHeads * valueWidth]);
        }

        public unsafe void Run()
        {
            // Whatever was in the workers' memory before must not matter: NaNs.
            for (var worker = 0; worker < threads.Count; worker++)
                new Span<byte>(threads.JobScratch(worker, 1 << 22), 1 << 22).Fill(0xFF);
            CausalAttention.Forward(layout, query, key, shared, value, starts, output, logSums, threads);
            CausalAttention.Backward(layout, query, key, shared, value, starts, logSums, doutput, dquery, dkey, dshared, dvalue, threads);
        }

        public IEnumerable<(string Name, float[] Actual, double[] Expected)> Results()
        {
            yield return ("output", Values(output), expectedOutput);
            yield return ("dquery", Values(dquery), expectedQuery);
            yield return ("dkey", Values(dkey), expectedKey);
            yield return ("dvalue", Values(dvalue), expectedValue);
            if (!dshared.IsEmpty)
                yield return ("dshared", Values(dshared), expectedShared);
        }

        public void Reference()
        {
            for (var sequence = 0; sequence < Sequences; sequence++)
            {
                for (var head = 0; head < layout.Heads; head++)
                {
                    for (var i = 0; i < layout.Length; i++)
                        Token(sequence * layout.Length, i, head, head / (layout.Heads / layout.KeyHeads));
                }
            }
        }

        public void Dispose()
        {
            threads.Dispose();
            buffers.ForEach(buffer => buffer.Dispose());
        }

        private void Token(int firstRow, int i, int head, int keyHead)
        {
            var (n, r, u, w) = (layout.KeyWidth, layout.SharedWidth, layout.ValueWidth, layout.QueryWidth);
            var (row, start) = (firstRow + i, starts[firstRow + i]);
            double[] p = new double[i + 1], dp = new double[i + 1];
            double sum = 0, delta = 0;
            for (var j = start; j <= i; j++)
            {
                double score = 0;
                for (var k = 0; k < w; k++)
                    score += query.Row(row)[(head * w) + k] * (double)Key(firstRow + j, keyHead, k);
                sum += p[j] = Math.Exp(score * layout.Scale);
            }

            for (var j = start; j <= i; j++)
            {
                p[j] /= sum;
                for (var k = 0; k < u; k++)
                {
                    double v = value.Row(firstRow + j)[(keyHead * u) + k], g = doutput.Row(row)[(head * u) + k];
                    expectedOutput[(row * layout.Heads * u) + (head * u) + k] += p[j] * v;
                    expectedValue[((firstRow + j) * layout.KeyHeads * u) + (keyHead * u) + k] += p[j] * g;
                    dp[j] += g * v;
                }

                delta += p[j] * dp[j];
            }

            for (var j = start; j <= i; j++)
            {
                var ds = layout.Scale * p[j] * (dp[j] - delta);
                for (var k = 0; k < w; k++)
                {
                    expectedQuery[(row * layout.Heads * w) + (head * w) + k] += ds * Key(firstRow + j, keyHead, k);
                    var g = ds * query.Row(row)[(head * w) + k];
                    if (k < n)
                        expectedKey[((firstRow + j) * layout.KeyHeads * n) + (keyHead * n) + k] += g;
                    else
                        expectedShared[((firstRow + j) * layout.KeyHeads * r) + (keyHead * r) + k - n] += g;
                }
            }
        }

        private float Key(int row, int keyHead, int k) => k < layout.KeyWidth ? key.Row(row)[(keyHead * layout.KeyWidth) + k] : shared.Row(row)[k - layout.KeyWidth];

        private MatrixView Rows(int cols)
        {
            var rows = Sequences * layout.Length;
            var buffer = new NativeBuffer(((long)rows * cols * sizeof(float)) + 64);
            buffers.Add(buffer);
            var view = MatrixView.Over(buffer, 0, WeightFormat.F32, rows, cols);
            for (var i = 0; i < rows; i++)
            {
                foreach (ref var x in view.Row(i))
                    x = (float)((random.NextDouble() * 4) - 2);
            }

            return view;
        }

        private static float[] Values(MatrixView view) => [.. Enumerable.Range(0, view.Rows).SelectMany(row => view.Row(row).ToArray())];
    }
}
