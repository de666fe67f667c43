using System.Text;
using Hadal.Server.Models;
using Microsoft.Extensions.DependencyInjection;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace Hadal.Server.Tests.Telemetry;

/// <summary>Traces and metrics reach a collector where one is configured, and nothing is exported where none is.</summary>
public sealed class OtlpExportTests(RandomModelFolder folder)
{
    private const string Secret = "the harbour is mined";

    [Fact]
    public async Task SpansAndMetricsOfARequestArriveWithoutItsText()
    {
        await using var collector = await OtlpCollector.StartAsync();
        var model = new LocalModelOptions { Name = "random", Path = folder.Path, CacheTokens = 1024 };
        var server = await RunningServer.Start(new HadalServerOptions { Models = [model with { Run = model.Run with { Threads = 1 } }], Aliases = new Dictionary<string, string> { ["watched"] = "random" } }, builder =>
        {
            // As the environment has it.
            builder.Configuration["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.Address;
            builder.Configuration["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf";
        });
        long prompt, answer;
        await using (server)
        {
            var usage = (await server.PostOk("v1/chat/completions", $$"""{"model":"watched","messages":[{"role":"user","content":"{{Secret}}"}],"max_tokens":3,"logit_bias":{"1":-100} }""")).GetProperty("usage");
            (prompt, answer) = (usage.GetProperty("prompt_tokens").GetInt64(), usage.GetProperty("completion_tokens").GetInt64());
            await server.PostStream("v1/completions", $$"""{"model":"watched","prompt":"{{Secret}}","max_tokens":2,"stream":true}""");
        }

        // Whoever stops sends what is left. Other tests' servers in this process are heard, too; the model's name is this one's own.
        var chat = Assert.Single(collector.Spans, s => s.Name == "chat watched").Attributes;
        Assert.Equal(("chat", "hadal", "watched"), (chat["gen_ai.operation.name"], chat["gen_ai.provider.name"], chat["gen_ai.request.model"]));
        Assert.Equal(($"{prompt}", $"{answer}"), (chat["gen_ai.usage.input_tokens"], chat["gen_ai.usage.output_tokens"]));
        Assert.Equal("text_completion", Assert.Single(collector.Spans, s => s.Name == "text_completion watched").Attributes["gen_ai.operation.name"]);
        Assert.Contains(collector.Spans, s => s.Attributes.GetValueOrDefault("url.path") == "/v1/chat/completions");

        foreach (var name in (string[])["gen_ai.server.request.duration", "gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token", "gen_ai.client.token.usage"])
            Assert.Contains(collector.Metrics, m => m.Name == name && m.Points.Exists(IsOurs));
        var tokens = collector.Metrics.Last(m => m.Name == "gen_ai.client.token.usage" && m.Points.Exists(IsOurs)).Points.Where(p => IsOurs(p) && p.Attributes["gen_ai.operation.name"] == "chat").ToDictionary(p => p.Attributes["gen_ai.token.type"]);
        Assert.Equal((1, prompt, 1, answer), (tokens["input"].Count, (long)tokens["input"].Sum, tokens["output"].Count, (long)tokens["output"].Sum));
        Assert.Contains(collector.Metrics, m => m.Name == "hadal.engine.generated_tokens");
        Assert.All(collector.Resources, r => Assert.Equal("hadal", r["service.name"]));
        Assert.All(collector.Requests, r => Assert.DoesNotContain(Secret, Encoding.UTF8.GetString(r.Body)));

        static bool IsOurs((long Count, double Sum, Dictionary<string, string> Attributes) point) => point.Attributes.GetValueOrDefault("gen_ai.request.model") == "watched";
    }

    [Fact]
    public async Task NothingIsExportedWhereNoCollectorIsConfigured()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        Assert.Null(server.App.Services.GetService<TracerProvider>());
        Assert.Null(server.App.Services.GetService<MeterProvider>());
    }
}
