namespace Hadal.Numerics.Formats;

/// <summary>
/// DeepSeek's FP8 weights: <see cref="F8_E4M3"/> codes with one float32 scale for each block of 128x128 (the checkpoint's <c>weight_scale_inv</c>),
/// W = code * scale.
/// </summary>
/// <remarks>Source: DeepSeek-V3 report, section 3.3.2; README_WEIGHTS and inference/fp8_cast_bf16.py of deepseek-ai/DeepSeek-V3.</remarks>
public static class Fp8Blocks
{
    /// <summary>Rows and columns of a block; those at the lower and right edge may be smaller.</summary>
    public const int Size = WeightMatrix.ScaleBlock;

    /// <summary>Blocks that cover <paramref name="length"/> rows or columns.</summary>
    public static int Count(int length) => (int)(((long)length + Size - 1) / Size);

    /// <summary>Quantises a matrix: scale = max |w| / 448 of a block, code = e4m3(w / scale), a true division.</summary>
    /// <param name="matrix">[rows, cols]. A large matrix may be given in strips of 128 rows.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="cols">Columns.</param>
    /// <param name="codes">Receives [rows, cols].</param>
    /// <param name="scales">Receives [ceil(rows/128), ceil(cols/128)], all finite and positive; 1 for a block of zeros.</param>
    /// <param name="kind">Kind of scales.</param>
    /// <remarks>NaN and infinities play no part in the scale; a NaN becomes the NaN code, an infinity ±448.</remarks>
    /// <exception cref="ArgumentException">The lengths do not fit the shape.</exception>
    public static void Encode(ReadOnlySpan<float> matrix, int rows, int cols, Span<byte> codes, Span<float> scales, ScaleKind kind = ScaleKind.Float32)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(cols);
        var length = (long)rows * cols;
        if (matrix.Length != length || codes.Length != length || scales.Length != (long)Count(rows) * Count(cols))
            throw new ArgumentException($"matrix [{rows}, {cols}] needs {length} values and codes and {(long)Count(rows) * Count(cols)} scales, but {matrix.Length}, {codes.Length} and {scales.Length} were given");

        var next = 0;
        for (var row = 0; row < rows; row += Size)
        {
            var height = Math.Min(Size, rows - row);
            for (var col = 0; col < cols; col += Size)
            {
                var width = Math.Min(Size, cols - col);
                var max = 0f;
                for (var r = row; r < row + height; r++)
                    max = Math.Max(max, Fp8Scale.MaxMagnitude(matrix.Slice(r * cols + col, width)));

                var scale = max == 0 ? 1 : Fp8Scale.Of(max, kind);
                scales[next++] = scale;
                for (var r = row; r < row + height; r++)
                    F8_E4M3.EncodeQuotients(matrix.Slice(r * cols + col, width), scale, codes.Slice(r * cols + col, width));
            }
        }
    }
}
