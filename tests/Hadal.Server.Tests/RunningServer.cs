using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Chat;
using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Engine;
using Hadal.Inference.Tests.Chat;
using Hadal.Numerics.Threading;
using Hadal.Server.Models;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

[assembly: AssemblyFixture(typeof(Hadal.Server.Tests.RandomModelFolder))]

namespace Hadal.Server.Tests;

/// <summary>A small random model on disk, made once for all tests.</summary>
public sealed class RandomModelFolder : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("hadal-");

    public RandomModelFolder() => RandomModel.Write(folder.FullName, seed: 1);

    public string Path => folder.FullName;

    public void Dispose() => folder.Delete(recursive: true);
}

/// <summary>A server on a free port of this machine, and a client of it.</summary>
internal sealed class RunningServer : IAsyncDisposable
{
    private RunningServer(WebApplication app)
    {
        App = app;
        Client = new HttpClient { BaseAddress = new Uri(app.Urls.First()), Timeout = TimeSpan.FromSeconds(60) };
    }

    public WebApplication App { get; }

    public HttpClient Client { get; }

    public Uri Api => new(Client.BaseAddress!, "v1");

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    /// <summary>A server of a model on disk under the name <c>random</c>.</summary>
    public static Task<RunningServer> OfFolder(string path, Func<HadalServerOptions, HadalServerOptions>? change = null, Func<LocalModelOptions, LocalModelOptions>? changeModel = null)
    {
        var model = new LocalModelOptions { Name = "random", Path = path, CacheTokens = 4096 };
        model = (changeModel ?? (m => m))(model with { Run = model.Run with { Threads = 1 } });
        return Start((change ?? (o => o))(new HadalServerOptions { Models = [model] }), null);
    }

    /// <summary>A server of models that answer every prompt with one text; name to text and template.</summary>
    public static Task<RunningServer> OfAnswers(Dictionary<string, (string Answer, string Template)> answers, Func<HadalServerOptions, HadalServerOptions>? change = null, List<ReplayModel>? models = null) =>
        Start((change ?? (o => o))(new HadalServerOptions()), builder => builder.Services.AddSingleton<IReadOnlyList<LocalModel>>(
            [.. answers.Select(a => new LocalModel(a.Key, 1000, false, (_, _, _) => Replay(a.Key, a.Value.Answer, a.Value.Template, models)))]));

    public static async Task<RunningServer> Start(HadalServerOptions options, Action<WebApplicationBuilder>? configure)
    {
        var app = HadalServer.Build(options with { Listen = options.Listen with { Port = 0 } }, builder =>
        {
            builder.Logging.ClearProviders();
            configure?.Invoke(builder);
        });
        await app.StartAsync(Cancellation);
        return new RunningServer(app);
    }

    public static StringContent Json(string json) => new(json, Encoding.UTF8, new MediaTypeHeaderValue("application/json"));

    /// <summary>Posts JSON and reads JSON.</summary>
    public async Task<(int Status, JsonElement Body)> Post(string path, string json)
    {
        using var response = await Client.PostAsync(new Uri(path, UriKind.Relative), Json(json), Cancellation);
        return ((int)response.StatusCode, JsonDocument.Parse(await response.Content.ReadAsStringAsync(Cancellation)).RootElement);
    }

    /// <summary>Posts JSON, expects status 200, and reads JSON.</summary>
    public async Task<JsonElement> PostOk(string path, string json)
    {
        var (status, body) = await Post(path, json);
        Assert.True(status == 200, $"{status}: {body}");
        return body;
    }

    /// <summary>Posts JSON and reads the whole stream as it is.</summary>
    public async Task<string> PostStream(string path, string json)
    {
        using var response = await OpenStream(path, json);
        return await response.Content.ReadAsStringAsync(Cancellation);
    }

    /// <summary>Posts JSON and comes back as soon as the stream has begun: the engine has taken the request.</summary>
    public async Task<HttpResponseMessage> OpenStream(string path, string json)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = Json(json) };
        var response = await Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancellation);
        Assert.Equal("text/event-stream; charset=utf-8", response.Content.Headers.ContentType?.ToString());
        return response;
    }

    /// <summary>The JSON of a stream's events; the end mark is checked and left out.</summary>
    public static List<JsonElement> Events(string stream)
    {
        var blocks = stream.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Where(b => !b.StartsWith(':')).ToList();
        Assert.EndsWith("\n\n", stream);
        Assert.Equal("data: [DONE]", blocks[^1]);
        return [.. blocks.SkipLast(1).Select(b => JsonDocument.Parse(b["data: ".Length..]).RootElement)];
    }

    public ModelShelf Shelf => App.Services.GetRequiredService<ModelShelf>();

    public InferenceEngine Engine => Assert.Single(Shelf.Loaded).Model.Engine;

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await App.StopAsync(CancellationToken.None);
        await App.DisposeAsync();
    }

    private static ServedModel Replay(string name, string answer, string template, List<ReplayModel>? models)
    {
        var tokenizer = Tokenizer.CreateByteLevel(moreTokens: ["<think>", "</think>"]);
        var model = new ReplayModel(tokenizer, answer);
        models?.Add(model);
        var threads = new KernelThreads(1);
        var engine = new InferenceEngine(model, tokenizer, threads, new EngineOptions { CacheTokens = 8192, PageTokens = 16, PrefillTokens = 8192, PrefillTokensBesideDecode = 8192 });
        return new ServedModel(name, engine, tokenizer, ChatTemplates.ByName(template), new Owner(engine, threads));
    }

    private sealed class Owner(InferenceEngine engine, KernelThreads threads) : IDisposable
    {
        public void Dispose()
        {
            engine.Dispose();
            threads.Dispose();
        }
    }
}
