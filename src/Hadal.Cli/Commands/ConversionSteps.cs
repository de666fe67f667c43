using Hadal.Checkpoints.Conversion;
using Hadal.Cli.Terminals;

namespace Hadal.Cli.Commands;

/// <summary>A conversion's progress on a line of the terminal, by the bytes that are written.</summary>
internal sealed class ConversionSteps(ProgressLine line) : IProgress<ConversionProgress>
{
    /// <inheritdoc/>
    public void Report(ConversionProgress value) => line.Report(value.ByteCount == 0 ? 1 : (double)value.BytesDone / value.ByteCount);
}
