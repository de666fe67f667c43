using System.Net;
using Hadal.Server.Requests;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Safety;

/// <summary>
/// Which names a server without keys answers to. A page on the web whose own name is made to point at this machine (DNS rebinding) sends that name along,
/// and gets nothing.
/// </summary>
internal sealed class HostCheck(HadalServerOptions options, ApiKeys keys)
{
    /// <summary>Refuses a request under a foreign name.</summary>
    /// <exception cref="RequestRejectedException">The name is not one of this server.</exception>
    public void Check(HttpContext context)
    {
        var host = context.Request.Host.Host;
        if (keys.AreNeeded || host is "localhost" || IPAddress.TryParse(host.Trim('[', ']'), out _) || options.AllowedHosts.Contains(host, StringComparer.OrdinalIgnoreCase))
            return;
        throw new RequestRejectedException($"This server does not answer to the name '{host}'. Add it to AllowedHosts, or set keys.", null, "unknown_host", StatusCodes.Status421MisdirectedRequest);
    }
}
