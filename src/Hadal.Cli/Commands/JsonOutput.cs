using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Hadal.Cli.Commands;

/// <summary>How JSON is written for other programs: snake_case names, and no escapes that JSON does not need.</summary>
internal static class JsonOutput
{
    /// <summary>One line.</summary>
    public static readonly JsonSerializerOptions Compact = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Indented, for objects that people read too.</summary>
    public static readonly JsonSerializerOptions Indented = new(Compact) { WriteIndented = true };

    /// <summary>Records as objects with snake_case names.</summary>
    public static readonly JsonSerializerOptions Snake = new(Compact)
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
    };
}
