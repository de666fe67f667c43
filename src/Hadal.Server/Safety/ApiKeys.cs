using System.Security.Cryptography;
using System.Text;
using Hadal.Server.Requests;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Safety;

/// <summary>Checks the key of a request in a time that does not depend on the key. Immutable.</summary>
internal sealed class ApiKeys(HadalServerOptions options)
{
    private const string Scheme = "Bearer ";

    private readonly byte[][] hashes = [.. options.ApiKeys.Where(k => k.Length > 0).Select(Hash)];

    /// <summary>Whether keys are asked for at all.</summary>
    public bool AreNeeded => hashes.Length > 0;

    /// <summary>Refuses a request without a known key.</summary>
    /// <exception cref="RequestRejectedException">It has none, or a wrong one.</exception>
    public void Check(HttpContext context)
    {
        if (!AreNeeded)
            return;
        var header = context.Request.Headers.Authorization.ToString();
        if (!header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
            throw Refused(context, "You didn't provide an API key: 'Authorization: Bearer KEY' is expected.");
        var given = Hash(header[Scheme.Length..].Trim());
        var known = false;
        foreach (var hash in hashes)
            known |= CryptographicOperations.FixedTimeEquals(hash, given);
        if (!known)
            throw Refused(context, "Incorrect API key provided.");
    }

    private static RequestRejectedException Refused(HttpContext context, string message)
    {
        context.Response.Headers.WWWAuthenticate = "Bearer";
        return new RequestRejectedException(message, null, "invalid_api_key", StatusCodes.Status401Unauthorized);
    }

    private static byte[] Hash(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));
}
