using System.Text.Json;
using Hadal.Cli.Terminals;
using Hadal.Numerics.Threading;
using Hadal.Training.Benchmarks;
using Hadal.Training.Precision;
using Hadal.Training.Presets;

namespace Hadal.Cli.Commands;

/// <summary>The part of <c>hadal bench</c> that measures training steps: 16 sequences of 256 tokens each.</summary>
internal static class TrainingSteps
{
    private const int Sequences = 16;
    private const int SequenceLength = 256;
    private const double Seconds = 12;

    /// <summary>Measures and shows.</summary>
    public static void Measure(Terminal terminal, string shape, TrainingPrecision precision, int? threads, bool json, CancellationToken cancellation)
    {
        var config = Find(shape);
        using var pool = new KernelThreads(threads);
        var r = TrainingBenchmark.Run(config, precision, Sequences, SequenceLength, Seconds, pool, cancellation);
        if (json)
        {
            terminal.Out.WriteLine(JsonSerializer.Serialize(r, JsonOutput.Snake));
            return;
        }

        var count = ParameterTotals.Of(config);
        terminal.Out.WriteLine($"model          {(count.Total + count.Mtp) / 1e6:0.0} M parameters, {ParameterTotals.TrainingFlopsPerToken(config, SequenceLength) / 1e6:0.0} MFLOP a token");
        terminal.Out.WriteLine($"training       {r.TokensPerSecond:0} tokens/s, {r.GigaflopsPerSecond:0} GFLOP/s ({Sequences} x {SequenceLength} tokens a step, {precision.ToString().ToLowerInvariant()}, {pool.Count} threads)");
        terminal.Out.WriteLine($"a step         {r.PassSeconds * 1e3:0} ms forward and backward, {r.OptimizerSeconds * 1e3:0} ms AdamW");
        terminal.Out.WriteLine($"memory         {r.PeakBytes / 1e9:0.00} GB at most, {r.GcBytesPerStep} managed bytes a step");
    }

    private static Checkpoints.Config.ModelConfig Find(string shape)
    {
        try
        {
            return Shapes.Find(shape);
        }
        catch (ArgumentException unknown)
        {
            throw new CommandException(unknown.Message, "see 'hadal bench --help'");
        }
    }
}
