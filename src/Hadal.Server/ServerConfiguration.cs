using System.Text.Json;
using Microsoft.Extensions.Configuration;

namespace Hadal.Server;

/// <summary>The options of <c>hadal serve</c> from a file and the environment.</summary>
public static class ServerConfiguration
{
    /// <summary>The file that is read where none is named, if it is there.</summary>
    public const string DefaultFile = "appsettings.json";

    /// <summary>Environment variable with keys, separated by commas.</summary>
    public const string KeysVariable = "HADAL_API_KEYS";

    /// <summary>Reads the section <c>Hadal</c> of a JSON file, then of the environment (<c>Hadal__Listen__Port=9000</c>), which goes before it.</summary>
    /// <param name="file">The file; null for <see cref="DefaultFile"/> in the current folder, if there is one.</param>
    /// <exception cref="FileNotFoundException">The file is not there.</exception>
    /// <exception cref="InvalidDataException">It is no JSON, has a key that does not exist, or a value of a wrong kind; the message says which.</exception>
    public static HadalServerOptions Read(string? file)
    {
        var path = Path.GetFullPath(file ?? DefaultFile);
        if (file is not null && !File.Exists(path))
            throw new FileNotFoundException($"{file}: there is no such file", file);
        try
        {
            var configuration = new ConfigurationBuilder().AddJsonFile(path, optional: true, reloadOnChange: false).AddEnvironmentVariables().Build();
            var section = configuration.GetSection(HadalServerOptions.Section);
            var options = section.Get<HadalServerOptions>(binder => binder.ErrorOnUnknownConfiguration = true) ?? new HadalServerOptions();
            var keys = (Environment.GetEnvironmentVariable(KeysVariable) ?? "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
            return options with { ApiKeys = [.. options.ApiKeys, .. keys] };
        }
        catch (Exception wrong) when (wrong is InvalidOperationException or FormatException or InvalidDataException or JsonException)
        {
            var reason = wrong.InnerException is { } inner && wrong is InvalidDataException ? inner.Message : wrong.Message;
            throw new InvalidDataException($"{path}: {reason.ReplaceLineEndings(" ")}", wrong);
        }
    }
}
