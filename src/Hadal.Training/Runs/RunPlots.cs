using System.Text.Json.Nodes;
using ScottPlot;

namespace Hadal.Training.Runs;

/// <summary>Pictures of a run's metrics, as PNG and SVG: losses over tokens, and the load of each expert in each layer.</summary>
public static class RunPlots
{
    private const int Width = 1000;
    private const int Height = 600;

    /// <summary>Draws the pictures of a run into its folder, over those that are there.</summary>
    public static void Write(RunFolder folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        var lines = MetricsLog.Read(folder.Metrics).ToList();
        var steps = lines.Where(l => l.ContainsKey("main")).ToList();
        if (steps.Count == 0)
            return;
        Directory.CreateDirectory(folder.Plots);
        Save(Losses(steps, [.. lines.Where(l => l.ContainsKey("validation"))]), folder, "loss", Height);
        if (Loads(steps) is { } loads)
            Save(loads, folder, "expert-load", 140 + (60 * steps[^1]["loads"]!.AsArray().Count));
    }

    private static Plot Losses(List<JsonObject> steps, List<JsonObject> validations)
    {
        var plot = new Plot();
        var tokens = steps.Select(s => (double)s["tokens"]! / 1e6).ToArray();
        Line("main loss", Smooth([.. steps.Select(s => (double)s["main"]!)]), Colors.Navy);
        for (var d = 0; d < steps[0]["mtp"]!.AsArray().Count; d++)
            Line($"MTP {d + 1}", Smooth([.. steps.Select(s => (double)s["mtp"]![d]!)]), Colors.DarkOrange);
        if (validations.Count > 0)
        {
            var held = plot.Add.ScatterPoints(
                validations.Select(v => (double)v["tokens"]! / 1e6).ToArray(), validations.Select(v => (double)v["validation"]!["main"]!).ToArray(), Colors.Crimson);
            held.LegendText = "held-out main loss";
            held.MarkerSize = 8;
        }

        plot.XLabel("tokens, millions");
        plot.YLabel("cross-entropy, nats a token");
        plot.ShowLegend(Alignment.UpperRight);
        return plot;

        void Line(string name, double[] values, Color colour)
        {
            var line = plot.Add.ScatterLine(tokens, values, colour);
            line.LegendText = name;
            line.LineWidth = 2;
        }
    }

    // As figure 9 of DeepSeek-V3's report: load relative to an even one, over the last tenth of the steps.
    private static Plot? Loads(List<JsonObject> steps)
    {
        var last = steps.TakeLast(Math.Max(1, steps.Count / 10)).Select(s => s["loads"]!.AsArray()).ToList();
        var layers = steps[^1]["load_layers"]!.AsArray().Select(l => (int)l!).ToArray();
        if (layers.Length == 0)
            return null;
        var experts = last[0].Max(l => l!.AsArray().Count);
        var relative = new double[layers.Length, experts];
        for (var row = 0; row < layers.Length; row++)
        {
            var counts = new double[experts];
            foreach (var step in last)
            {
                for (var e = 0; e < experts; e++)
                    counts[e] += (double)step[row]![e]!;
            }

            var mean = Math.Max(1e-9, counts.Average());
            for (var e = 0; e < experts; e++)
                relative[row, e] = counts[e] / mean;
        }

        var plot = new Plot();
        var map = plot.Add.Heatmap(relative);
        map.Colormap = new ScottPlot.Colormaps.Viridis();
        map.ManualRange = new(0, Math.Max(2, Math.Min(4, relative.Cast<double>().Max())));
        var bar = plot.Add.ColorBar(map);
        bar.Label = "load relative to the mean";
        plot.XLabel("expert");
        plot.YLabel("layer");

        // The map's first row is on top; MTP modules are the last rows.
        var main = layers.Length - steps[^1]["mtp"]!.AsArray().Count;
        plot.Axes.Left.SetTicks([.. layers.Select((_, i) => (double)(layers.Length - 1 - i))], [.. layers.Select((l, i) => i < main ? $"{l}" : "MTP")]);
        plot.Axes.Margins(0, 0);
        return plot;
    }

    private static double[] Smooth(double[] values)
    {
        // Short runs as they are; long ones so that a line can be seen.
        var keep = 1 - (1.0 / Math.Clamp(values.Length / 50, 1, 50));
        var smooth = new double[values.Length];
        for (var i = 0; i < values.Length; i++)
            smooth[i] = i == 0 ? values[0] : (keep * smooth[i - 1]) + ((1 - keep) * values[i]);
        return smooth;
    }

    private static void Save(Plot plot, RunFolder folder, string name, int height)
    {
        plot.SavePng(Path.Combine(folder.Plots, $"{name}.png"), Width, height);
        plot.SaveSvg(Path.Combine(folder.Plots, $"{name}.svg"), Width, height);
    }
}
