using System.Reflection;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Http;
using Microsoft.Net.Http.Headers;

namespace Hadal.Server.Endpoints;

/// <summary>The chat page at <c>/</c>: a few files in the assembly, nothing from elsewhere.</summary>
internal static class ChatPage
{
    private const string Folder = "Hadal.Server.Page.";

    /// <summary>The page's files: path, content type, resource.</summary>
    public static IReadOnlyList<(string Path, string Type, string Resource)> Files { get; } =
    [
        ("/", "text/html; charset=utf-8", "index.html"),
        ("/hadal.css", "text/css; charset=utf-8", "hadal.css"),
        ("/hadal.js", "text/javascript; charset=utf-8", "hadal.js"),
        ("/hadal.svg", "image/svg+xml", "hadal.svg"),
    ];

    /// <summary>What answers for one of the files.</summary>
    public static RequestDelegate Serve(string type, string resource)
    {
        using var stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(Folder + resource)!;
        var bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        var tag = new EntityTagHeaderValue($"\"{Convert.ToHexStringLower(SHA256.HashData(bytes)[..8])}\"");
        return context => Results.Bytes(bytes, type, entityTag: tag).ExecuteAsync(context);
    }
}
