using Hadal.Server.Requests;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Models;

/// <summary>
/// The models' life with the host: resident ones are loaded at its start; when it stops, new requests are refused, running ones get time to finish, and
/// those that do not are failed while their clients can still be told.
/// </summary>
internal sealed partial class ModelService(HadalServerOptions options, ModelShelf shelf, IHostApplicationLifetime lifetime, TimeProvider time, ILogger<ModelService> logger)
    : BackgroundService, IHealthCheck
{
    private volatile string? notReady = "resident models are being loaded";

    /// <inheritdoc/>
    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(notReady is { } reason ? HealthCheckResult.Unhealthy(reason) : HealthCheckResult.Healthy());

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var stopping = lifetime.ApplicationStopping.Register(() => _ = DrainAsync());
        try
        {
            foreach (var model in shelf.Models.Where(m => m.Resident))
                (await shelf.TakeAsync(model.Name, stoppingToken)).Dispose();
            notReady = null;
            await Task.Delay(Timeout.InfiniteTimeSpan, time, stoppingToken);
        }
        catch (Exception exception) when (lifetime.ApplicationStopping.IsCancellationRequested && exception is OperationCanceledException or RequestRejectedException)
        {
            // The host stops.
        }
#pragma warning disable CA1031 // A model that does not load leaves a server that says so.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            notReady = exception.Message;
            LogNotLoaded(logger, exception);
        }
    }

    private async Task DrainAsync()
    {
        notReady = "the server is shutting down";
        using var late = new CancellationTokenSource(TimeSpan.FromSeconds(options.ShutdownSeconds), time);
        try
        {
            await shelf.DrainAsync(late.Token);
        }
        catch (OperationCanceledException)
        {
            await shelf.DisposeAsync();
        }
    }

    [LoggerMessage(LogLevel.Error, "a resident model was not loaded")]
    private static partial void LogNotLoaded(ILogger logger, Exception exception);
}
