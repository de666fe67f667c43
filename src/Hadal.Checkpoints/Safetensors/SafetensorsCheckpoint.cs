using System.Collections.Concurrent;
using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Files;
using Hadal.Numerics;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Safetensors;

/// <summary>
/// A model folder as Hugging Face publishes it: config.json with model.safetensors, or with model.safetensors.index.json and its shards. Weights are
/// F32, F16, BF16, or F8_E4M3 with <c>…_scale_inv</c> beside them (README_WEIGHTS of deepseek-ai/DeepSeek-V3). FP8 tensors are checked for NaN codes
/// and bad scales when they are first asked for.
/// </summary>
public sealed unsafe class SafetensorsCheckpoint : Checkpoint
{
    /// <summary>Name of the configuration.</summary>
    public const string ConfigName = "config.json";

    /// <summary>Name of the only file of weights.</summary>
    public const string SingleName = "model.safetensors";

    /// <summary>Name of the list of shards.</summary>
    public const string IndexName = "model.safetensors.index.json";

    /// <summary>What is appended to a weight's name to name its block scales.</summary>
    public const string ScaleSuffix = "_scale_inv";

    private readonly List<SafetensorsFile> files;
    private readonly Dictionary<string, (SafetensorsFile File, SafetensorsTensor Tensor)> tensors;
    private readonly ConcurrentDictionary<string, Lazy<NativeBuffer>> scales = new(StringComparer.Ordinal);

    private SafetensorsCheckpoint(string path, ModelConfig config, List<SafetensorsFile> files, Dictionary<string, (SafetensorsFile File, SafetensorsTensor Tensor)> tensors)
    {
        Path = path;
        this.files = files;
        this.tensors = tensors;
        Tensors = [.. tensors.Values.Where(entry => !IsScale(entry.Tensor.Name)).Select(Describe).OfType<TensorEntry>()];
        Config = NextnLayers.AsStored(config, tensors.ContainsKey);
    }

    /// <inheritdoc/>
    public override string Path { get; }

    /// <inheritdoc/>
    public override ModelConfig Config { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<TensorEntry> Tensors { get; }

    /// <summary>Opens a model folder.</summary>
    /// <exception cref="IOException">A file cannot be opened.</exception>
    /// <exception cref="InvalidDataException">A file is wrong; the message names it.</exception>
    public static SafetensorsCheckpoint OpenFolder(string folder)
    {
        var config = ConfigReader.Read(System.IO.Path.Combine(folder, ConfigName));
        var opened = new List<SafetensorsFile>();
        try
        {
            return new SafetensorsCheckpoint(folder, config, opened, OpenFiles(folder, opened));
        }
        catch
        {
            opened.ForEach(file => file.Dispose());
            throw;
        }
    }

    /// <inheritdoc/>
    public override bool Contains(string name) => tensors.ContainsKey(Resolve(name));

    /// <inheritdoc/>
    public override WeightMatrix Matrix(string name, int rows, int cols)
    {
        var (file, tensor) = Require(name, [rows, cols]);
        var format = tensor.Dtype.WeightFormat() ?? throw BadFile.Tensor(file.Path, tensor.Name, $"expected F32, F16, BF16 or F8_E4M3, found {tensor.Dtype}");
        return format == WeightFormat.F8_E4M3
            ? new WeightMatrix(format, file.Data(tensor), rows, cols, (float*)Scales(file, tensor, rows, cols).Pointer)
            : new WeightMatrix(format, file.Data(tensor), rows, cols);
    }

    /// <inheritdoc/>
    public override float[] Vector(string name, int length)
    {
        var (file, tensor) = Require(name, [length]);
        if (tensor.Dtype.WeightFormat() is not { } format || format == WeightFormat.F8_E4M3)
            throw BadFile.Tensor(file.Path, tensor.Name, $"expected F32, F16 or BF16, found {tensor.Dtype}");
        var values = new float[length];
        WeightFormats.Decode(format, new ReadOnlySpan<byte>(file.Data(tensor), checked((int)tensor.ByteLength)), values);
        return values;
    }

    /// <inheritdoc/>
    public override void Populate() => files.ForEach(static file => file.Populate());

    /// <inheritdoc/>
    public override void Release(IReadOnlyCollection<WeightMatrix> unused) => files.ForEach(static file => file.Release());

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (!disposing)
            return;
        foreach (var buffer in scales.Values)
        {
            if (buffer.IsValueCreated)
                buffer.Value.Dispose();
        }

        files.ForEach(file => file.Dispose());
    }

    private static bool IsScale(string name) => name.EndsWith(ScaleSuffix, StringComparison.Ordinal);

    /// <summary>Where a name is stored: heads and embeddings may be shared (see <see cref="NextnLayers.Shared"/>).</summary>
    private string Resolve(string name)
    {
        for (var shared = name; shared is not null; shared = NextnLayers.Shared(shared, Config))
        {
            if (tensors.ContainsKey(shared) && !(shared == NextnLayers.Head && Config.TieWordEmbeddings))
                return shared;
        }

        return name;
    }

    private (SafetensorsFile File, SafetensorsTensor Tensor) Require(string name, long[] shape)
    {
        if (!tensors.TryGetValue(Resolve(name), out var found))
            throw BadFile.Tensor(Path, name, $"expected shape {BadFile.Shape(shape)}, found no such tensor");
        return found.Tensor.Shape.SequenceEqual(shape)
            ? found
            : throw BadFile.Tensor(found.File.Path, found.Tensor.Name, $"expected shape {BadFile.Shape(shape)}, found {BadFile.Shape(found.Tensor.Shape)}");
    }

    private NativeBuffer Scales(SafetensorsFile file, SafetensorsTensor tensor, int rows, int cols) =>
        scales.GetOrAdd(tensor.Name, _ => new Lazy<NativeBuffer>(() =>
        {
            if (!tensors.TryGetValue(tensor.Name + ScaleSuffix, out var stored))
                throw BadFile.Tensor(file.Path, tensor.Name, $"expected block scales in {tensor.Name}{ScaleSuffix}, found no such tensor");
            Fp8Tensor.RefuseNaN(file, tensor);
            return Fp8Tensor.ReadScales(stored.File, stored.Tensor, rows, cols);
        })).Value;

    private TensorEntry? Describe((SafetensorsFile File, SafetensorsTensor Tensor) entry)
    {
        if (entry.Tensor.Dtype.WeightFormat() is not { } format)
            return null;
        var scaleBytes = tensors.TryGetValue(entry.Tensor.Name + ScaleSuffix, out var stored) ? stored.Tensor.ByteLength : 0;
        return new TensorEntry(entry.Tensor.Name, format, entry.Tensor.Shape, checked(entry.Tensor.ByteLength + scaleBytes), entry.File.Path);
    }

    private static Dictionary<string, (SafetensorsFile File, SafetensorsTensor Tensor)> OpenFiles(string folder, List<SafetensorsFile> opened)
    {
        var single = System.IO.Path.Combine(folder, SingleName);
        var index = System.IO.Path.Combine(folder, IndexName);
        if (File.Exists(single))
        {
            opened.Add(SafetensorsFile.Open(single));
            return opened[0].Tensors.ToDictionary(tensor => tensor.Key, tensor => (opened[0], tensor.Value), StringComparer.Ordinal);
        }

        if (!File.Exists(index))
            throw new FileNotFoundException($"{folder}: expected {SingleName} or {IndexName}, found neither");
        var shards = new Dictionary<string, SafetensorsFile>(StringComparer.Ordinal);
        var found = new Dictionary<string, (SafetensorsFile File, SafetensorsTensor Tensor)>(StringComparer.Ordinal);
        foreach (var (name, shard) in ShardIndex.Read(index))
        {
            if (!shards.TryGetValue(shard, out var file))
            {
                var shardPath = System.IO.Path.Combine(folder, shard);
                if (!File.Exists(shardPath))
                    throw BadFile.Tensor(index, name, $"expected it in the file {shard} of the same folder, found no such file");
                file = SafetensorsFile.Open(shardPath);
                opened.Add(file);
                shards.Add(shard, file);
            }

            if (!file.Tensors.TryGetValue(name, out var tensor))
                throw BadFile.Tensor(file.Path, name, $"expected this tensor, which {IndexName} places here, found none of that name");
            found.Add(name, (file, tensor));
        }

        return found;
    }
}
