using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Safetensors;
using Hadal.Cli.Terminals;
using Hadal.Inference.Verification;
using Hadal.Numerics.Threading;
using Hadal.Training.Verification;
using Spectre.Console;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal verify</c>: proof on this machine that the numbers are right.</summary>
internal static class VerifyCommand
{
    private const string GoldenName = "expected.safetensors";

    // The longest prompt that checks are made with, to reckon memory with.
    private const int LongestPrompt = 256;

    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "verify",
            $"Check a model's numbers on this machine: against {GoldenName} where it lies beside the model, against itself otherwise. Exit code 1 where a check does not hold.",
            "hadal verify path/to/model",
            "hadal verify path/to/model --self",
            "hadal verify path/to/model --training",
            "hadal verify path/to/model --json");
        var model = new ModelOptions(command, ModelPlace.Argument).Threading(command);
        var self = TypedOptions.Flag("--self", "Check the model against itself even where golden values are there.");
        var training = TypedOptions.Flag("--training", $"Check losses, gradients and optimiser steps against {TrainingVerification.GoldenName} beside the model.");
        var failures = TypedOptions.Flag("--failures", "Show only what does not hold.");
        var json = TypedOptions.Flag("--json", "Print one JSON object.");
        command.Add(self);
        command.Add(training);
        command.Add(failures);
        command.Add(json);
        command.AtMostOneOf(self, training);
        command.SetAction((result, cancellation) =>
        {
            if (result.GetValue(training))
            {
                var compared = Training(terminal, model.Path(result, terminal), cancellation);
                return Task.FromResult(Report(terminal, compared, result.GetValue(json), result.GetValue(failures)));
            }

            using var loaded = model.Load(result, terminal, static config => Math.Min(LongestPrompt, config.MaxPositionEmbeddings), cancellation);
            var golden = Golden(loaded.Checkpoint.Path);
            using var expected = golden is null || result.GetValue(self) ? null : SafetensorsFile.Open(golden);
            var rows = new List<VerificationRow>();
            var check = expected is null
                ? new SelfVerification(loaded.Checkpoint, loaded.Model, loaded.Threads).Run()
                : new FixtureVerification(loaded.Model, expected, loaded.Threads).Run();
            terminal.Notice(expected is null ? $"no {GoldenName} is used: the model is checked against itself" : $"compared with {expected.Path}");
            using (var progress = new ProgressLine(terminal, "checking"))
            {
                foreach (var row in check)
                {
                    cancellation.ThrowIfCancellationRequested();
                    rows.Add(row);
                    progress.Count(rows.Count);
                }
            }

            return Task.FromResult(Report(terminal, rows, result.GetValue(json), result.GetValue(failures)));
        });
        return command;
    }

    private static int Report(Terminal terminal, List<VerificationRow> rows, bool json, bool onlyFailures)
    {
        var failed = rows.Count(r => r.Verdict == Verdict.Fail);
        if (json)
            terminal.Out.WriteLine(Json(rows, failed).ToJsonString(JsonOutput.Indented));
        else
            Show(terminal, rows, failed, onlyFailures);
        return failed == 0 && rows.Count > 0 ? ExitCode.Success : ExitCode.Failed;
    }

    private static List<VerificationRow> Training(Terminal terminal, string path, CancellationToken cancellation)
    {
        if (!File.Exists(Path.Combine(path, TrainingVerification.GoldenName)))
            throw new CommandException($"{path}: {TrainingVerification.GoldenName} is not there", "training is checked against recorded gradients only; without --training the forward pass is checked");
        using var checkpoint = Checkpoint.Open(path);
        using var threads = new KernelThreads();
        using var progress = new ProgressLine(terminal, "checking");
        var rows = new List<VerificationRow>();
        foreach (var check in new TrainingVerification(checkpoint, path, threads).Run())
        {
            cancellation.ThrowIfCancellationRequested();
            rows.Add(new VerificationRow(check.Group, check.Name, check.Error, check.Tolerance, check.Holds ? Verdict.Pass : Verdict.Fail));
            progress.Count(rows.Count);
        }

        return rows;
    }

    // Beside the model: inside its folder, or in the folder of its .gguf file.
    private static string? Golden(string model)
    {
        var path = Path.Combine(Directory.Exists(model) ? model : Path.GetDirectoryName(Path.GetFullPath(model))!, GoldenName);
        return File.Exists(path) ? path : null;
    }

    private static void Show(Terminal terminal, List<VerificationRow> rows, int failed, bool onlyFailures)
    {
        var table = new Table().Border(TableBorder.Rounded).AddColumns("group", "check");
        table.AddColumn(new TableColumn("max-abs").RightAligned()).AddColumn(new TableColumn("tolerance").RightAligned()).AddColumns("verdict", "");
        foreach (var row in rows.Where(r => !onlyFailures || r.Verdict == Verdict.Fail))
        {
            table.AddRow(
                new Text(row.Group),
                new Text(row.Name),
                new Text(Number(row.MaxAbs)),
                new Text(row.Tolerance is { } tolerance ? Number(tolerance) : string.Empty),
                Mark(row.Verdict),
                new Text(row.Detail));
        }

        if (table.Rows.Count > 0)
            terminal.Rich.Write(table);
        var passed = rows.Count(r => r.Verdict == Verdict.Pass);
        terminal.Out.WriteLine($"{passed} of {passed + failed} checks hold{(rows.Count > passed + failed ? $", {rows.Count - passed - failed} reported without a bar" : string.Empty)}");
    }

    private static Markup Mark(Verdict verdict) => verdict switch
    {
        Verdict.Pass => new Markup("[green]pass[/]"),
        Verdict.Fail => new Markup("[bold red]FAIL[/]"),
        _ => new Markup("[grey]info[/]"),
    };

    private static string Number(double value) => value == 0 ? "0" : value.ToString("0.0e+0", CultureInfo.InvariantCulture);

    private static JsonObject Json(List<VerificationRow> rows, int failed) => new()
    {
        ["passed"] = rows.Count(r => r.Verdict == Verdict.Pass),
        ["failed"] = failed,
        ["checks"] = new JsonArray([.. rows.Select(r => (JsonNode)new JsonObject
        {
            ["group"] = r.Group,
            ["name"] = r.Name,
            ["max_abs"] = double.IsFinite(r.MaxAbs) ? r.MaxAbs : null,
            ["tolerance"] = r.Tolerance,
            ["verdict"] = JsonSerializer.SerializeToNode(r.Verdict, JsonOutput.Snake),
            ["detail"] = r.Detail,
        })]),
    };
}
