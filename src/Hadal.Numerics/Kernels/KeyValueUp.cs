using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels.Integer;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

/// <summary>
/// The up-projection from the latent to keys and values, W_UK and W_UV of latent attention, head by head, in whichever of the two layouts a checkpoint has.
/// </summary>
public readonly struct KeyValueUp
{
    private readonly WeightMatrix key;
    private readonly WeightMatrix value;
    private readonly int keyRows;
    private readonly int keyStride;
    private readonly int valueRows;
    private readonly int valueStride;
    private readonly int valueOffset;

    private KeyValueUp(WeightMatrix key, int keyRows, int keyStride, bool keyTransposed, WeightMatrix value, int valueRows, int valueStride, int valueOffset)
    {
        this.key = key;
        this.keyRows = keyRows;
        this.keyStride = keyStride;
        this.value = value;
        this.valueRows = valueRows;
        this.valueStride = valueStride;
        this.valueOffset = valueOffset;
        KeyTransposed = keyTransposed;
    }

    /// <summary>Whether <see cref="Key"/> gives [C, N] rather than [N, C].</summary>
    public bool KeyTransposed { get; }

    /// <summary>One matrix for both, each head's keys before its values (<c>kv_b_proj</c>).</summary>
    /// <param name="weight">[H * (N + U), C].</param>
    /// <param name="n">N, qk_nope_head_dim.</param>
    /// <param name="u">U, v_head_dim.</param>
    public static KeyValueUp Shared(WeightMatrix weight, int n, int u) => new(weight, n, n + u, false, weight, u, n + u, n);

    /// <summary>Two matrices, keys transposed within each head (<c>attn_k_b</c> and <c>attn_v_b</c> of a GGUF).</summary>
    /// <param name="key">[H * C, N].</param>
    /// <param name="value">[H * U, C].</param>
    /// <param name="c">C, kv_lora_rank.</param>
    /// <param name="u">U, v_head_dim.</param>
    public static KeyValueUp Split(WeightMatrix key, WeightMatrix value, int c, int u) => new(key, c, c, true, value, u, u, 0);

    /// <summary>W_UK of a head: [N, C], or [C, N] when <see cref="KeyTransposed"/>.</summary>
    public WeightMatrix Key(int head) => key.SliceRows(head * keyStride, keyRows);

    /// <summary>W_UV of a head: [U, C].</summary>
    public WeightMatrix Value(int head) => value.SliceRows((head * valueStride) + valueOffset, valueRows);

    /// <summary>Whether products take 8-bit activations where the weights' format has integer products.</summary>
    public bool Integer { get; init; }

    /// <summary>Checks that the matrices have the shapes that a kernel is going to read and write by.</summary>
    /// <exception cref="ArgumentException">They have not.</exception>
    internal void Check(in LatentAttentionShape shape)
    {
        var (h, n, _, c, u, _) = shape;
        var (rows, cols) = KeyTransposed ? (c, n) : (n, c);
        var keysEnd = ((h - 1L) * keyStride) + keyRows;
        var valuesEnd = ((h - 1L) * valueStride) + valueOffset + valueRows;
        if (keyRows != rows || key.Cols != cols || key.Rows < keysEnd || valueRows != u || value.Cols != c || value.Rows < valuesEnd)
            throw new ArgumentException($"{h} heads with N {n}, C {c}, U {u} do not fit keys [{key.Rows}, {key.Cols}] of {keyRows} a head and values [{value.Rows}, {value.Cols}] of {valueRows} a head");
    }

    /// <summary>query_C = W_UK^T q: carries queries of one head into the latent space, on the calling worker.</summary>
    internal unsafe void AbsorbQuery(int head, float* query, int queryStride, float* latent, int latentStride, int tokens, KernelThreads threads, int worker)
    {
        if (KeyTransposed)
            Multiply(Key(head), query, queryStride, latent, latentStride, tokens, threads, worker);
        else
            MatMul.MultiplyTransposedOnWorker(Key(head), query, queryStride, latent, latentStride, tokens, threads, worker);
    }

    /// <summary>output = W_UV o_C: carries summed latents of one head to its values, on the calling worker.</summary>
    internal unsafe void ProjectValue(int head, float* latent, int latentStride, float* output, int outputStride, int tokens, KernelThreads threads, int worker) =>
        Multiply(Value(head), latent, latentStride, output, outputStride, tokens, threads, worker);

    /// <summary>key = W_UK c: one head's keys for consecutive cache rows, on the calling worker.</summary>
    internal unsafe void ExpandKeys(int head, float* latent, int latentStride, float* keys, int keyWidth, int rows, KernelThreads threads, int worker)
    {
        if (KeyTransposed)
            MatMul.MultiplyTransposedOnWorker(Key(head), latent, latentStride, keys, keyWidth, rows, threads, worker);
        else
            Multiply(Key(head), latent, latentStride, keys, keyWidth, rows, threads, worker);
    }

    private unsafe void Multiply(WeightMatrix weight, float* x, int xStride, float* y, int yStride, int tokens, KernelThreads threads, int worker)
    {
        if (Integer && WeightFormats.HasIntegerProducts(weight.Format))
            IntegerMatMul.MultiplyOnWorker(weight, x, xStride, y, yStride, tokens, threads, worker);
        else
            MatMul.MultiplyOnWorker(weight, x, xStride, y, yStride, tokens, threads, worker);
    }
}
