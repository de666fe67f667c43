using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Conversion;
using Hadal.Checkpoints.Gguf;
using Hadal.Checkpoints.Tests.Files;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Checkpoints.Tests.Conversion;

public sealed class GgufConversionTests : IDisposable
{
    private readonly TempFolder folder = new();
    private readonly KernelThreads threads = new(2);

    public void Dispose()
    {
        threads.Dispose();
        folder.Dispose();
    }

    [Theory]
    [MemberData(nameof(Fixtures.Names), MemberType = typeof(Fixtures))]
    public void As_f32_every_model_comes_back_exactly_in_both_layouts(string name)
    {
        using var source = Checkpoint.Open(Fixtures.Path(name));
        foreach (var split in (bool[])[true, false])
        {
            var path = folder.File($"{name}-{split}.gguf");
            var report = Convert(source, path, new GgufConversionOptions { Type = WeightFormat.F32, SplitUpProjection = split });
            Assert.All(report.Tensors, tensor => Assert.Equal((0, 0, 0), (tensor.MaxAbsoluteError, tensor.RelativeRmsError, tensor.CalcDiff)));
            using var written = Checkpoint.Open(path);
            AssertSameConfig(source.Config, written.Config);
            AssertSameTensors(source, written, split, WeightFormat.F32);
        }
    }

    [Theory]
    [InlineData(WeightFormat.F16)]
    [InlineData(WeightFormat.BF16)]
    [InlineData(WeightFormat.Q8_0)]
    [InlineData(WeightFormat.Q4_0)]
    [InlineData(WeightFormat.Q4_K)]
    [InlineData(WeightFormat.Q5_K)]
    [InlineData(WeightFormat.Q6_K)]
    public void Every_type_holds_what_encoding_and_decoding_its_rows_gives(WeightFormat type)
    {
        using var source = Checkpoint.Open(Fixtures.Path("tiny-v2-lite"));
        var path = folder.File("a.gguf");
        var report = Convert(source, path, new GgufConversionOptions { Type = type });
        using var written = Checkpoint.Open(path);
        AssertSameConfig(source.Config, written.Config);
        AssertSameTensors(source, written, split: true, type, everyRow: 7);
        using var file = GgufFile.Open(path);
        Assert.Equal(report.ByteLength, file.Tensors.Sum(t => t.ByteLength));
        Assert.Equal(report.Tensors.Select(t => t.Name), file.Tensors.Select(t => t.Name));
        Assert.Equal(type, Find("blk.1.attn_q.weight").Target);
        Assert.Equal(WeightFormat.F32, Find("blk.1.ffn_gate_inp.weight").Target);
        Assert.Equal(WeightFormat.F32, Find("blk.1.attn_norm.weight").Target);
        Assert.Equal(type is WeightFormat.Q4_0 or WeightFormat.Q4_K or WeightFormat.Q5_K ? WeightFormat.Q6_K : type, Find("output.weight").Target);

        // Rows of 32 and 96: no whole super-blocks.
        var fallback = type switch { WeightFormat.Q4_K => WeightFormat.Q5_0, WeightFormat.Q5_K => WeightFormat.Q5_1, WeightFormat.Q6_K => WeightFormat.Q8_0, _ => type };
        Assert.Equal(fallback, Find("blk.1.attn_k_b.weight").Target);
        Assert.Equal(fallback, Find("blk.1.ffn_down_exps.weight").Target);

        // Bounds that follow from the bits of each type for weights that are normally distributed.
        var (least, most) = type switch
        {
            WeightFormat.F16 or WeightFormat.BF16 => (0, 2e-4),
            WeightFormat.Q8_0 => (2e-3, 8e-3),
            WeightFormat.Q6_K => (8e-3, 2.2e-2),
            WeightFormat.Q5_K => (2e-2, 4.5e-2),
            _ => (4e-2, 1e-1),
        };
        Assert.InRange(Find("blk.1.attn_q.weight").RelativeRmsError, least, most);

        TensorReport Find(string name) => Assert.Single(report.Tensors, t => t.Name == name);
    }

    [Fact]
    public void A_gguf_is_a_source_too_and_its_layout_can_be_changed_back()
    {
        using var source = Checkpoint.Open(Fixtures.Path("tiny-v3-fp8"));
        Convert(source, folder.File("split.gguf"), new GgufConversionOptions { Type = WeightFormat.F32 });
        using var split = Checkpoint.Open(folder.File("split.gguf"));
        Convert(split, folder.File("whole.gguf"), new GgufConversionOptions { Type = WeightFormat.F32, SplitUpProjection = false });
        Convert(source, folder.File("direct.gguf"), new GgufConversionOptions { Type = WeightFormat.F32, SplitUpProjection = false, Name = "tiny-v3-fp8" });
        Assert.Equal(File.ReadAllBytes(folder.File("direct.gguf")), File.ReadAllBytes(folder.File("whole.gguf")));
    }

    [Fact]
    public void Llama_stays_permuted_when_it_comes_from_gguf()
    {
        using var source = Checkpoint.Open(Fixtures.Path("tiny-dense-gqa"));
        Convert(source, folder.File("a.gguf"), new GgufConversionOptions { Type = WeightFormat.BF16, Name = "x" });
        using var first = Checkpoint.Open(folder.File("a.gguf"));
        Convert(first, folder.File("b.gguf"), new GgufConversionOptions { Type = WeightFormat.BF16 });
        Assert.Equal(File.ReadAllBytes(folder.File("a.gguf")), File.ReadAllBytes(folder.File("b.gguf")));
    }

    [Fact]
    public void Mtp_modules_can_be_left_out()
    {
        using var source = Checkpoint.Open(Fixtures.Path("tiny-v3"));
        var report = Convert(source, folder.File("a.gguf"), new GgufConversionOptions { Type = WeightFormat.BF16, IncludeMtp = false });
        using var written = Checkpoint.Open(folder.File("a.gguf"));
        Assert.Equal((4, 0), (written.Config.NumHiddenLayers, written.Config.NumNextnPredictLayers));
        Assert.DoesNotContain(report.Tensors, tensor => tensor.Name.StartsWith("blk.4.", StringComparison.Ordinal));
        Assert.Contains(report.Notes, note => note.Contains("left out", StringComparison.Ordinal));
    }

    [Fact]
    public void Bytes_do_not_depend_on_the_number_of_threads()
    {
        using var source = Checkpoint.Open(Fixtures.Path("tiny-dense-gqa"));
        using var one = new KernelThreads(1);
        var options = new GgufConversionOptions { Type = WeightFormat.Q4_K };
        var a = Convert(source, folder.File("a.gguf"), options);
        var b = Convert(source, folder.File("b.gguf"), options, pool: one);
        Assert.Equal(File.ReadAllBytes(folder.File("a.gguf")), File.ReadAllBytes(folder.File("b.gguf")));
        Assert.Equal(a.Tensors.Select(t => t.RelativeRmsError), b.Tensors.Select(t => t.RelativeRmsError));
    }

    [Fact]
    public void Progress_is_told_and_a_cancelled_conversion_leaves_nothing()
    {
        using var source = Checkpoint.Open(Fixtures.Path("tiny-dense-mha"));
        using var cancel = new CancellationTokenSource();
        var told = new List<ConversionProgress>();
        var progress = new Told(p =>
        {
            told.Add(p);
            if (told.Count == 5)
                cancel.Cancel();
        });
        Assert.Throws<OperationCanceledException>(() => Convert(source, folder.File("a.gguf"), new GgufConversionOptions { Type = WeightFormat.F16 }, progress, cancel.Token));
        Assert.Equal([1, 2, 3, 4, 5], told.Select(p => p.TensorsDone));
        Assert.Empty(Directory.GetFiles(folder.Path));
        Convert(source, folder.File("a.gguf"), new GgufConversionOptions { Type = WeightFormat.F16 });
        Assert.Contains("exists already", Assert.Throws<IOException>(() => Convert(source, folder.File("a.gguf"), new GgufConversionOptions { Type = WeightFormat.F16 })).Message, StringComparison.Ordinal);
    }

    private ConversionReport Convert(
        Checkpoint source,
        string path,
        GgufConversionOptions options,
        IProgress<ConversionProgress>? progress = null,
        CancellationToken? cancellation = null,
        KernelThreads? pool = null) =>
        GgufConversion.Run(source, path, options, pool ?? threads, progress, cancellation ?? TestContext.Current.CancellationToken);

    private static void AssertSameConfig(ModelConfig source, ModelConfig written) =>
        Assert.Equivalent(source with { Fp8Weights = false, Ue8m0ActivationScales = false, RopeInterleaved = true }, written, strict: true);

    private static void AssertSameTensors(Checkpoint source, Checkpoint written, bool split, WeightFormat type, int everyRow = 1)
    {
        var config = source.Config;
        var seen = 0;
        foreach (var (name, rows, cols) in Fixtures.Needed(config))
        {
            if (cols == 0)
            {
                Assert.Equal(source.Vector(name, rows), written.Vector(name, rows));
                seen++;
                continue;
            }

            var expected = source.Matrix(name, rows, cols);
            if (name.EndsWith("kv_b_proj.weight", StringComparison.Ordinal) && split)
            {
                AssertSplit(expected, written, name, config, everyRow);
                seen += 2;
                continue;
            }

            var found = written.Matrix(name, rows, cols);
            var permuted = !config.IsLatentAttention && (name.EndsWith("q_proj.weight", StringComparison.Ordinal) || name.EndsWith("k_proj.weight", StringComparison.Ordinal));
            var d = config.HeadDim;
            for (var r = 0; r < rows; r += everyRow)
            {
                // Row (pair i, member j) of a head in the file is row (member j, pair i) of the source.
                var from = permuted ? (r / d * d) + (r % d % 2 * (d / 2)) + (r % d / 2) : r;
                AssertRow(Rounded(Row(expected, from), found.Format), Row(found, r), name);
            }

            Assert.True(found.Format == WeightFormat.F32 || type != WeightFormat.F32, $"{name} is {found.Format}");
            seen++;
        }

        Assert.Equal(written.Tensors.Count, seen);
    }

    private static void AssertSplit(WeightMatrix whole, Checkpoint written, string name, ModelConfig c, int everyRow)
    {
        var key = written.Matrix(name.Replace("kv_b", "k_b", StringComparison.Ordinal), c.NumAttentionHeads * c.KvLoraRank, c.QkNopeHeadDim);
        var value = written.Matrix(name.Replace("kv_b", "v_b", StringComparison.Ordinal), c.NumAttentionHeads * c.VHeadDim, c.KvLoraRank);
        var rows = Enumerable.Range(0, whole.Rows).Select(r => Row(whole, r)).ToArray();
        for (var h = 0; h < c.NumAttentionHeads; h++)
        {
            var first = h * (c.QkNopeHeadDim + c.VHeadDim);
            for (var latent = 0; latent < c.KvLoraRank; latent += everyRow)
            {
                var column = Enumerable.Range(0, c.QkNopeHeadDim).Select(n => rows[first + n][latent]).ToArray();
                AssertRow(Rounded(column, key.Format), Row(key, (h * c.KvLoraRank) + latent), name);
            }

            for (var u = 0; u < c.VHeadDim; u++)
                AssertRow(Rounded(rows[first + c.QkNopeHeadDim + u], value.Format), Row(value, (h * c.VHeadDim) + u), name);
        }
    }

    private static void AssertRow(ReadOnlySpan<float> expected, ReadOnlySpan<float> found, string name) => Assert.True(expected.SequenceEqual(found), name);

    private static float[] Row(WeightMatrix matrix, int row)
    {
        var values = new float[matrix.Cols];
        matrix.DecodeRow(row, values);
        return values;
    }

    private static float[] Rounded(float[] values, WeightFormat format)
    {
        var bytes = new byte[WeightFormats.RowBytes(format, values.Length)];
        WeightFormats.Encode(format, values, bytes);
        var rounded = new float[values.Length];
        WeightFormats.Decode(format, bytes, rounded);
        return rounded;
    }

    private sealed class Told(Action<ConversionProgress> action) : IProgress<ConversionProgress>
    {
        public void Report(ConversionProgress value) => action(value);
    }
}
