using System.Collections.Concurrent;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Tests.Telemetry;

/// <summary>A collector of OpenTelemetry's protocol over HTTP (opentelemetry-proto: trace_service.proto, metrics_service.proto), on this machine.</summary>
internal sealed class OtlpCollector : IAsyncDisposable
{
    private readonly WebApplication app;

    private OtlpCollector(WebApplication app) => this.app = app;

    /// <summary>Where it listens.</summary>
    public string Address => app.Urls.First();

    /// <summary>Bodies of all requests.</summary>
    public ConcurrentQueue<(string Path, byte[] Body)> Requests { get; } = [];

    /// <summary>ExportTraceServiceRequest.resource_spans.scope_spans.spans: name and attributes.</summary>
    public IEnumerable<(string Name, Dictionary<string, string> Attributes)> Spans =>
        Of("/v1/traces").SelectMany(r => r.All(1)).SelectMany(r => r.All(2)).SelectMany(s => s.All(2)).Select(s => (s.Text(5), Attributes(s, 9)));

    /// <summary>ExportMetricsServiceRequest.resource_metrics.scope_metrics.metrics: name, and of each point of a histogram count, sum and attributes.</summary>
    public IEnumerable<(string Name, List<(long Count, double Sum, Dictionary<string, string> Attributes)> Points)> Metrics =>
        Of("/v1/metrics").SelectMany(r => r.All(1)).SelectMany(r => r.All(2)).SelectMany(s => s.All(2))
            .Select(m => (m.Text(1), m.All(9).SelectMany(h => h.All(1)).Select(p => (p.Number(4), BitConverter.Int64BitsToDouble(p.Number(5)), Attributes(p, 9))).ToList()));

    /// <summary>Resource attributes of everything that came.</summary>
    public IEnumerable<Dictionary<string, string>> Resources => Of("/v1/traces").Concat(Of("/v1/metrics")).SelectMany(r => r.All(1)).SelectMany(r => r.All(1)).Select(r => Attributes(r, 1));

    public static async Task<OtlpCollector> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var collector = new OtlpCollector(builder.Build());
        collector.app.MapPost("/{**path}", async (HttpContext context) =>
        {
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            collector.Requests.Enqueue((context.Request.Path, body.ToArray()));
            context.Response.ContentType = "application/x-protobuf";
        });
        await collector.app.StartAsync(TestContext.Current.CancellationToken);
        return collector;
    }

    public async ValueTask DisposeAsync()
    {
        await app.StopAsync(CancellationToken.None);
        await app.DisposeAsync();
    }

    private IEnumerable<Message> Of(string path) => Requests.Where(r => r.Path == path).Select(r => new Message(r.Body));

    // KeyValue { key = 1, value = 2 }, AnyValue { string = 1, bool = 2, int = 3, double = 4 }.
    private static Dictionary<string, string> Attributes(Message message, int field) => message.All(field).ToDictionary(a => a.Text(1), a =>
    {
        var value = a.All(2).Single();
        return value.Has(1) ? value.Text(1) : $"{value.Number(3)}";
    });

    /// <summary>A message of protocol buffers, as far as it is needed here.</summary>
    private sealed class Message
    {
        private readonly List<(int Field, long Number, byte[] Bytes)> fields = [];

        public Message(byte[] bytes)
        {
            var at = 0;
            while (at < bytes.Length)
            {
                var tag = Varint();
                var field = (int)(tag >> 3);
                switch (tag & 7)
                {
                    case 0:
                        fields.Add((field, Varint(), []));
                        break;
                    case 1:
                        fields.Add((field, BitConverter.ToInt64(bytes, at), []));
                        at += 8;
                        break;
                    case 2:
                        var length = (int)Varint();
                        fields.Add((field, 0, bytes[at..(at + length)]));
                        at += length;
                        break;
                    case 5:
                        fields.Add((field, BitConverter.ToInt32(bytes, at), []));
                        at += 4;
                        break;
                    default:
                        throw new InvalidDataException($"wire type {tag & 7}");
                }
            }

            long Varint()
            {
                long value = 0;
                for (var shift = 0; ; shift += 7)
                {
                    var b = bytes[at++];
                    value |= (long)(b & 0x7F) << shift;
                    if (b < 0x80)
                        return value;
                }
            }
        }

        public bool Has(int field) => fields.Exists(f => f.Field == field);

        public IEnumerable<Message> All(int field) => fields.Where(f => f.Field == field).Select(f => new Message(f.Bytes));

        public string Text(int field) => Encoding.UTF8.GetString(fields.FirstOrDefault(f => f.Field == field).Bytes ?? []);

        public long Number(int field) => fields.FirstOrDefault(f => f.Field == field).Number;
    }
}
