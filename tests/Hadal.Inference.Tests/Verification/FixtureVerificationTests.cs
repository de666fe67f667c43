using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Safetensors;
using Hadal.Inference.Model;
using Hadal.Inference.Verification;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;
using Hadal.Tests;

namespace Hadal.Inference.Tests.Verification;

public sealed class FixtureVerificationTests
{
    [Theory]
    [InlineData("tiny-v3", 100)]
    [InlineData("tiny-v3-fp8", 100)]
    [InlineData("tiny-v3-fp8-aligned", 100)]
    [InlineData("tiny-v2", 50)]
    [InlineData("tiny-v2-lite", 50)]
    [InlineData("tiny-dense-mha", 10)]
    [InlineData("tiny-dense-gqa", 10)]
    public void EveryRecordedTensorOfAFixtureIsReproduced(string name, int leastRows)
    {
        var rows = Verify(name);
        Assert.All(rows, row => Assert.True(row.Verdict != Verdict.Fail, row.ToString()));
        var passed = rows.Count(row => row.Verdict == Verdict.Pass);
        Assert.True(passed >= leastRows, $"{passed} rows");
    }

    // An error in any single tensor must show; so must one in what was recorded.
    [Theory]
    [InlineData("tiny-v3", "model.layers.2.mlp.gate.e_score_correction_bias")]
    [InlineData("tiny-v3", "model.layers.1.self_attn.kv_a_layernorm.weight")]
    [InlineData("tiny-v3", "model.layers.4.enorm.weight")]
    [InlineData("tiny-v3", "model.layers.4.eh_proj.weight")]
    [InlineData("tiny-v3", "model.layers.3.mlp.shared_experts.down_proj.weight")]
    [InlineData("tiny-v3-fp8", "model.layers.0.self_attn.o_proj.weight")]
    [InlineData("tiny-v2", "model.layers.1.mlp.experts.3.up_proj.weight")]
    [InlineData("tiny-v2-lite", "model.layers.0.self_attn.q_proj.weight")]
    [InlineData("tiny-dense-gqa", "model.layers.0.self_attn.k_proj.weight")]
    public void AWrongWeightIsSeen(string name, string tensor) =>
        Assert.Contains(Verify(name, tensor), row => row.Verdict == Verdict.Fail);

    [Theory]
    [InlineData("seq17.logits")]
    [InlineData("seq150.layer2.routed_ids")]
    [InlineData("seq1.layer3.routed_weights")]
    [InlineData("seq17.layer1.attn_out")]
    [InlineData("seq17.greedy")]
    [InlineData("seq17.mtp.logits")]
    [InlineData("seq17.mtp_prenorm.logits")]
    public void AWrongRecordIsSeen(string tensor)
    {
        var folder = Directory.CreateTempSubdirectory("hadal-").FullName;
        try
        {
            var copy = Path.Combine(folder, "expected.safetensors");
            File.WriteAllBytes(copy, File.ReadAllBytes(SharedFiles.Path("fixtures", "tiny-v3", "expected.safetensors")));
            long offset;
            using (var file = SafetensorsFile.Open(copy))
                offset = file.Find(tensor).Offset;
            using (var stream = File.OpenWrite(copy))
            {
                // The second-lowest byte of an id, the exponent of a value: 1 becomes 257, a float another one.
                stream.Position = offset + (tensor.EndsWith("ids", StringComparison.Ordinal) || tensor.EndsWith("greedy", StringComparison.Ordinal) ? 1 : 3);
                stream.WriteByte(0x41);
            }

            var rows = Verify("tiny-v3", expected: copy);
            Assert.Contains(rows, row => row.Verdict == Verdict.Fail);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Theory]
    [InlineData("tiny-v3")]
    [InlineData("tiny-v3-fp8")]
    [InlineData("tiny-v2-lite")]
    [InlineData("tiny-dense-gqa")]
    public void AModelWithoutRecordsIsVerifiedAgainstItself(string name)
    {
        using var checkpoint = Checkpoint.Open(SharedFiles.Path("fixtures", name));
        using var threads = new KernelThreads(2);
        var rows = new SelfVerification(checkpoint, new DeepSeek(checkpoint), threads).Run().ToList();
        Assert.All(rows, row => Assert.True(row.Verdict != Verdict.Fail, row.ToString()));
        Assert.True(rows.Count(row => row.Verdict == Verdict.Pass) > 30);
    }

    private static List<VerificationRow> Verify(string name, string? wrong = null, string? expected = null)
    {
        using var checkpoint = Checkpoint.Open(SharedFiles.Path("fixtures", name));
        using Checkpoint? perturbed = wrong is null ? null : new PerturbedCheckpoint(checkpoint, wrong);
        using var file = SafetensorsFile.Open(expected ?? SharedFiles.Path("fixtures", name, "expected.safetensors"));
        using var threads = new KernelThreads(2);
        var rows = new FixtureVerification(new DeepSeek(perturbed ?? checkpoint), file, threads).Run();

        // One failure is enough where one is expected.
        if (wrong is null && expected is null)
            return rows.ToList();
        var found = new List<VerificationRow>();
        foreach (var row in rows)
        {
            found.Add(row);
            if (row.Verdict == Verdict.Fail)
                break;
        }

        return found;
    }

    /// <summary>A checkpoint in which one tensor is 2% larger.</summary>
    private sealed class PerturbedCheckpoint(Checkpoint inner, string wrong) : Checkpoint
    {
        private readonly List<NativeBuffer> buffers = [];

        public override string Path => inner.Path;

        public override ModelConfig Config => inner.Config;

        public override IReadOnlyList<TensorEntry> Tensors => inner.Tensors;

        public override bool Contains(string name) => inner.Contains(name);

        public override WeightMatrix Matrix(string name, int rows, int cols)
        {
            var weight = inner.Matrix(name, rows, cols);
            if (name != wrong)
                return weight;
            var copy = new NativeBuffer((long)rows * cols * sizeof(float));
            buffers.Add(copy);
            for (var m = 0; m < rows; m++)
            {
                var row = copy.Span<float>((long)m * cols, cols);
                weight.DecodeRow(m, row);
                foreach (ref var value in row)
                    value *= 1.02f;
            }

            return WeightMatrix.Over(WeightFormat.F32, copy, rows, cols);
        }

        public override float[] Vector(string name, int length)
        {
            var vector = inner.Vector(name, length);
            return name == wrong ? [.. vector.Select(v => v * 1.02f)] : vector;
        }

        protected override void Dispose(bool disposing) => buffers.ForEach(b => b.Dispose());
    }
}
