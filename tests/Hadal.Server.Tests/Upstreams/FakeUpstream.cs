using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Tests.Upstreams;

/// <summary>Another server, which does with each request what a test says.</summary>
internal sealed class FakeUpstream : IAsyncDisposable
{
    private readonly WebApplication app;

    private FakeUpstream(WebApplication app) => this.app = app;

    /// <summary>The bodies it was sent, and the keys.</summary>
    public List<(JsonElement Body, string Key)> Requests { get; } = [];

    /// <summary>The body of a request, for whoever answers it.</summary>
    public sealed record SentBody(JsonElement Body);

    public Uri Api => new($"{app.Urls.First()}/v1");

    public static async Task<FakeUpstream> Start(Func<HttpContext, Task> answer)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddRoutingCore();
        var built = builder.Build();
        var upstream = new FakeUpstream(built);
        built.Run(async context =>
        {
            if (context.Request.Method == "POST")
            {
                try
                {
                    var body = (await JsonDocument.ParseAsync(context.Request.Body)).RootElement;
                    context.Features.Set(new SentBody(body));
                    lock (upstream.Requests)
                        upstream.Requests.Add((body, context.Request.Headers.Authorization.ToString()));
                }
                catch (JsonException)
                {
                    // Tests of malformed bodies.
                }
            }

            await answer(context);
        });
        await built.StartAsync();
        return upstream;
    }

    public async ValueTask DisposeAsync()
    {
        using var now = new CancellationTokenSource(TimeSpan.FromMilliseconds(100));
        await app.StopAsync(now.Token);
        await app.DisposeAsync();
    }
}
