using System.CommandLine;
using System.Text.Json;
using Hadal.Cli.Terminals;
using Hadal.Server.Conformance;
using Spectre.Console;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal conform</c>: whether a server speaks OpenAI's API as clients expect.</summary>
internal static class ConformCommand
{
    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "conform",
            "Ask any server with OpenAI's API what its clients expect of it, and print a table of cases.",
            "hadal conform http://localhost:8080/v1",
            "hadal conform https://example.org/v1 --model some-model --key-variable API_KEY --json");
        var url = new Argument<string>("URL") { Description = "The API's base address, /v1 included." };
        url.Validators.Add(UsageErrors.RefuseOptionNames);
        var model = TypedOptions.Text("--model", "NAME", "The model to ask. [default: the first one the server lists]");
        var key = TypedOptions.Text("--key-variable", "NAME", "Environment variable with the server's key.");
        var json = TypedOptions.Flag("--json", "Print one JSON object.");
        command.Add(url);
        foreach (var option in (Option[])[model, key, json])
            command.Add(option);
        command.SetAction(async (result, cancellation) =>
        {
            var address = ServerAddress.Parse(result.GetRequiredValue(url));
            var secret = ServerAddress.Key(result.GetValue(key));
            IReadOnlyList<ConformanceResult> results;
            try
            {
                using var progress = new ProgressLine(terminal, "cases");
                var done = 0;
                results = await ConformanceSuite.RunAsync(address, result.GetValue(model), secret, _ => progress.Report((double)++done / ConformanceSuite.Count), cancellation);
            }
            catch (HttpRequestException unreachable)
            {
                throw ServerAddress.Unreachable(unreachable);
            }

            var passed = results.Count(r => r.Passed);
            if (result.GetValue(json))
                terminal.Out.WriteLine(JsonSerializer.Serialize(new { url = address, passed, failed = results.Count - passed, cases = results }, JsonOutput.Snake));
            else
                Show(terminal, results, passed);
            return passed == results.Count ? ExitCode.Success : ExitCode.Failed;
        });
        return command;
    }

    private static void Show(Terminal terminal, IReadOnlyList<ConformanceResult> results, int passed)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumns("about", "expected", "holds");
        foreach (var r in results)
            table.AddRow(Markup.Escape(r.Group), Markup.Escape(r.Detail is null ? r.Name : $"{r.Name}: {r.Detail}"), r.Passed ? "[green]yes[/]" : "[red]no[/]");
        terminal.Rich.Write(table);
        terminal.Out.WriteLine($"{passed} of {results.Count} cases hold");
    }
}
