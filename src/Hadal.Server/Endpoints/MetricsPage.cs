using Hadal.Server.Telemetry;
using Microsoft.AspNetCore.Http;
using Prometheus;

namespace Hadal.Server.Endpoints;

/// <summary><c>GET /metrics</c>: the server's metrics and those of the process, for Prometheus.</summary>
internal sealed class MetricsPage : IDisposable
{
    private static readonly double[] Buckets = [.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300];
    private static readonly double[] TokenBuckets = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536];

    private readonly CollectorRegistry registry = Metrics.NewCustomRegistry();
    private readonly IDisposable listening;

    /// <summary>Listens to the server's meter.</summary>
    public MetricsPage(ServerMetrics metrics)
    {
        DotNetStats.Register(registry);
        listening = MeterAdapter.StartListening(new MeterAdapterOptions
        {
            Registry = registry,
            MetricFactory = Metrics.WithCustomRegistry(registry),
            InstrumentFilterPredicate = instrument => ReferenceEquals(instrument.Meter, metrics.Meter),
            ResolveHistogramBuckets = instrument => instrument.Unit == "s" ? Buckets : TokenBuckets,
        });
    }

    /// <summary>Writes them.</summary>
    public Task InvokeAsync(HttpContext context)
    {
        context.Response.ContentType = PrometheusConstants.TextContentTypeWithVersionAndEncoding;
        return registry.CollectAndExportAsTextAsync(context.Response.Body, context.RequestAborted);
    }

    /// <inheritdoc/>
    public void Dispose() => listening.Dispose();
}
