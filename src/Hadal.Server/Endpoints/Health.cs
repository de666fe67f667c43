using Hadal.Server.Answers;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Hadal.Server.Endpoints;

/// <summary><c>GET /health</c>: the process answers. <c>GET /ready</c>: it takes requests, too; every check of the application is asked.</summary>
internal sealed class Health(HealthCheckService checks)
{
    /// <summary>Says that the process answers.</summary>
    public static Task AliveAsync(HttpContext context) => context.Response.WriteAsJsonAsync(new { status = "ok" }, Wire.Json, context.RequestAborted);

    /// <summary>Says whether requests are taken, and if not, why.</summary>
    public async Task ReadyAsync(HttpContext context)
    {
        var report = await checks.CheckHealthAsync(context.RequestAborted);
        var isReady = report.Status != HealthStatus.Unhealthy;
        context.Response.StatusCode = isReady ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable;
        var wrong = report.Entries.Where(e => e.Value.Status == HealthStatus.Unhealthy).ToDictionary(e => e.Key, e => e.Value.Description ?? "unhealthy");
        await context.Response.WriteAsJsonAsync(new { status = isReady ? "ready" : "not ready", checks = wrong.Count == 0 ? null : wrong }, Wire.Json, context.RequestAborted);
    }
}
