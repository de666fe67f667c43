using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Tests.Kernels;

namespace Hadal.Inference.Tests.Model;

/// <summary>A checkpoint in memory whose tensors are drawn from a seed when they are first asked for; a name always gives the same values.</summary>
internal sealed class RandomCheckpoint : Checkpoint
{
    private readonly int seed;
    private readonly Func<string, WeightFormat> format;
    private readonly Dictionary<string, RandomMatrix> matrices = [];
    private readonly Dictionary<string, float[]> vectors = [];

    /// <param name="config">What the model is.</param>
    /// <param name="seed">Seed of all values.</param>
    /// <param name="format">Format of each tensor of a linear layer; BF16 where its width is no whole number of blocks. Null: all BF16.</param>
    public RandomCheckpoint(ModelConfig config, int seed, Func<string, WeightFormat>? format = null)
    {
        Config = config;
        this.seed = seed;
        this.format = format ?? (_ => WeightFormat.BF16);
    }

    public override string Path => $"seed {seed}";

    public override ModelConfig Config { get; }

    public override IReadOnlyList<TensorEntry> Tensors => [];

    /// <summary>Whether the key/value up-projection is stored as in a GGUF: keys transposed within each head, values apart.</summary>
    public bool SplitKeyValueUp { get; init; }

    /// <summary>Whether MTP modules have embeddings and heads of their own.</summary>
    public bool OwnMtpTables { get; init; }

    /// <summary>Lowest value of correction biases, which reach 0.5 above.</summary>
    public double LowestBias { get; init; } = -0.25;

    /// <summary>Gives a matrix certain values.</summary>
    public void Set(string name, int rows, int cols, float[] values) => matrices[name] = RandomMatrix.Of(WeightFormat.F32, rows, cols, values);

    /// <summary>Gives a vector certain values.</summary>
    public void Set(string name, float[] values) => vectors[name] = values;

    public override bool Contains(string name) =>
        name.EndsWith(".k_b_proj.weight", StringComparison.Ordinal) ? SplitKeyValueUp
        : !name.Contains(".shared_head.head.", StringComparison.Ordinal) && !name.Contains(".embed_tokens.", StringComparison.Ordinal)
            || name.StartsWith("model.embed_tokens", StringComparison.Ordinal) || OwnMtpTables;

    public override WeightMatrix Matrix(string name, int rows, int cols)
    {
        if (!matrices.TryGetValue(name, out var matrix))
            matrices[name] = matrix = Draw(name, rows, cols);
        return (matrix.Weight.Rows, matrix.Weight.Cols) == (rows, cols)
            ? matrix.Weight
            : throw new InvalidDataException($"{Path}: {name}: expected [{rows}, {cols}], found [{matrix.Weight.Rows}, {matrix.Weight.Cols}]");
    }

    public override float[] Vector(string name, int length)
    {
        if (!vectors.TryGetValue(name, out var vector))
        {
            var random = RandomOf(name);
            vector = name.EndsWith("correction_bias", StringComparison.Ordinal)
                ? [.. Enumerable.Range(0, length).Select(_ => (float)(LowestBias + (random.NextDouble() / 2)))]
                : [.. RandomMatrix.Normals(random, length, 0.3).Select(v => 1 + v)];
            vectors[name] = vector;
        }

        return vector.Length == length ? vector : throw new InvalidDataException($"{Path}: {name}: expected [{length}], found [{vector.Length}]");
    }

    protected override void Dispose(bool disposing)
    {
        foreach (var matrix in matrices.Values)
            matrix.Dispose();
    }

    private RandomMatrix Draw(string name, int rows, int cols)
    {
        var linear = name.StartsWith("model.layers.", StringComparison.Ordinal) && !name.Contains(".gate.", StringComparison.Ordinal) && !name.Contains(".embed_tokens.", StringComparison.Ordinal);
        var chosen = linear ? format(name) : WeightFormat.BF16;
        if (cols % WeightFormats.BlockLength(chosen) != 0)
            chosen = WeightFormat.BF16;

        // Outputs of about the size of the inputs; logits a little larger, as those of a trained model are.
        var deviation = name.Contains("embed_tokens", StringComparison.Ordinal) ? 1 : (name.Contains("head", StringComparison.Ordinal) ? 3 : 1.2) / Math.Sqrt(cols);
        return new RandomMatrix(chosen, rows, cols, RandomOf(name), deviation);
    }

    // String.GetHashCode differs from run to run.
    private Random RandomOf(string name) => new(name.Aggregate(seed, (hash, c) => unchecked((hash * 31) + c)));
}
