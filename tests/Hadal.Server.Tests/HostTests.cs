using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Tests;

/// <summary>Hadal inside other applications, and its configuration.</summary>
public sealed class HostTests(RandomModelFolder folder)
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AnotherApplicationMapsItBesideItsOwnEndpoints()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["Hadal:Models:0:Name"] = "random", ["Hadal:Models:0:Path"] = folder.Path, ["Hadal:Models:0:CacheTokens"] = "512", ["Hadal:Models:0:Run:Threads"] = "1",
            ["Hadal:Aliases:nice"] = "random", ["Hadal:Page"] = "false",
        });
        builder.Services.AddHadal(builder.Configuration.GetSection(HadalServerOptions.Section));
        await using var app = builder.Build();
        app.MapGet("/", () => "the application's own");
        app.MapHadal();
        await app.StartAsync(Cancellation);
        using var client = new HttpClient { BaseAddress = new Uri(app.Urls.First()) };
        Assert.Equal("the application's own", await client.GetStringAsync(new Uri("", UriKind.Relative), Cancellation));
        using var response = await client.PostAsync(new Uri("v1/chat/completions", UriKind.Relative), RunningServer.Json("""{"model":"nice","messages":[{"role":"user","content":"x"}],"max_tokens":2}"""), Cancellation);
        Assert.Equal("nice", JsonDocument.Parse(await response.Content.ReadAsStringAsync(Cancellation)).RootElement.GetProperty("model").GetString());

        // Errors need no middleware of the application's.
        using var wrong = await client.PostAsync(new Uri("v1/chat/completions", UriKind.Relative), RunningServer.Json("{}"), Cancellation);
        Assert.Contains("\"param\":\"model\"", await wrong.Content.ReadAsStringAsync(Cancellation));
        Assert.True(wrong.Headers.Contains("Content-Security-Policy"));
        await app.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task SettingsComeFromFileAndEnvironmentAndAreChecked()
    {
        var file = Path.Combine(folder.Path, "settings.json");
        await File.WriteAllTextAsync(file, """
            {
              // Comments are fine.
              "Hadal": { "Listen": { "Port": 9 }, "ApiKeys": ["a"], "Models": [{ "Path": "m", "MaxWaiting": 7 }], "Upstreams": [{ "Name": "u", "BaseUrl": "https://example.org/v1", "Models": ["x"], "Aliases": { "y": "x" } }], "Fallbacks": { "x": ["m"] } }
            }
            """, Cancellation);
        Environment.SetEnvironmentVariable("Hadal__MaxBodyBytes", "123");
        Environment.SetEnvironmentVariable(ServerConfiguration.KeysVariable, "b, c");
        try
        {
            var options = ServerConfiguration.Read(file);
            Assert.Equal((9, 123L, 7), (options.Listen.Port, options.MaxBodyBytes, options.Models[0].MaxWaiting));
            Assert.Equal(["a", "b", "c"], options.ApiKeys);
            Assert.Equal(("https://example.org/v1", "x", "m"), (options.Upstreams[0].BaseUrl!.ToString(), options.Upstreams[0].Aliases["y"], options.Fallbacks["x"][0]));
        }
        finally
        {
            Environment.SetEnvironmentVariable("Hadal__MaxBodyBytes", null);
            Environment.SetEnvironmentVariable(ServerConfiguration.KeysVariable, null);
        }

        foreach (var (text, expected) in ((string, string)[])[("{\"Hadal\":{\"Modles\":[]}}", "Modles"), ("{\"Hadal\":{\"MaxBodyBytes\":\"many\"}}", "MaxBodyBytes"), ("{", "settings.json")])
        {
            await File.WriteAllTextAsync(file, text, Cancellation);
            var message = Assert.Throws<InvalidDataException>(() => ServerConfiguration.Read(file)).Message;
            Assert.Contains(expected, message);
            Assert.DoesNotContain('\n', message);
        }

        Assert.Throws<FileNotFoundException>(() => ServerConfiguration.Read(Path.Combine(folder.Path, "none.json")));
    }

    [Fact]
    public async Task ASpanAndMeasurementsTellOfEachRequest()
    {
        var spans = new List<Activity>();
        using var listener = new ActivityListener { ShouldListenTo = s => s.Name == "Hadal.Server", Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData, ActivityStopped = a => { lock (spans) spans.Add(a); } };
        ActivitySource.AddActivityListener(listener);
        await using var server = await RunningServer.OfFolder(folder.Path, o => o with { Aliases = new Dictionary<string, string> { ["spanned"] = "random" } });
        var usage = (await server.PostOk("v1/chat/completions", """{"model":"spanned","messages":[{"role":"user","content":"x"}],"max_tokens":2,"logit_bias":{"1":-100}}""")).GetProperty("usage");
        var span = Assert.Single(Spans("chat spanned"));
        Assert.Equal((2L, "hadal"), ((long)span.GetTagItem("gen_ai.usage.output_tokens")!, span.GetTagItem("gen_ai.provider.name")));

        // A client that goes away after some tokens of its two answers has had them.
        var prompt = usage.GetProperty("prompt_tokens").GetInt64();
        using (var response = await server.OpenStream("v1/chat/completions", """{"model":"spanned","messages":[{"role":"user","content":"x"}],"n":2,"max_tokens":4000,"stream":true,"logprobs":true,"logit_bias":{"1":-100}}"""))
        {
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(Cancellation));
            var seen = new int[2];
            while (seen.Min() < 3)
            {
                if (await reader.ReadLineAsync(Cancellation) is { Length: > 0 } line && JsonDocument.Parse(line["data: ".Length..]).RootElement.GetProperty("choices")[0] is var choice && choice.TryGetProperty("logprobs", out _))
                    seen[choice.GetProperty("index").GetInt32()]++;
            }
        }

        List<Activity> both;
        while ((both = Spans("chat spanned")).Count < 2)
            await Task.Delay(20, Cancellation);
        Assert.Equal(ActivityStatusCode.Error, both[1].Status);
        Assert.Equal(2 * prompt, (long)both[1].GetTagItem("gen_ai.usage.input_tokens")!);
        Assert.InRange((long)both[1].GetTagItem("gen_ai.usage.output_tokens")!, 6, 7999);

        List<Activity> Spans(string name)
        {
            lock (spans)
                return [.. spans.Where(s => s.DisplayName == name)];
        }
    }

    [Fact]
    public async Task TheSampleRunsOnAServerAsInItsOwnProcess()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        Assert.Equal(await Sample(folder.Path), await Sample(server.Api.ToString(), "random"));

        static async Task<string> Sample(params string[] arguments)
        {
            // Its libraries lie here beside those of the tests, which run on ASP.NET Core's own.
            var (sample, runtime) = (Path.Combine(AppContext.BaseDirectory, "Hadal.Samples.SwapIn.dll"), Path.Combine(AppContext.BaseDirectory, "Hadal.Server.Tests.runtimeconfig.json"));
            using var process = Process.Start(new ProcessStartInfo("dotnet", ["exec", "--runtimeconfig", runtime, sample, .. arguments]) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true })!;
            var output = await process.StandardOutput.ReadToEndAsync(Cancellation);
            var error = await process.StandardError.ReadToEndAsync(Cancellation);
            await process.WaitForExitAsync(Cancellation);
            Assert.True(process.ExitCode == 0, error);
            return output;
        }
    }

    [Fact]
    public async Task TheOpenApiDocumentDescribesTheWire()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        var document = JsonDocument.Parse(await server.Client.GetStringAsync(new Uri("openapi.json", UriKind.Relative), Cancellation)).RootElement;
        foreach (var path in (string[])["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/models", "/tokenize", "/health", "/metrics"])
            Assert.True(document.GetProperty("paths").TryGetProperty(path, out _), path);
        var schemas = document.GetProperty("components").GetProperty("schemas");
        var chat = schemas.GetProperty("ChatCompletionRequest").GetProperty("properties");
        foreach (var name in (string[])["model", "messages", "max_completion_tokens", "top_p", "logit_bias", "response_format", "tools", "tool_choice", "stream_options"])
            Assert.True(chat.TryGetProperty(name, out _), name);
        Assert.Equal("string", schemas.GetProperty("ChatMessage").GetProperty("properties").GetProperty("role").GetProperty("type").GetString());
    }
}
