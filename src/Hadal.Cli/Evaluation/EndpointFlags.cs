using System.CommandLine;
using Hadal.Cli.Commands;
using Hadal.Evaluation.Models;

namespace Hadal.Cli.Evaluation;

/// <summary>Options that name an OpenAI-compatible server instead of a model of this machine.</summary>
internal sealed class EndpointFlags
{
    private readonly Option<string?> endpoint = TypedOptions.Text("--endpoint", "URL", "An OpenAI-compatible server instead of --model.");
    private readonly Option<string?> apiModel = TypedOptions.Text("--api-model", "NAME", "The model's name at the endpoint.");
    private readonly Option<string?> keyVariable = TypedOptions.Text("--api-key-env", "NAME", "Environment variable that holds the endpoint's key. [default: no key]");
    private readonly Option<bool> chat = TypedOptions.Flag("--chat", "Generate through chat completions; tasks with options still need completions.");
    private readonly Option<int?> concurrency = TypedOptions.Integer("--concurrency", "Requests at once. [default: 8]", 1, 1024);

    /// <summary>Adds the options.</summary>
    public EndpointFlags(Command command)
    {
        foreach (var option in (Option[])[endpoint, apiModel, keyVariable, chat, concurrency])
            command.Add(option);
    }

    /// <summary>Whether an endpoint is named.</summary>
    public bool IsGiven(ParseResult result) => result.GetValue(endpoint) is not null;

    /// <summary>The model behind the endpoint.</summary>
    public EndpointModel Open(ParseResult result)
    {
        var address = result.GetValue(endpoint)!;
        if (!Uri.TryCreate(address, UriKind.Absolute, out var uri) || (uri.Scheme != Uri.UriSchemeHttp && uri.Scheme != Uri.UriSchemeHttps))
            throw new CommandException($"--endpoint: expected an address such as http://localhost:8080, found '{address}'", "give the address of the API, with or without /v1", ExitCode.Usage);
        var name = result.GetValue(apiModel) ?? throw new CommandException("--endpoint needs --api-model", "GET /v1/models of the server lists the names", ExitCode.Usage);
        var key = result.GetValue(keyVariable) is { } variable
            ? Environment.GetEnvironmentVariable(variable) ?? throw new CommandException($"--api-key-env: the variable {variable} is not set", $"set it to the endpoint's key", ExitCode.Usage)
            : null;
        return new EndpointModel(new EndpointOptions { Endpoint = uri, Model = name, Key = key, Chat = result.GetValue(chat), Concurrency = result.GetValue(concurrency) ?? 8 });
    }
}
