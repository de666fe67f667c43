using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Conversion;
using Hadal.Cli.Terminals;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Threading;
using Spectre.Console;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal quantize</c>: writes a model in another format, and says what rounding did to it.</summary>
internal static class QuantizeCommand
{
    private enum Target
    {
        Fp8,
        Gguf,
    }

    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "quantize",
            "Write a model as DeepSeek's FP8 folder or as a GGUF file that llama.cpp loads, with a report of the rounding errors.",
            "hadal quantize path/to/model --to fp8 --output path/to/model-fp8",
            "hadal quantize path/to/model --to gguf --type Q4_K --output model-q4_k.gguf",
            "hadal quantize path/to/model --to gguf --type Q8_0 --drop-mtp --output model-q8_0.gguf --json");
        var model = new ModelOptions(command, ModelPlace.Argument).Threading(command);
        var to = TypedOptions.OneOf("--to", "What to write: a folder with F8_E4M3 weights in 128x128 blocks, or a GGUF file.", ("fp8", Target.Fp8), ("gguf", Target.Gguf));
        to.Required = true;
        var types = GgufConversion.Types.ToArray();
        var type = TypedOptions.OneOf<WeightFormat?>("--type", "With --to gguf: type of the matrices.", [.. types.Select(t => (t.ToString(), (WeightFormat?)t))]);
        var output = TypedOptions.Required("--output", "PATH", "The new folder or file; nothing is overwritten.");
        var ue8m0 = TypedOptions.Flag("--power-of-two-scales", "With --to fp8: scales that are powers of two (ue8m0), as DeepSeek-V3.1 has them.");
        var dropMtp = TypedOptions.Flag("--drop-mtp", "With --to gguf: leave the multi-token prediction modules out, for programs that do not know them.");
        var wholeKvB = TypedOptions.Flag("--whole-kv-b", "With --to gguf: keep the key/value up-projection in one tensor, as llama.cpp before April 2025 wants it.");
        var json = TypedOptions.Flag("--json", "Print the report as one JSON object.");
        foreach (var option in new Option[] { to, type, output, ue8m0, dropMtp, wholeKvB, json })
            command.Add(option);
        command.Validators.Add(result =>
        {
            // By its word: a value that failed to parse cannot be asked for.
            bool IsTo(string target) => result.GetResult(to)?.Tokens is [var word] && word.Value.Equals(target, StringComparison.OrdinalIgnoreCase);
            bool Given(Option option) => result.GetResult(option) is { Implicit: false };
            if (IsTo("gguf") && !Given(type))
                result.AddError("--to gguf needs --type");
            foreach (var option in new Option[] { type, dropMtp, wholeKvB }.Where(o => IsTo("fp8") && Given(o)))
                result.AddError($"{option.Name} goes with --to gguf only");
            if (IsTo("gguf") && Given(ue8m0))
                result.AddError($"{ue8m0.Name} goes with --to fp8 only");
        });
        command.SetAction((result, cancellation) =>
        {
            using var checkpoint = Checkpoint.Open(model.Path(result, terminal));
            using var threads = new KernelThreads(model.Threads(result));
            using var progress = new ProgressLine(terminal, "writing");
            var told = new ConversionSteps(progress);
            var path = result.GetRequiredValue(output);
            var report = result.GetValue(to) == Target.Fp8
                ? Fp8Conversion.Run(checkpoint, path, new Fp8ConversionOptions { PowerOfTwoScales = result.GetValue(ue8m0) }, threads, told, cancellation)
                : GgufConversion.Run(
                    checkpoint,
                    path,
                    new GgufConversionOptions { Type = result.GetValue(type), IncludeMtp = !result.GetValue(dropMtp), SplitUpProjection = !result.GetValue(wholeKvB) },
                    threads,
                    told,
                    cancellation);
            progress.Dispose();
            if (result.GetValue(json))
                terminal.Out.WriteLine(Json(report).ToJsonString(JsonOutput.Indented));
            else
                Show(terminal, checkpoint, report);
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    private static void Show(Terminal terminal, Checkpoint source, ConversionReport report)
    {
        var table = new Table().Border(TableBorder.Rounded).AddColumns("tensor", "from", "to");
        foreach (var heading in new[] { "max-abs error", "relative rms", "calc_diff" })
            table.AddColumn(new TableColumn(heading).RightAligned());
        foreach (var t in report.Tensors)
            table.AddRow(new Text(t.Name), new Text(t.Source.ToString()), new Text(t.Target.ToString()), Number(t.MaxAbsoluteError), Number(t.RelativeRmsError), Number(t.CalcDiff));
        terminal.Rich.Write(table);
        foreach (var note in report.Notes)
            terminal.Out.WriteLine($"note: {note}");
        var before = source.Tensors.Sum(t => t.ByteLength);
        terminal.Out.WriteLine($"{report.Path}: {report.Tensors.Count} tensors, {Display.Bytes(report.ByteLength)} of weights from {Display.Bytes(before)}");
    }

    private static Text Number(double value) => new(value == 0 ? "0" : value.ToString("0.0e+0", CultureInfo.InvariantCulture));

    private static JsonObject Json(ConversionReport report) => new()
    {
        ["path"] = report.Path,
        ["bytes"] = report.ByteLength,
        ["notes"] = new JsonArray([.. report.Notes.Select(n => (JsonNode)n)]),
        ["tensors"] = new JsonArray([.. report.Tensors.Select(t => (JsonNode)new JsonObject
        {
            ["name"] = t.Name,
            ["from"] = t.Source.ToString(),
            ["to"] = t.Target.ToString(),
            ["shape"] = new JsonArray([.. t.Shape.Select(d => (JsonNode)d)]),
            ["bytes"] = t.ByteLength,
            ["max_abs_error"] = t.MaxAbsoluteError,
            ["relative_rms_error"] = t.RelativeRmsError,
            ["calc_diff"] = t.CalcDiff,
        })]),
    };
}
