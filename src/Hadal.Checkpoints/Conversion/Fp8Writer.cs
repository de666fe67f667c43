using System.Runtime.InteropServices;
using System.Text.Json;
using Hadal.Checkpoints.Files;
using Hadal.Checkpoints.Safetensors;
using Hadal.Numerics;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Checkpoints.Conversion;

/// <summary>Writes the files of an FP8 folder, a few strips of 128 rows in memory at a time.</summary>
internal sealed class Fp8Writer(
    Checkpoint source,
    Fp8ConversionOptions options,
    KernelThreads threads,
    IProgress<ConversionProgress>? progress,
    CancellationToken cancellation)
{
    /// <summary>Codes held at a time, unless one strip of 128 rows takes more.</summary>
    private const long ChunkBytes = 8 << 20;

    private readonly GroupEncoder plain = new(threads);
    private readonly List<TensorReport> reports = [];
    private byte[] codes = [];
    private RoundingError[] errors = [];
    private long done;

    /// <summary>Writes all files, and the index when there are several.</summary>
    public ConversionReport WriteShards(string folder, IReadOnlyList<Fp8Shard> shards)
    {
        var total = shards.Sum(shard => shard.ByteLength);
        var count = shards.Sum(shard => shard.Tensors.Count);
        for (var i = 0; i < shards.Count; i++)
        {
            var name = Path.Combine(folder, Fp8Shards.NameOf(i, shards.Count));
            using var writer = new SafetensorsWriter(name, shards[i].Entries, new Dictionary<string, string> { ["format"] = "pt" });
            foreach (var tensor in shards[i].Tensors)
            {
                cancellation.ThrowIfCancellationRequested();
                reports.Add(Fp8Conversion.IsQuantized(tensor.Name) ? Quantize(tensor, writer) : Copy(tensor, writer));
                done += reports[^1].ByteLength;
                progress?.Report(new ConversionProgress(reports[^1], reports.Count, count, done, total));
            }

            writer.Complete();
        }

        if (shards.Count > 1)
            WriteIndex(folder, shards, total);
        return new ConversionReport(folder, reports, total, []);
    }

    private static void WriteIndex(string folder, IReadOnlyList<Fp8Shard> shards, long total)
    {
        using var stream = new FileStream(Path.Combine(folder, SafetensorsCheckpoint.IndexName), FileMode.CreateNew);
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        json.WriteStartObject();
        json.WriteStartObject("metadata");
        json.WriteNumber("total_size", total);
        json.WriteEndObject();
        json.WriteStartObject("weight_map");
        for (var i = 0; i < shards.Count; i++)
        {
            foreach (var entry in shards[i].Entries)
                json.WriteString(entry.Name, Fp8Shards.NameOf(i, shards.Count));
        }

        json.WriteEndObject();
        json.WriteEndObject();
    }

    /// <summary>A tensor as it is, whatever its shape; re-encoding a format into itself changes no bit.</summary>
    private TensorReport Copy(TensorEntry tensor, SafetensorsWriter writer)
    {
        RowSource rows = tensor.Shape.Count == 1
            ? new VectorRow(source.Vector(tensor.Name, checked((int)tensor.Shape[0])))
            : new StackedRows(Matrix(tensor));
        var error = plain.Encode(rows, tensor.Format, (source.Path, tensor.Name), writer.Write, cancellation);
        return Report(tensor, tensor.Format, tensor.ByteLength, error);
    }

    private TensorReport Quantize(TensorEntry tensor, SafetensorsWriter writer)
    {
        var matrix = Matrix(tensor);
        var strips = Fp8Blocks.Count(matrix.Rows);
        var scales = new float[strips * Fp8Blocks.Count(matrix.Cols)];
        var stripBytes = checked(Fp8Blocks.Size * matrix.Cols);
        var atOnce = (int)Math.Clamp(ChunkBytes / stripBytes, 1, strips);
        if (codes.Length < stripBytes * atOnce)
            codes = new byte[stripBytes * atOnce];
        if (errors.Length < atOnce)
            errors = new RoundingError[atOnce];
        var total = default(RoundingError);
        for (var first = 0; first < strips; first += atOnce)
        {
            cancellation.ThrowIfCancellationRequested();
            var count = Math.Min(atOnce, strips - first);
            Array.Clear(errors, 0, count);
            threads.Run(count, 1, new Job(threads, matrix, (source.Path, tensor.Name), options.PowerOfTwoScales ? ScaleKind.PowerOfTwo : ScaleKind.Float32, first, codes, scales, errors));
            for (var i = 0; i < count; i++)
                total.Add(errors[i]);
            writer.Write<byte>(codes.AsSpan(0, Math.Min(count * stripBytes, (matrix.Rows - (first * Fp8Blocks.Size)) * matrix.Cols)));
        }

        writer.Write<float>(scales);
        return Report(tensor, WeightFormat.F8_E4M3, ((long)matrix.Rows * matrix.Cols) + (scales.Length * (long)sizeof(float)), total);
    }

    private WeightMatrix Matrix(TensorEntry tensor) =>
        tensor.Shape.Count == 2
            ? source.Matrix(tensor.Name, checked((int)tensor.Shape[0]), checked((int)tensor.Shape[1]))
            : throw BadFile.Tensor(tensor.File, tensor.Name, $"expected a vector or a matrix, found shape {BadFile.Shape(tensor.Shape)}");

    private static TensorReport Report(TensorEntry tensor, WeightFormat target, long bytes, in RoundingError error) =>
        new(tensor.Name, tensor.Format, target, tensor.Shape, bytes, error.MaxAbsolute, error.RelativeRms, error.CalcDiff);

    private readonly unsafe struct Job(
        KernelThreads threads,
        WeightMatrix matrix,
        (string File, string Tensor) name,
        ScaleKind kind,
        int first,
        byte[] codes,
        float[] scales,
        RoundingError[] errors) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var cols = matrix.Cols;
            var blocks = Fp8Blocks.Count(cols);
            var memory = threads.Scratch(worker, ((long)Fp8Blocks.Size + 1) * cols * sizeof(float));
            for (var i = start; i < end; i++)
            {
                var strip = first + i;
                var rows = Math.Min(Fp8Blocks.Size, matrix.Rows - (strip * Fp8Blocks.Size));
                var values = new Span<float>(memory, rows * cols);
                for (var r = 0; r < rows; r++)
                    matrix.DecodeRow((strip * Fp8Blocks.Size) + r, values.Slice(r * cols, cols));
                GroupEncoder.RefuseNonFinite(values, name);
                var encoded = codes.AsSpan(i * Fp8Blocks.Size * cols, rows * cols);
                var stripScales = scales.AsSpan(strip * blocks, blocks);
                Fp8Blocks.Encode(values, rows, cols, encoded, stripScales, kind);
                var decoded = new Span<float>(memory + ((long)Fp8Blocks.Size * cols * sizeof(float)), cols);
                fixed (byte* data = encoded)
                fixed (float* scale = stripScales)
                {
                    var written = new WeightMatrix(WeightFormat.F8_E4M3, data, rows, cols, scale);
                    for (var r = 0; r < rows; r++)
                    {
                        written.DecodeRow(r, decoded);
                        errors[i].Add(values.Slice(r * cols, cols), decoded);
                    }
                }
            }
        }
    }
}
