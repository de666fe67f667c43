using System.Net;
using System.Security.Cryptography.X509Certificates;
using Hadal.Server.Answers;
using Hadal.Server.Requests;
using Hadal.Server.Safety;
using Hadal.Server.Telemetry;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Hadal.Server;

/// <summary>The program <c>hadal serve</c>: a host around <see cref="HadalEndpoints"/> with the limits of a server on its own.</summary>
public static class HadalServer
{
    private const double HostMarginSeconds = 5;

    /// <summary>Builds it; <c>RunAsync</c> of what is returned runs it.</summary>
    /// <param name="options">What is offered and allowed.</param>
    /// <param name="configure">Changes the host before it is built, such as adding a logger: there is none by default; null for no change.</param>
    /// <exception cref="ArgumentException">The address can be reached by others and there are no keys.</exception>
    /// <exception cref="IOException">Certificate or model is not there.</exception>
    /// <exception cref="InvalidDataException">A model is damaged or not supported.</exception>
    public static WebApplication Build(HadalServerOptions options, Action<WebApplicationBuilder>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        var binding = options.Listen;
        var address = binding.Address;
        if (!IPAddress.IsLoopback(address) && options.ApiKeys.Count == 0 && !binding.AllowOpen)
            throw new ArgumentException($"{binding.Host} can be reached by others, and no key is set", nameof(options));
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.Logging.SetMinimumLevel(LogLevel.Information);
        builder.Logging.AddFilter("Microsoft", LogLevel.Warning).AddFilter("System", LogLevel.Warning);
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = TimeSpan.FromSeconds(options.ShutdownSeconds + HostMarginSeconds));
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = options.MaxBodyBytes;
            kestrel.Limits.MaxConcurrentConnections = options.MaxConnections;
            kestrel.Listen(address, binding.Port, listen => Secure(listen, binding));
        });
        builder.Services.AddHadal(options);
        builder.Services.AddSingleton<HostCheck>();
        if (options.CorsOrigins.Count > 0)
            builder.Services.AddCors(cors => cors.AddDefaultPolicy(policy => policy.WithOrigins([.. options.CorsOrigins]).AllowAnyHeader().AllowAnyMethod()));
        builder.Services.ConfigureHttpJsonOptions(json => json.SerializerOptions.PropertyNamingPolicy = Wire.Json.PropertyNamingPolicy);
        builder.Services.AddOpenApi(WireSchemas.Describe);
        configure?.Invoke(builder);
        AddOpenTelemetry(builder);
        var app = builder.Build();
        var (errors, hosts) = (app.Services.GetRequiredService<ErrorAnswers>(), app.Services.GetRequiredService<HostCheck>());
        app.Use((context, next) => errors.InvokeAsync(context, async inner =>
        {
            SecurityHeaders.Add(inner);
            hosts.Check(inner);
            await next(inner);
            AnswerForNobody(inner);
        }));
        if (options.CorsOrigins.Count > 0)
            app.UseCors();
        app.MapHadal();
        app.MapOpenApi(WireSchemas.Path);

        // What is wrong with the models is said now and not to the first client.
        _ = app.Services.GetRequiredService<Models.ModelDirectory>();
        return app;
    }

    /// <summary>The names of the models that a server offers.</summary>
    public static IReadOnlyList<string> ModelNames(WebApplication app)
    {
        ArgumentNullException.ThrowIfNull(app);
        return app.Services.GetRequiredService<Models.ModelDirectory>().Names;
    }

    // No endpoint took it: routing leaves a bare status.
    private static void AnswerForNobody(HttpContext context)
    {
        if (context.Response.HasStarted || context.GetEndpoint() is { RequestDelegate: not null } and not { DisplayName: "405 HTTP Method Not Supported" })
            return;
        var (method, path) = (context.Request.Method, context.Request.Path);
        throw context.Response.StatusCode switch
        {
            StatusCodes.Status404NotFound => new RequestRejectedException($"Unknown request URL: {method} {path}. Please check the URL for typos.", null, "unknown_url", StatusCodes.Status404NotFound),
            StatusCodes.Status405MethodNotAllowed => new RequestRejectedException($"Not allowed to {method} on {path}.", null, "method_not_supported", StatusCodes.Status405MethodNotAllowed),
            var status => new RequestRejectedException($"{method} {path} was refused.", null, null, status),
        };
    }

    // Traces and metrics leave this machine only where the standard variable (or the host's configuration, of which the environment is part) says where to.
    private static void AddOpenTelemetry(WebApplicationBuilder builder)
    {
        if (string.IsNullOrEmpty(builder.Configuration["OTEL_EXPORTER_OTLP_ENDPOINT"]))
            return;
        builder.Services.AddOpenTelemetry()
            .ConfigureResource(resource => resource.AddService("hadal"))
            .WithTracing(traces => traces.AddSource(ServerMetrics.Name).AddAspNetCoreInstrumentation().AddOtlpExporter())
            .WithMetrics(metrics => metrics.AddMeter(ServerMetrics.Name).AddAspNetCoreInstrumentation().AddOtlpExporter());
    }

    private static void Secure(ListenOptions listen, ServerBinding binding)
    {
        if (binding.CertificateFile is null)
            return;
        listen.UseHttps(X509Certificate2.CreateFromPemFile(binding.CertificateFile, binding.KeyFile));
    }
}
