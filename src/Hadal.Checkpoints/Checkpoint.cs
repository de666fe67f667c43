using Hadal.Checkpoints.Config;
using Hadal.Numerics;
using Hadal.Numerics.Formats;

namespace Hadal.Checkpoints;

/// <summary>One weight tensor of a checkpoint, under its Hugging Face name.</summary>
/// <param name="Name">Hugging Face name, whatever the file calls it.</param>
/// <param name="Format">How it is stored.</param>
/// <param name="Shape">Dimensions, outermost first; a vector has one.</param>
/// <param name="ByteLength">Bytes in the file, E4M3 scales included.</param>
/// <param name="File">The file that holds it.</param>
public sealed record TensorEntry(string Name, WeightFormat Format, IReadOnlyList<long> Shape, long ByteLength, string File);

/// <summary>
/// A DeepSeek checkpoint on disk, memory-mapped and read-only: a folder of safetensors or a GGUF file, seen through Hugging Face tensor names
/// (README_WEIGHTS of deepseek-ai/DeepSeek-V3). Views returned stay valid until it is disposed. Safe for use from several threads.
/// </summary>
/// <remarks>
/// A GGUF may store the key/value up-projection split and transposed; such a file has, instead of <c>…self_attn.kv_b_proj.weight</c> [H*(N+U), C],
/// <c>…self_attn.k_b_proj.weight</c> [H*C, N] (each head transposed) and <c>…self_attn.v_b_proj.weight</c> [H*U, C].
/// Stacked experts appear one by one as <c>…mlp.experts.{e}.gate_proj.weight</c>.
/// </remarks>
public abstract class Checkpoint : IDisposable
{
    /// <summary>Opens a model folder (config.json and safetensors) or a GGUF file.</summary>
    /// <exception cref="IOException">It is not there or cannot be opened.</exception>
    /// <exception cref="InvalidDataException">A file is wrong, or asks for what Hadal does not compute; the message names file, field or tensor, expected and found.</exception>
    public static Checkpoint Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (Directory.Exists(path))
            return Safetensors.SafetensorsCheckpoint.OpenFolder(path);
        if (!File.Exists(path))
            throw new FileNotFoundException($"{path}: expected a model folder or a .gguf file, found nothing");
        return Gguf.GgufCheckpoint.OpenFile(path);
    }

    /// <summary>The folder or file it was opened from.</summary>
    public abstract string Path { get; }

    /// <summary>The checked configuration.</summary>
    public abstract ModelConfig Config { get; }

    /// <summary>Every weight tensor, in the order of the file.</summary>
    public abstract IReadOnlyList<TensorEntry> Tensors { get; }

    /// <summary>Whether a tensor of that name is there.</summary>
    public abstract bool Contains(string name);

    /// <summary>A view of a matrix.</summary>
    /// <param name="name">Hugging Face name.</param>
    /// <param name="rows">Rows it must have.</param>
    /// <param name="cols">Columns it must have.</param>
    /// <exception cref="InvalidDataException">It is missing or has another shape; the message names file, tensor, expected and found.</exception>
    public abstract WeightMatrix Matrix(string name, int rows, int cols);

    /// <summary>
    /// Reads the weights into memory and enters them into the page table, so that the first pass does not wait for a page fault at every step. Takes a
    /// few hundredths of a second for each gigabyte that the system has in its cache; may run beside anything that reads weights.
    /// </summary>
    public virtual void Populate()
    {
    }

    /// <summary>
    /// Gives the memory back that matrices take in this process. A mapped file gives back all it takes: what is still used is read again.
    /// </summary>
    /// <param name="unused">Views that are used no more.</param>
    public virtual void Release(IReadOnlyCollection<WeightMatrix> unused)
    {
    }

    /// <summary>A copy of a vector as float32 (norm weights, correction bias).</summary>
    /// <param name="name">Hugging Face name.</param>
    /// <param name="length">Length it must have.</param>
    /// <exception cref="InvalidDataException">It is missing or has another shape; the message names file, tensor, expected and found.</exception>
    public abstract float[] Vector(string name, int length);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Unmaps the files.</summary>
    protected abstract void Dispose(bool disposing);
}
