using System.Globalization;
using System.Runtime.InteropServices;
using Hadal.Checkpoints;
using Hadal.Inference.Cache;
using Hadal.Inference.Model;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;
using Hadal.Numerics.Kernels.Integer;
using Hadal.Numerics.Threading;

namespace Hadal.Inference.Verification;

/// <summary>
/// What can be checked of a model without golden values, on the machine at hand: every kernel against its reference, and that the result of a forward pass
/// does not depend on how it is computed.
/// </summary>
public sealed class SelfVerification
{
    private const int PromptLength = 24;
    private const int Seed = 20241227;

    // Absorbed and naive attention round differently; the fixtures, with logits of spread 3, stay within 2e-5 of each other.
    private const double RelativeTolerance = 1e-4;

    private readonly Checkpoint checkpoint;
    private readonly DeepSeek model;
    private readonly KernelThreads threads;

    /// <summary>Prepares the checks.</summary>
    /// <param name="checkpoint">The model's checkpoint.</param>
    /// <param name="model">The model.</param>
    /// <param name="threads">Pool to run on.</param>
    public SelfVerification(Checkpoint checkpoint, DeepSeek model, KernelThreads threads)
    {
        this.checkpoint = checkpoint;
        this.model = model;
        this.threads = threads;
    }

    /// <summary>Makes every check, one row after the other.</summary>
    public IEnumerable<VerificationRow> Run()
    {
        foreach (var format in Enum.GetValues<WeightFormat>())
        {
            var action = new FormatAction { Format = format, Threads = threads };
            WeightFormats.Dispatch(format, ref action);
            yield return action.DecodeRow!;
            yield return action.ProductRow!;
            if (action.RoundedRow is { } row)
                yield return row;
        }

        var random = new Random(Seed);
        var length = Math.Min(PromptLength, model.Config.MaxPositionEmbeddings);
        var prompt = Enumerable.Range(0, length).Select(_ => random.Next(model.Config.VocabSize)).ToArray();
        var straight = Logits(model, prompt, length, threads, new ForwardOptions());
        yield return Same("prefill = token by token", Logits(model, prompt, 1, threads, new ForwardOptions()), straight);
        yield return Same("prefill = chunks of 5", Logits(model, prompt, 5, threads, new ForwardOptions()), straight);
        using (var one = new KernelThreads(1))
            yield return Same($"{threads.Count} threads = 1 thread", Logits(model, prompt, length, one, new ForwardOptions()), straight);
        if (model.MtpModules > 0)
            yield return Same("with = without MTP modules", Logits(new DeepSeek(checkpoint, dropMtp: true), prompt, length, threads, new ForwardOptions()), straight);
        foreach (var cache in new[] { CacheFormat.BF16, CacheFormat.Q8 })
        {
            var options = new ForwardOptions { Cache = cache };
            var stored = Logits(model, prompt, length, threads, options);
            yield return Same($"{cache} cache, token by token", Logits(model, prompt, 1, threads, options), stored);
            yield return Close($"{cache} ~ F32 cache", stored, straight);
        }

        if (checkpoint.Tensors.Any(static tensor => BfloatMatMul.Has(tensor.Format)))
        {
            var rounding = new ForwardOptions { Activations = ActivationPrecision.BF16 };
            var rounded = Logits(model, prompt, length, threads, rounding);
            yield return Same("BF16 activations, token by token", Logits(model, prompt, 1, threads, rounding), rounded);
            yield return Close("BF16 ~ F32 activations", rounded, straight);
        }

        if (model.Config.IsLatentAttention)
        {
            var naive = Logits(model, prompt, length, threads, new ForwardOptions { Attention = AttentionForm.Naive });
            yield return VerificationRow.Compare("model", "naive ~ absorbed attention", naive, straight, RelativeTolerance * Math.Max(1, MaxAbs(straight)));
        }
    }

    private static VerificationRow Close(string name, float[] actual, float[] expected) => new(
        "model", name, VerificationRow.MaxDifference(actual, expected), null, Verdict.Info,
        string.Create(CultureInfo.InvariantCulture, $"of logits up to {MaxAbs(expected):0.###}; calc_diff {VerificationRow.CalcDiff(actual, expected):0.0e+0}"));

    private static double MaxAbs(float[] values) => values.Max(static v => Math.Abs((double)v));

    private static VerificationRow Same(string name, float[] actual, float[] expected)
    {
        var bits = MemoryMarshal.Cast<float, int>(actual).SequenceEqual(MemoryMarshal.Cast<float, int>(expected));
        var finite = !Array.Exists(actual, static v => !float.IsFinite(v));
        return new VerificationRow(
            "model", name, VerificationRow.MaxDifference(actual, expected), 0, bits && finite ? Verdict.Pass : Verdict.Fail, finite ? "bit for bit" : "logits are not finite");
    }

    private static float[] Logits(DeepSeek model, int[] prompt, int chunk, KernelThreads threads, ForwardOptions options)
    {
        using var pool = new CachePool(model.Config, prompt.Length, format: options.Cache);
        using var cache = new SequenceCache(pool);
        var context = new ForwardContext(threads, options);
        var batch = new ForwardBatch();
        var logits = new List<float>();
        for (var start = 0; start < prompt.Length; start += chunk)
        {
            batch.Clear();
            batch.Add(cache, prompt.AsSpan(start, Math.Min(chunk, prompt.Length - start)), LogitRequest.All);
            logits.AddRange(model.Forward(batch, context).Logits);
        }

        return [.. logits];
    }

    // One format: decoding against its reference, and the matrix kernel against plain sums of what was decoded.
    private struct FormatAction : IFormatAction
    {
        public WeightFormat Format;
        public KernelThreads Threads;
        public VerificationRow? DecodeRow;
        public VerificationRow? ProductRow;
        public VerificationRow? RoundedRow;

        public void Invoke<TFormat>()
            where TFormat : struct, IWeightFormat<TFormat>
        {
            const int Rows = 9, Tokens = 7;
            var cols = TFormat.BlockLength == 1 ? 200 : 3 * TFormat.BlockLength;
            var random = new Random(Seed);
            using var memory = new NativeBuffer((long)Rows * cols / TFormat.BlockLength * TFormat.BlockBytes);
            var bytes = memory.Span<byte>(0, (int)memory.ByteLength);
            FillFinite<TFormat>(random, bytes);
            using var scales = new NativeBuffer(2 * sizeof(float) * ((Rows + 127) / 128));
            scales.Span<float>(0, 2).Fill(0.25f);
            var weight = WeightMatrix.Over(Format, memory, Rows, cols, Format == WeightFormat.F8_E4M3 ? scales : null);

            float[] decoded = new float[Rows * cols], reference = new float[Rows * cols];
            TFormat.Decode(bytes, decoded);
            TFormat.DecodeReference(bytes, reference);
            DecodeRow = Bits($"{Format} decode", decoded, reference);

            var x = new float[Tokens * cols];
            foreach (ref var v in x.AsSpan())
                v = (random.NextSingle() * 2) - 1;
            float[] product = new float[Tokens * Rows], plain = new float[Tokens * Rows];
            MatMul.Multiply(weight, x, product, Tokens, Threads);
            var row = new float[cols];
            for (var m = 0; m < Rows; m++)
            {
                weight.DecodeRow(m, row);
                for (var t = 0; t < Tokens; t++)
                    plain[(t * Rows) + m] = DotProduct.DotReference(x.AsSpan(t * cols, cols), row);
            }

            ProductRow = Bits($"{Format} product", product, plain);
            if (WeightFormats.HasIntegerProducts(Format))
                RoundedRow = IntegerProduct(weight, x, Tokens, TFormat.BlockLength, Threads);
            else if (BfloatMatMul.Has(Format))
                RoundedRow = BfloatProduct(weight, x, Tokens, Threads);
        }

        // Many tokens at once, and the same tokens one by one: the two ways that the kernels take.
        private static VerificationRow IntegerProduct(WeightMatrix weight, float[] x, int tokens, int block, KernelThreads threads)
        {
            var rowBytes = IntegerActivations.RowBytes(weight.Cols, block);
            var rows = new byte[tokens * rowBytes];
            for (var t = 0; t < tokens; t++)
                IntegerActivations.QuantizeRow(x.AsSpan(t * weight.Cols, weight.Cols), block, rows.AsSpan(t * rowBytes, rowBytes));
            float[] plain = new float[tokens * weight.Rows], actual = new float[2 * plain.Length];
            IntegerMatMul.MultiplyReference(weight, rows, plain, tokens);
            IntegerMatMul.Multiply(weight, rows, actual.AsSpan(0, plain.Length), tokens, new byte[IntegerMatMul.WorkspaceBytes(weight, tokens)], threads);
            for (var t = 0; t < tokens; t++)
                IntegerMatMul.Multiply(weight, rows.AsSpan(t * rowBytes, rowBytes), actual.AsSpan(plain.Length + (t * weight.Rows), weight.Rows), 1, new byte[IntegerMatMul.WorkspaceBytes(weight, 1)], threads);
            return Bits($"{weight.Format} integer product", actual, [.. plain, .. plain]);
        }

        // As above.
        private static VerificationRow BfloatProduct(WeightMatrix weight, float[] x, int tokens, KernelThreads threads)
        {
            float[] plain = new float[tokens * weight.Rows], actual = new float[2 * plain.Length];
            var workspace = new byte[BfloatMatMul.WorkspaceBytes(tokens, weight.Cols)];
            BfloatMatMul.MultiplyReference(weight, x, plain, tokens);
            BfloatMatMul.Multiply([new Product(weight, 0, tokens, 0)], x, actual.AsSpan(0, plain.Length), workspace, threads);
            for (var t = 0; t < tokens; t++)
                BfloatMatMul.Multiply([new Product(weight, 0, 1, 0)], x.AsSpan(t * weight.Cols, weight.Cols), actual.AsSpan(plain.Length + (t * weight.Rows), weight.Rows), workspace, threads);
            return Bits($"{weight.Format} bfloat16 product", actual, [.. plain, .. plain]);
        }

        private static VerificationRow Bits(string name, float[] actual, float[] expected)
        {
            var same = MemoryMarshal.Cast<float, int>(actual).SequenceEqual(MemoryMarshal.Cast<float, int>(expected));
            return new VerificationRow("kernels", name, VerificationRow.MaxDifference(actual, expected), 0, same ? Verdict.Pass : Verdict.Fail, "bit for bit");
        }

        // Random blocks, drawn again until every value is finite: a random half-precision scale may be an infinity or NaN.
        private static void FillFinite<TFormat>(Random random, Span<byte> bytes)
            where TFormat : struct, IWeightFormat<TFormat>
        {
            var values = new float[TFormat.BlockLength];
            for (var start = 0; start < bytes.Length; start += TFormat.BlockBytes)
            {
                var block = bytes.Slice(start, TFormat.BlockBytes);
                do
                {
                    random.NextBytes(block);
                    TFormat.DecodeReference(block, values);
                }
                while (Array.Exists(values, static v => !(Math.Abs(v) < 1e6f)));
            }
        }
    }
}
