using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Files;
using Hadal.Numerics;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints.Gguf;

/// <summary>
/// A GGUF model of architecture llama or deepseek2, in one file or split by llama.cpp's gguf-split (open the first), seen through Hugging Face names.
/// Both attention layouts are read: attn_kv_b, and attn_k_b with attn_v_b. Stacked experts appear one by one. A tensor that this code has no place for
/// is an error: it would change the answers.
/// </summary>
public sealed unsafe class GgufCheckpoint : Checkpoint
{
    private readonly List<GgufFile> files;
    private readonly Dictionary<string, View> views = new(StringComparer.Ordinal);
    private readonly List<TensorEntry> entries = [];

    private GgufCheckpoint(List<GgufFile> files)
    {
        this.files = files;
        var byName = new Dictionary<string, (GgufFile File, GgufTensor Tensor)>(StringComparer.Ordinal);
        foreach (var file in files)
        {
            foreach (var tensor in file.Tensors)
            {
                if (!byName.TryAdd(tensor.Name, (file, tensor)))
                    throw BadFile.Tensor(file.Path, tensor.Name, "expected each tensor in one file of the split, found it in two");
            }
        }

        Config = GgufConfig.Read(files[0].Metadata, name => byName.TryGetValue(name, out var found) ? found.Tensor.Shape : null);
        foreach (var (file, tensor) in byName.Values)
            Add(file, tensor, byName.ContainsKey);
        Config = NextnLayers.AsStored(Config, views.ContainsKey);
    }

    /// <inheritdoc/>
    public override string Path => files[0].Path;

    /// <inheritdoc/>
    public override ModelConfig Config { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<TensorEntry> Tensors => entries;

    /// <summary>The metadata, of which the tokenizer is a part.</summary>
    public GgufMetadata Metadata => files[0].Metadata;

    /// <summary>Opens a file, and with the first file of a split the others.</summary>
    /// <exception cref="IOException">A file cannot be opened.</exception>
    /// <exception cref="InvalidDataException">A file is wrong; the message names it.</exception>
    public static GgufCheckpoint OpenFile(string path)
    {
        var opened = new List<GgufFile> { GgufFile.Open(path) };
        try
        {
            OpenSplit(opened);
            return new GgufCheckpoint(opened);
        }
        catch
        {
            opened.ForEach(file => file.Dispose());
            throw;
        }
    }

    /// <inheritdoc/>
    public override bool Contains(string name) => views.ContainsKey(Resolve(name));

    /// <inheritdoc/>
    public override WeightMatrix Matrix(string name, int rows, int cols)
    {
        var view = Require(name, [rows, cols]);
        return new WeightMatrix(view.Format, view.File.Data(view.Tensor) + view.Start, rows, cols);
    }

    /// <inheritdoc/>
    public override float[] Vector(string name, int length)
    {
        var view = Require(name, [length]);
        var values = new float[length];
        WeightFormats.Decode(view.Format, new ReadOnlySpan<byte>(view.File.Data(view.Tensor) + view.Start, checked((int)view.ByteLength)), values);
        return values;
    }

    /// <inheritdoc/>
    public override void Populate() => files.ForEach(static file => file.Populate());

    /// <inheritdoc/>
    public override void Release(IReadOnlyCollection<WeightMatrix> unused) => files.ForEach(static file => file.Release());

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            files.ForEach(file => file.Dispose());
    }

    /// <summary>Opens the other files of a split, named …-00001-of-00003.gguf and so on (gguf-split of llama.cpp).</summary>
    private static void OpenSplit(List<GgufFile> opened)
    {
        var first = opened[0];
        var count = first.Metadata.GetInt32(GgufKeys.SplitCount) ?? 0;
        if (count is 0 or 1)
            return;
        if (count is < 0 or > 99999)
            throw BadFile.Field(first.Path, GgufKeys.SplitCount, $"expected 1 to 99999, found {count}");
        if (first.Metadata.RequireInt32(GgufKeys.SplitNumber) is not 0 and var number)
            throw BadFile.Field(first.Path, GgufKeys.SplitNumber, $"expected the first file of the split, number 0, found number {number}");
        var ending = $"-00001-of-{count:D5}.gguf";
        if (!first.Path.EndsWith(ending, StringComparison.Ordinal))
            throw BadFile.Error(first.Path, $"expected a name that ends in {ending}, as the first of {count} files, found another");
        for (var i = 1; i < count; i++)
        {
            var path = $"{first.Path[..^ending.Length]}-{i + 1:D5}-of-{count:D5}.gguf";
            if (!File.Exists(path))
                throw BadFile.Field(first.Path, GgufKeys.SplitCount, $"expected the file {System.IO.Path.GetFileName(path)} beside it, found none");
            opened.Add(GgufFile.Open(path));
            if (opened[i].Metadata.GetInt32(GgufKeys.SplitNumber) != i)
                throw BadFile.Field(path, GgufKeys.SplitNumber, $"expected {i}, found {opened[i].Metadata.GetInt32(GgufKeys.SplitNumber)}");
        }
    }

    private void Add(GgufFile file, GgufTensor tensor, Func<string, bool> contains)
    {
        if (tensor.Type.Format is not { } format)
            throw BadFile.Tensor(file.Path, tensor.Name, $"expected one of {string.Join(", ", Enum.GetNames<WeightFormat>().Where(name => name != nameof(WeightFormat.F8_E4M3)))}, found {tensor.Type.Name}");
        var (layer, rest) = GgufNames.Split(tensor.Name);
        if (layer >= Config.NumHiddenLayers + Config.NumNextnPredictLayers)
            throw BadFile.Tensor(file.Path, tensor.Name, $"expected layers below block_count {Config.NumHiddenLayers + Config.NumNextnPredictLayers}, found layer {layer}");
        if (layer is not null && rest == GgufNames.MergedExperts)
        {
            AddExperts(file, tensor, format, layer.Value, ["gate_proj", "up_proj"]);
            return;
        }

        if (layer is not null && Array.Find(GgufNames.ExpertStacks, stack => stack.Gguf == rest) is { Projection: not null } experts)
        {
            AddExperts(file, tensor, format, layer.Value, [experts.Projection]);
            return;
        }

        // ik_llama.cpp's converter writes the split form beside the whole one; the whole one is used.
        if (rest is "attn_k_b.weight" or "attn_v_b.weight" && contains($"{GgufNames.Block}{layer}.attn_kv_b.weight"))
            return;
        var name = GgufNames.HuggingFaceName(tensor.Name)
            ?? throw BadFile.Tensor(file.Path, tensor.Name, $"expected tensors of a {Config.Architecture} model that Hadal computes, found one it has no place for");

        // Heads that are stacked (attn_k_b, attn_v_b) become rows.
        long[] shape = tensor.Dimensions.Count == 1 ? [tensor.Dimensions[0]] : [tensor.Dimensions.Skip(1).Aggregate(static (a, b) => a * b), tensor.Dimensions[0]];
        Add(name, new View(file, tensor, format, 0, tensor.ByteLength, shape));
    }

    /// <summary>The slices of a stack of experts, each holding one projection or several one below the other.</summary>
    private void AddExperts(GgufFile file, GgufTensor tensor, WeightFormat format, int layer, string[] projections)
    {
        var dimensions = tensor.Dimensions;
        if (dimensions.Count != 3 || dimensions[2] != Config.NRoutedExperts || dimensions[1] % projections.Length != 0)
            throw BadFile.Tensor(file.Path, tensor.Name, $"expected shape [{Config.NRoutedExperts}, rows, columns], found {BadFile.Shape(tensor.Shape)}");
        var rows = dimensions[1] / projections.Length;
        var bytes = tensor.ByteLength / dimensions[2] / projections.Length;
        for (var e = 0; e < dimensions[2]; e++)
        {
            for (var p = 0; p < projections.Length; p++)
                Add($"model.layers.{layer}.mlp.experts.{e}.{projections[p]}.weight", new View(file, tensor, format, ((e * projections.Length) + p) * bytes, bytes, [rows, dimensions[0]]));
        }
    }

    private void Add(string name, View view)
    {
        if (!views.TryAdd(name, view))
            throw BadFile.Tensor(view.File.Path, view.Tensor.Name, $"expected {name} once, found it twice");
        entries.Add(new TensorEntry(name, view.Format, view.Shape, view.ByteLength, view.File.Path));
    }

    private string Resolve(string name)
    {
        for (var shared = name; shared is not null; shared = NextnLayers.Shared(shared, Config))
        {
            if (views.ContainsKey(shared))
                return shared;
        }

        return name;
    }

    private View Require(string name, long[] shape)
    {
        if (!views.TryGetValue(Resolve(name), out var view))
            throw BadFile.Tensor(Path, GgufNames.GgufName(name) ?? name, $"expected shape {BadFile.Shape(shape)} for {name}, found no such tensor");
        return view.Shape.SequenceEqual(shape)
            ? view
            : throw BadFile.Tensor(view.File.Path, view.Tensor.Name, $"expected shape {BadFile.Shape(shape)} for {name}, found {BadFile.Shape(view.Shape)}");
    }

    /// <summary>Bytes <paramref name="Start"/> and following of a tensor, as a tensor of their own.</summary>
    private sealed record View(GgufFile File, GgufTensor Tensor, WeightFormat Format, long Start, long ByteLength, long[] Shape);
}
