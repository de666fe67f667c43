using System.Globalization;
using Hadal.Inference.Benchmarks;
using ScottPlot;

namespace Hadal.Cli.Commands;

/// <summary>
/// The roofline of a measurement (Williams, Waterman and Patterson, CACM 52(4)): arithmetic for each byte read against arithmetic for each second, both
/// logarithmic. What is left of the ridge is bound by memory, what is right of it by arithmetic.
/// </summary>
internal static class RooflinePlot
{
    /// <summary>Draws.</summary>
    /// <param name="plot">Where to.</param>
    /// <param name="figures">The measurement.</param>
    public static void Draw(Plot plot, BenchmarkResult figures)
    {
        var points = Points(figures).ToList();
        var (left, right) = (points.Min(p => p.Intensity) / 4, points.Max(p => p.Intensity) * 4);
        var peak = Math.Max(figures.PeakGflops, points.Max(p => p.Gflops));
        var ridge = figures.PeakGflops / figures.ReadBandwidthGbS;
        Roof(plot, [left, ridge], [left * figures.ReadBandwidthGbS, figures.PeakGflops], string.Create(CultureInfo.InvariantCulture, $"memory, {figures.ReadBandwidthGbS:0.0} GB/s read"));
        Roof(plot, [ridge, Math.Max(right, ridge * 2)], [figures.PeakGflops, figures.PeakGflops], string.Create(CultureInfo.InvariantCulture, $"float32 multiply-adds, {figures.PeakGflops:0} GFLOP/s"));
        foreach (var (name, intensity, gflops) in points)
        {
            var marker = plot.Add.Marker(Math.Log10(intensity), Math.Log10(gflops), size: 12);
            marker.LegendText = string.Create(CultureInfo.InvariantCulture, $"{name}: {gflops:0.#} GFLOP/s");
        }

        plot.XLabel("floating-point operations for each byte read");
        plot.YLabel("GFLOP/s");
        Logarithmic(plot.Axes.Bottom);
        Logarithmic(plot.Axes.Left);
        plot.Axes.SetLimits(Math.Log10(left), Math.Log10(Math.Max(right, ridge * 2)), Math.Log10(points.Min(p => p.Gflops)) - 0.7, Math.Log10(peak) + 0.4);
        plot.ShowLegend(Alignment.LowerRight);
    }

    // Two operations for each parameter that a token passes; a prompt reads every weight once for each chunk of 512.
    private static IEnumerable<(string Name, double Intensity, double Gflops)> Points(BenchmarkResult r)
    {
        var perToken = 2.0 * r.ActivatedParameters;
        yield return ($"decode, {r.Batch} at once", perToken / r.WeightBytesPerToken, perToken * r.DecodeTokensPerSecond / 1e9);
        yield return ($"prefill of {r.PromptTokens}", perToken * Math.Min(512, r.PromptTokens) / r.WeightsBytes, perToken * r.PrefillTokensPerSecond / 1e9);
        foreach (var c in r.Contexts)
        {
            yield return ($"attention at {c.Context}, decode", c.DecodeGflops / c.CacheReadGbS, c.DecodeGflops);
            yield return ($"attention at {c.Context}, prefill of {c.PrefillTokens}", c.DecodeGflops / c.CacheReadGbS * c.PrefillTokens, c.PrefillGflops);
        }
    }

    private static void Roof(Plot plot, double[] x, double[] y, string name)
    {
        var line = plot.Add.ScatterLine(Array.ConvertAll(x, Math.Log10), Array.ConvertAll(y, Math.Log10));
        line.LineWidth = 3;
        line.LegendText = name;
    }

    private static void Logarithmic(IAxis axis) => axis.TickGenerator = new ScottPlot.TickGenerators.NumericAutomatic
    {
        IntegerTicksOnly = true,
        LabelFormatter = static exponent => Math.Pow(10, exponent).ToString("0.###", CultureInfo.InvariantCulture),
    };
}
