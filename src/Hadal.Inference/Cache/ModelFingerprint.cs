using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Hadal.Checkpoints;
using Hadal.Inference.Model;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Cache;

/// <summary>Tells models apart, so that cache rows of one are never taken for those of another.</summary>
public static class ModelFingerprint
{
    private const int MatricesRead = 256;

    /// <summary>
    /// SHA-256 of the configuration, the arithmetic, every tensor's name, format and shape, every vector, and two rows of up to 256 matrices spread evenly:
    /// fine-tuned and re-quantised models differ, and a file of any size is read within a moment.
    /// </summary>
    /// <param name="checkpoint">Open checkpoint.</param>
    /// <param name="options">Arithmetic choices, which cache rows depend on.</param>
    /// <returns>32 bytes.</returns>
    public static byte[] Compute(Checkpoint checkpoint, ForwardOptions options)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        ArgumentNullException.ThrowIfNull(options);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Add(hash, checkpoint.Config.ToString());
        Add(hash, $"{options} {AttentionKernel.OperandsFor(options.Cache)}");
        var matrices = checkpoint.Tensors.Where(t => t.Shape.Count == 2).ToList();
        var step = Math.Max(1, matrices.Count / MatricesRead);
        for (var i = 0; i < matrices.Count; i += step)
        {
            var matrix = checkpoint.Matrix(matrices[i].Name, checked((int)matrices[i].Shape[0]), checked((int)matrices[i].Shape[1]));
            hash.AppendData(matrix.Row(0));
            hash.AppendData(matrix.Row(matrix.Rows - 1));
        }

        foreach (var tensor in checkpoint.Tensors)
        {
            Add(hash, string.Create(CultureInfo.InvariantCulture, $"{tensor.Name} {tensor.Format} {string.Join('x', tensor.Shape)}"));
            if (tensor.Shape.Count == 1)
                hash.AppendData(System.Runtime.InteropServices.MemoryMarshal.AsBytes(checkpoint.Vector(tensor.Name, checked((int)tensor.Shape[0])).AsSpan()));
        }

        return hash.GetHashAndReset();
    }

    private static void Add(IncrementalHash hash, string text) => hash.AppendData(Encoding.UTF8.GetBytes(text + "\n"));
}
