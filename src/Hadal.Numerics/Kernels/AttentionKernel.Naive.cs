using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;

namespace Hadal.Numerics.Kernels;

public static unsafe partial class AttentionKernel
{
    private readonly struct NaiveJob(
        LatentAttentionShape shape, float* query, KeyValueUp up, ScaleKind? fp8Scales, CachePages cache, int firstPosition, float* output, int tokens, KernelThreads threads) : IKernelJob
    {
        public void Invoke(int start, int end, int worker)
        {
            var (h, n, r, c, u, scale) = shape;
            var length = firstPosition + tokens;
            var scaleColumns = (c + WeightMatrix.ScaleBlock - 1) / WeightMatrix.ScaleBlock;
            var panelWidth = LatentRowWidth(c, r);
            var panel = JobScratch(threads, worker, ((long)length * (n + r + u + 1)) + ((long)RunningSoftmax.ChunkRows * (panelWidth + c + scaleColumns)));
            var codes = panel + ((long)RunningSoftmax.ChunkRows * panelWidth);
            var key_LN = codes + ((long)RunningSoftmax.ChunkRows * (c + scaleColumns));
            var rope_LR = key_LN + ((long)length * n);
            var value_LU = rope_LR + ((long)length * r);
            var scores_L = value_LU + ((long)length * u);
            for (var head = start; head < end; head++)
            {
                for (var first = 0; first < length; first += RunningSoftmax.ChunkRows)
                {
                    var chunk = new CacheChunk(cache, first, Math.Min(RunningSoftmax.ChunkRows, length - first), 0, panel);
                    Expand(head, chunk.Rows, chunk.Count, chunk.Width, key_LN + ((long)first * n), value_LU + ((long)first * u), codes, worker);
                    for (var l = 0; l < chunk.Count; l++)
                        new ReadOnlySpan<float>(chunk.Rows + ((long)l * chunk.Width) + c, r).CopyTo(new Span<float>(rope_LR + ((long)(first + l) * r), r));
                }

                for (var t = 0; t < tokens; t++)
                {
                    var q = query + ((((long)t * h) + head) * (n + r));
                    var visible = firstPosition + t + 1;
                    var qNope = new ReadOnlySpan<float>(q, n);
                    var qRope = new ReadOnlySpan<float>(q + n, r);
                    for (var l = 0; l < visible; l++)
                    {
                        scores_L[l] = scale * (DotProduct.Dot(qNope, new ReadOnlySpan<float>(key_LN + ((long)l * n), n))
                            + DotProduct.Dot(qRope, new ReadOnlySpan<float>(rope_LR + ((long)l * r), r)));
                    }

                    Softmax.InPlace(new Span<float>(scores_L, visible));
                    var o = output + ((((long)t * h) + head) * u);
                    new Span<float>(o, u).Clear();
                    for (var l = 0; l < visible; l++)
                        MatMul.AddScaled(value_LU + ((long)l * u), scores_L[l], o, u);
                }
            }
        }

        private void Expand(int head, float* latent, int rows, int latentStride, float* keys, float* values, float* codes, int worker)
        {
            var (_, n, _, c, u, _) = shape;
            if (fp8Scales is not { } kind)
            {
                up.ExpandKeys(head, latent, latentStride, keys, n, rows, threads, worker);
                up.ProjectValue(head, latent, latentStride, values, u, rows, threads, worker);
                return;
            }

            var scaleColumns = (c + WeightMatrix.ScaleBlock - 1) / WeightMatrix.ScaleBlock;
            var scales = codes + ((long)rows * c);
            for (var row = 0; row < rows; row++)
            {
                ActivationQuantization.QuantizeRow(
                    new ReadOnlySpan<float>(latent + ((long)row * latentStride), c), new Span<float>(codes + ((long)row * c), c), new Span<float>(scales + ((long)row * scaleColumns), scaleColumns), kind);
            }

            Fp8MatMul.MultiplyOnWorker(up.Key(head), codes, c, scales, scaleColumns, keys, n, rows, threads, worker);
            Fp8MatMul.MultiplyOnWorker(up.Value(head), codes, c, scales, scaleColumns, values, u, rows, threads, worker);
        }
    }
}
