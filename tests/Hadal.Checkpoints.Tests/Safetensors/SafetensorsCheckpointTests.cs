using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Safetensors;
using Hadal.Checkpoints.Tests.Files;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Tests.Safetensors;

public sealed class SafetensorsCheckpointTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Fixtures.Names), MemberType = typeof(Fixtures))]
    public void Every_fixture_opens_and_holds_exactly_what_its_config_says(string name)
    {
        using var checkpoint = Checkpoint.Open(Fixtures.Path(name));
        var needed = Fixtures.Needed(checkpoint.Config).ToList();
        Assert.Equal(needed.Select(n => n.Name).Order(StringComparer.Ordinal), checkpoint.Tensors.Select(t => t.Name).Order(StringComparer.Ordinal));
        foreach (var (tensor, rows, cols) in needed)
        {
            Assert.True(checkpoint.Contains(tensor), tensor);
            if (cols == 0)
            {
                Assert.All(checkpoint.Vector(tensor, rows), value => Assert.True(float.IsFinite(value)));
                continue;
            }

            var matrix = checkpoint.Matrix(tensor, rows, cols);
            Assert.Equal(matrix.Format == WeightFormat.F8_E4M3, !matrix.RowScales(0).IsEmpty);
            var row = new float[cols];
            matrix.DecodeRow(rows - 1, row);
            Assert.Contains(row, value => value != 0);
        }

        Assert.Empty(checkpoint.Config.Assumptions);
    }

    [Fact]
    public void Fp8_decodes_to_its_master_weights_within_rounding()
    {
        using var master = Checkpoint.Open(Fixtures.Path("tiny-v3"));
        using var quantized = Checkpoint.Open(Fixtures.Path("tiny-v3-fp8"));
        var compared = 0;
        foreach (var tensor in quantized.Tensors.Where(t => t.Format == WeightFormat.F8_E4M3))
        {
            var (rows, cols) = ((int)tensor.Shape[0], (int)tensor.Shape[1]);
            var (x, y) = (new float[cols], new float[cols]);
            for (var r = 0; r < rows; r += 7)
            {
                master.Matrix(tensor.Name, rows, cols).DecodeRow(r, x);
                var matrix = quantized.Matrix(tensor.Name, rows, cols);
                matrix.DecodeRow(r, y);
                for (var c = 0; c < cols; c++)
                {
                    // Half a step: 2^-4 relative for normal codes, 2^-10 of a scale for subnormal ones.
                    Assert.True(Math.Abs(x[c] - y[c]) <= Math.Max(Math.Abs(x[c]) / 16, matrix.RowScales(r)[c / 128] / 1024) * 1.0001f, $"{tensor.Name}[{r},{c}] {x[c]} {y[c]}");
                }
            }

            compared++;
        }

        Assert.True(compared > 200, $"{compared} FP8 matrices");
    }

    [Fact]
    public void Shapes_and_missing_tensors_are_told_apart()
    {
        using var checkpoint = Checkpoint.Open(Fixtures.Path("tiny-v2"));
        var shape = Assert.Throws<InvalidDataException>(() => checkpoint.Matrix("lm_head.weight", 896, 255)).Message;
        Assert.Contains("lm_head.weight: expected shape [896, 255], found [896, 256]", shape, StringComparison.Ordinal);
        Assert.Contains("model-0000", shape, StringComparison.Ordinal);
        Assert.Contains("found no such tensor", Assert.Throws<InvalidDataException>(() => checkpoint.Vector("nope", 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_tied_head_is_the_embedding_and_absent_mtp_modules_are_said()
    {
        folder.Write("config.json", Config("\"tie_word_embeddings\": true, \"num_nextn_predict_layers\": 1,"));
        SafetensorsWriter.WriteAll(folder.File("model.safetensors"), [(new("model.embed_tokens.weight", SafetensorsDtype.F32, [2, 2]), Bytes(1, 2, 3, 4)), (new("lm_head.weight", SafetensorsDtype.F32, [2, 2]), Bytes(9, 9, 9, 9))]);
        using var checkpoint = Checkpoint.Open(folder.Path);
        var row = new float[2];
        checkpoint.Matrix("lm_head.weight", 2, 2).DecodeRow(1, row);
        Assert.Equal([3f, 4f], row);
        Assert.Equal(0, checkpoint.Config.NumNextnPredictLayers);
        Assert.Contains("num_nextn_predict_layers is 1", Assert.Single(checkpoint.Config.Assumptions), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("[1, 1]", "F32", new byte[] { 0, 0, 128, 63 }, null)]
    [InlineData("[1, 1]", "BF16", new byte[] { 128, 63 }, null)]
    [InlineData("[1, 1]", "F8_E8M0", new byte[] { 127 }, null)]
    [InlineData("[1, 1]", "F8_E8M0", new byte[] { 255 }, "positive finite")]
    [InlineData("[1, 1]", "F32", new byte[] { 0, 0, 128, 191 }, "positive finite scales, found -1")]
    [InlineData("[1, 1]", "F32", new byte[] { 0, 0, 0, 0 }, "positive finite scales, found 0")]
    [InlineData("[1, 1]", "F32", new byte[] { 0, 0, 128, 127 }, "positive finite")]
    [InlineData("[1]", "F32", new byte[] { 0, 0, 128, 63 }, "expected shape [1, 1]")]
    [InlineData("[1, 1]", "I32", new byte[] { 0, 0, 128, 63 }, "expected F32, BF16 or F8_E8M0 scales, found I32")]
    public void Block_scales_are_checked_and_converted(string shape, string dtype, byte[] scale, string? error)
    {
        folder.Write("config.json", Config(string.Empty));
        var dims = shape.Trim('[', ']').Split(',').Select(long.Parse).ToArray();
        SafetensorsWriter.WriteAll(folder.File("model.safetensors"),
        [
            (new("w.weight", SafetensorsDtype.F8_E4M3, [2, 2]), new byte[] { 0x38, 0x40, 0xB8, 0 }),
            (new("w.weight_scale_inv", Enum.Parse<SafetensorsDtype>(dtype), dims), scale),
        ]);
        using var checkpoint = Checkpoint.Open(folder.Path);
        if (error is not null)
        {
            Assert.Contains(error, Assert.Throws<InvalidDataException>(() => checkpoint.Matrix("w.weight", 2, 2)).Message, StringComparison.Ordinal);
            return;
        }

        var row = new float[2];
        checkpoint.Matrix("w.weight", 2, 2).DecodeRow(0, row);
        Assert.Equal([1f, 2f], row);
        Assert.Equal(4 + scale.Length, Assert.Single(checkpoint.Tensors).ByteLength);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(63)]
    [InlineData(700)]
    public void A_nan_code_is_found_wherever_it_is(int at)
    {
        var codes = new byte[701];
        Assert.Equal(-1, Fp8Tensor.IndexOfNaN(codes));
        codes[at] = 0xFF;
        Assert.Equal(at, Fp8Tensor.IndexOfNaN(codes));
        codes[at] = 0x7F;
        Assert.Equal(at, Fp8Tensor.IndexOfNaN(codes));
        codes[at] = 0x7E;
        Assert.Equal(-1, Fp8Tensor.IndexOfNaN(codes));
    }

    [Fact]
    public void E8m0_is_a_power_of_two()
    {
        for (var code = 0; code < 255; code++)
            Assert.Equal(Math.Pow(2, code - 127), Fp8Tensor.FromE8M0((byte)code));
    }

    [Theory]
    [InlineData("{\"weight_map\": {\"a\": \"../model.safetensors\"}}", "same folder")]
    [InlineData("{\"weight_map\": {\"a\": \"/etc/model.safetensors\"}}", "same folder")]
    [InlineData("{\"weight_map\": {\"a\": \"sub\\\\model.safetensors\"}}", "same folder")]
    [InlineData("{\"weight_map\": {\"a\": 3}}", "same folder")]
    [InlineData("{\"weight_map\": []}", "weight_map")]
    [InlineData("{\"weight_map\": {\"a\": \"s.safetensors\", \"a\": \"s.safetensors\"}}", "expected JSON")]
    [InlineData("{\"weight_map\": {\"b\": \"s.safetensors\"}}", "b: expected this tensor")]
    public void An_index_cannot_lead_astray(string index, string expected)
    {
        folder.Write("config.json", Config(string.Empty));
        SafetensorsWriter.WriteAll(folder.File("s.safetensors"), [(new("a", SafetensorsDtype.F32, [1]), Bytes(1))]);
        folder.Write("model.safetensors.index.json", index);
        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => Checkpoint.Open(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_folder_without_weights_and_a_path_without_anything_are_said()
    {
        Assert.Throws<FileNotFoundException>(() => Checkpoint.Open(folder.File("nothing")));
        Assert.Throws<FileNotFoundException>(() => Checkpoint.Open(folder.Path));
        folder.Write("config.json", Config(string.Empty));
        Assert.Contains("found neither", Assert.Throws<FileNotFoundException>(() => Checkpoint.Open(folder.Path)).Message, StringComparison.Ordinal);
    }

    private static byte[] Bytes(params float[] values) => System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()).ToArray();

    private static string Config(string more) => $$"""
        { "architectures": ["DeepseekV3ForCausalLM"], {{more}} "vocab_size": 2, "hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 1,
          "num_attention_heads": 1, "kv_lora_rank": 1, "qk_nope_head_dim": 1, "qk_rope_head_dim": 2, "v_head_dim": 1, "n_routed_experts": 0 }
        """;
}
