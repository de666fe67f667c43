using System.CommandLine;
using System.Text.Json;
using Hadal.Cli.Terminals;
using Hadal.Server.Conformance;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal load</c>: what a server with OpenAI's API does under load.</summary>
internal static class LoadCommand
{
    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "load",
            "Put a mixed load on a server with OpenAI's API, and say how long its clients wait.",
            "hadal load http://localhost:8080/v1 --connections 8 --seconds 20",
            "hadal load http://localhost:8080/v1 --connections 200 --seconds 300 --drop 0.5 --json");
        var url = new Argument<string>("URL") { Description = "The API's base address, /v1 included." };
        url.Validators.Add(UsageErrors.RefuseOptionNames);
        var model = TypedOptions.Text("--model", "NAME", "The model to ask. [default: the first one the server lists]");
        var key = TypedOptions.Text("--key-variable", "NAME", "Environment variable with the server's key.");
        var connections = TypedOptions.Integer("--connections", "Clients at once. [default: 8]", 1, 10000);
        var seconds = TypedOptions.Integer("--seconds", "How long. [default: 20]", 1, 86400);
        var prompt = TypedOptions.Integer("--prompt", "Words of a short prompt; every fourth is eight times as long. [default: 64]", 1, 100000);
        var generate = TypedOptions.Integer("--generate", "Tokens of an answer. [default: 64]", 1, 100000);
        var drop = TypedOptions.Number("--drop", "Part of the answers whose client goes away in the middle. [default: 0]", static x => x is >= 0 and <= 1, "a number from 0 to 1");
        var json = TypedOptions.Flag("--json", "Print one JSON object.");
        command.Add(url);
        foreach (var option in (Option[])[model, key, connections, seconds, prompt, generate, drop, json])
            command.Add(option);
        command.SetAction(async (result, cancellation) =>
        {
            var address = ServerAddress.Parse(result.GetRequiredValue(url));
            var plan = new LoadPlan
            {
                Connections = result.GetValue(connections) ?? 8,
                Duration = TimeSpan.FromSeconds(result.GetValue(seconds) ?? 20),
                PromptWords = result.GetValue(prompt) ?? 64,
                Tokens = result.GetValue(generate) ?? 64,
                Dropped = result.GetValue(drop) ?? 0,
            };
            LoadResult measured;
            try
            {
                measured = await LoadRun.RunAsync(address, result.GetValue(model), ServerAddress.Key(result.GetValue(key)), plan, cancellation);
            }
            catch (HttpRequestException unreachable)
            {
                throw ServerAddress.Unreachable(unreachable);
            }

            if (result.GetValue(json))
                terminal.Out.WriteLine(JsonSerializer.Serialize(measured, JsonOutput.Snake));
            else
                Show(terminal, measured);
            return measured.Failed == 0 ? ExitCode.Success : ExitCode.Failed;
        });
        return command;
    }

    private static void Show(Terminal terminal, LoadResult r)
    {
        terminal.Out.WriteLine($"answers        {r.Complete} complete, {r.Dropped} left, {r.Refused} refused (429), {r.Failed} failed");
        terminal.Out.WriteLine($"tokens         {r.TokensPerSecond:0.0} a second, all clients together");
        terminal.Out.WriteLine($"first token    {r.FirstTokenP50:0.000} s half of the time, {r.FirstTokenP99:0.000} s at most in 99 of 100");
        terminal.Out.WriteLine($"between tokens {r.BetweenTokensP50 * 1e3:0.0} ms half of the time, {r.BetweenTokensP99 * 1e3:0.0} ms at most in 99 of 100");
    }
}
