using System.Globalization;
using Hadal.Inference.Benchmarks;
using ScottPlot;

namespace Hadal.Cli.Commands;

/// <summary>The figures of <c>hadal bench</c> as a picture: the roofline, or single rounds of decoding beside the bandwidth that was found around them.</summary>
internal static class BenchPlot
{
    private const int Width = 1000, Height = 640;

    // Beyond the fastest round, so that it is not at the edge.
    private const double Margin = 1.15;

    /// <summary>Whether a file of that name can be written.</summary>
    public static bool CanWrite(string file) =>
        file.EndsWith(".png", StringComparison.OrdinalIgnoreCase) || file.EndsWith(".svg", StringComparison.OrdinalIgnoreCase);

    /// <summary>Draws.</summary>
    /// <param name="file">A .png or .svg file; an older one is replaced when the new one is whole.</param>
    /// <param name="figures">The measurement.</param>
    public static void Write(string file, BenchmarkResult figures)
    {
        using var plot = new Plot();
        if (figures.Rounds.Count > 0)
            DrawRounds(plot, figures);
        else
            RooflinePlot.Draw(plot, figures);
        plot.Title(Path.GetFileName(Path.TrimEndingDirectorySeparator(figures.Model)));
        var beside = file + ".partial";
        try
        {
            if (file.EndsWith(".svg", StringComparison.OrdinalIgnoreCase))
                File.WriteAllText(beside, plot.GetSvgXml(Width, Height));
            else
                File.WriteAllBytes(beside, plot.GetImage(Width, Height).GetImageBytes(ImageFormat.Png));
            File.Move(beside, file, overwrite: true);
        }
        finally
        {
            File.Delete(beside);
        }
    }

    private static void DrawRounds(Plot plot, BenchmarkResult figures)
    {
        double[] bandwidths = [.. figures.Rounds.Select(static r => (r.ReadBandwidthBeforeGbS + r.ReadBandwidthAfterGbS) / 2)];
        double[] rates = [.. figures.Rounds.Select(static r => r.DecodeTokensPerSecond)];
        var widest = bandwidths.Max() * Margin;
        foreach (var part in (double[])[1, 0.75, 0.5])
        {
            var line = plot.Add.Line(0, 0, widest, widest * 1e9 / figures.WeightBytesPerToken * part);
            line.LineWidth = part == 1 ? 3 : 1;
            line.LegendText = part == 1 ? "weights read, and nothing else" : string.Create(CultureInfo.InvariantCulture, $"{part:0.00} of it");
        }

        var points = plot.Add.ScatterPoints(bandwidths, rates);
        points.MarkerSize = 8;
        points.LegendText = string.Create(CultureInfo.InvariantCulture, $"rounds of {figures.GenerateTokens} tokens, {figures.Batch} at once");
        plot.XLabel("read bandwidth before and after, mean, GB/s");
        plot.YLabel("decode, tokens/s");
        plot.Axes.SetLimits(0, widest, 0, Math.Max(rates.Max(), figures.WallTokensPerSecond) * Margin);
        plot.ShowLegend(Alignment.UpperLeft);
    }
}
