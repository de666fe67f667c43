namespace Hadal.Numerics.Tests.Kernels;

/// <summary>Attention in plain loops over double.</summary>
internal static class PlainAttention
{
    public static void Attend(int visible, Func<int, double> score, Func<int, double[]> value, Span<double> output)
    {
        var scores = Enumerable.Range(0, visible).Select(score).ToArray();
        var max = scores.Max();
        var exps = scores.Select(s => Math.Exp(s - max)).ToArray();
        var sum = exps.Sum();
        for (var l = 0; l < visible; l++)
        {
            var v = value(l);
            for (var i = 0; i < output.Length; i++)
                output[i] += exps[l] / sum * v[i];
        }
    }

    public static double Dot(float[] x, double[] y) => x.Select((v, i) => v * y[i]).Sum();

    public static double Dot(float[] x, float[] y) => x.Select((v, i) => (double)v * y[i]).Sum();
}
