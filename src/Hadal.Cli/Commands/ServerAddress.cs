namespace Hadal.Cli.Commands;

/// <summary>The server that a command talks to.</summary>
internal static class ServerAddress
{
    /// <summary>A base address.</summary>
    /// <exception cref="CommandException">It is none.</exception>
    public static Uri Parse(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var address) && address.Scheme is "http" or "https" ? address
            : throw new CommandException($"URL: expected an http or https address, found '{text}'", "such as http://localhost:8080/v1", ExitCode.Usage);

    /// <summary>The key in an environment variable; null where none is named.</summary>
    /// <exception cref="CommandException">The variable is not set.</exception>
    public static string? Key(string? variable) =>
        variable is null ? null : Environment.GetEnvironmentVariable(variable) ?? throw new CommandException($"the environment variable {variable} is not set", "set it to the server's key");

    /// <summary>What is said of a server that does not answer.</summary>
    public static CommandException Unreachable(HttpRequestException failure) => new(failure.Message, "is the server running, and does the address end in /v1?");
}
