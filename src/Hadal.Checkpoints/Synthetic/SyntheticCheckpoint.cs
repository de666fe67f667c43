using Hadal.Checkpoints.Config;
using Hadal.Numerics;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Synthetic;

/// <summary>
/// A model of random weights in memory, of any shape and any formats, for measuring. A matrix is made when it is asked for, a second for each gigabyte or so.
/// Values repeat after a million, which changes nothing about speed; the same seed gives the same model. Not thread-safe.
/// </summary>
public sealed unsafe class SyntheticCheckpoint : Checkpoint
{
    private const int PatternValues = 1 << 20;
    private const float Spread = 0.02f;

    private readonly NativeArena memory = new();

    // By themselves: they are filled at once, and between the matrices each would bring a large page of these into memory.
    private readonly NativeArena scaleMemory = new();
    private readonly Dictionary<string, (WeightMatrix Matrix, int Seed)> matrices = [];
    private readonly HashSet<nint> made = [];
    private readonly Dictionary<WeightFormat, byte[]> patterns = [];
    private readonly List<TensorEntry> entries = [];
    private readonly FormatMix mix;

    /// <summary>Plans the weights.</summary>
    /// <param name="config">Shape.</param>
    /// <param name="mix">Formats.</param>
    /// <param name="seed">Seed of the values.</param>
    /// <exception cref="InsufficientMemoryException">The machine has not that much memory; nothing was allocated.</exception>
    public SyntheticCheckpoint(ModelConfig config, FormatMix mix, int seed = 1)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(mix);
        this.mix = mix;

        var plan = SyntheticPlan.Of(config, mix);
        Config = plan.Config;
        new MemoryPlan(plan.Bytes, 0, 0, SystemMemory.Available()).Check();
        foreach (var (name, format, rows, cols) in plan.Matrices)
            Plan(name, format, rows, cols, seed++);
    }

    /// <inheritdoc/>
    public override string Path => $"random weights ({mix.Name})";

    /// <inheritdoc/>
    public override ModelConfig Config { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<TensorEntry> Tensors => entries;

    /// <inheritdoc/>
    public override bool Contains(string name) => matrices.ContainsKey(name);

    /// <inheritdoc/>
    public override WeightMatrix Matrix(string name, int rows, int cols)
    {
        var (matrix, seed) = matrices.GetValueOrDefault(name);
        if (matrix.IsEmpty || matrix.Rows != rows || matrix.Cols != cols)
            throw new InvalidDataException($"{Path}: tensor {name}: expected [{rows}, {cols}], found {(matrix.IsEmpty ? "none of that name" : $"[{matrix.Rows}, {matrix.Cols}]")}");
        if (made.Add((nint)Start(matrix)))
            Make(matrix, new Random(seed));
        return matrix;
    }

    /// <summary>Gives back what these matrices take; they are made again when they are next asked for.</summary>
    /// <inheritdoc/>
    public override void Release(IReadOnlyCollection<WeightMatrix> unused)
    {
        ArgumentNullException.ThrowIfNull(unused);
        foreach (var matrix in unused)
        {
            if (made.Remove((nint)Start(matrix)))
                NativeArena.Discard(Start(matrix), matrix.ByteLength);
        }
    }

    /// <summary>A norm weight of ones, or a small random correction bias.</summary>
    /// <inheritdoc/>
    public override float[] Vector(string name, int length)
    {
        ArgumentNullException.ThrowIfNull(name);
        var vector = new float[length];
        if (name.EndsWith("e_score_correction_bias", StringComparison.Ordinal))
        {
            var bias = new Random(name.Length + length);
            foreach (ref var v in vector.AsSpan())
                v = bias.NextSingle() * Spread;
        }
        else
        {
            Array.Fill(vector, 1);
        }

        return vector;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (!disposing)
            return;
        memory.Dispose();
        scaleMemory.Dispose();
        matrices.Clear();
    }

    private static byte* Start(WeightMatrix matrix)
    {
        fixed (byte* first = matrix.Row(0))
            return first;
    }

    private void Plan(string name, WeightFormat format, int rows, int cols, int seed)
    {
        var bytes = WeightFormats.RowBytes(format, cols) * rows;
        var data = memory.Take(bytes);
        float* scales = null;
        var count = format == WeightFormat.F8_E4M3 ? ((rows + 127) / 128) * ((cols + 127) / 128) : 0;
        if (count > 0)
        {
            scales = (float*)scaleMemory.Take(count * (long)sizeof(float));
            new Span<float>(scales, count).Fill(Spread / 64);
        }

        matrices.Add(name, (new WeightMatrix(format, data, rows, cols, scales), seed));
        entries.Add(new TensorEntry(name, format, [rows, cols], bytes + (count * (long)sizeof(float)), Path));
    }

    // Copies of the pattern from random blocks on, so that no two matrices are alike.
    private void Make(WeightMatrix matrix, Random random)
    {
        var (pattern, blockBytes) = (Pattern(matrix.Format), WeightFormats.BlockBytes(matrix.Format));
        var data = Start(matrix);
        for (long at = 0; at < matrix.ByteLength;)
        {
            var start = random.Next(pattern.Length / blockBytes) * blockBytes;
            var count = (int)Math.Min(pattern.Length - start, matrix.ByteLength - at);
            pattern.AsSpan(start, count).CopyTo(new Span<byte>(data + at, count));
            at += count;
        }
    }

    private byte[] Pattern(WeightFormat format)
    {
        if (patterns.TryGetValue(format, out var pattern))
            return pattern;
        var values = new float[PatternValues];
        var source = new Random(PatternValues);

        // Sums of uniforms are near enough to a normal distribution; E4M3 codes carry the scale apart.
        var spread = format == WeightFormat.F8_E4M3 ? 64 : Spread;
        foreach (ref var v in values.AsSpan())
            v = (source.NextSingle() + source.NextSingle() + source.NextSingle() + source.NextSingle() - 2) * 1.7f * spread;
        pattern = new byte[WeightFormats.RowBytes(format, PatternValues)];
        if (WeightFormats.CanEncode(format))
            WeightFormats.Encode(format, values, pattern);
        else
            FillFinite(format, pattern, source);
        patterns.Add(format, pattern);
        return pattern;
    }

    // Formats that are only read: random codes, drawn again until the block's values are of a sensible size.
    private static void FillFinite(WeightFormat format, Span<byte> bytes, Random source)
    {
        var blockBytes = WeightFormats.BlockBytes(format);
        var values = new float[WeightFormats.BlockLength(format)];
        for (var at = 0; at < bytes.Length; at += blockBytes)
        {
            var block = bytes.Slice(at, blockBytes);
            do
            {
                source.NextBytes(block);
                WeightFormats.Decode(format, block, values);
            }
            while (Array.Exists(values, static v => !(Math.Abs(v) < 1)));
        }
    }
}
