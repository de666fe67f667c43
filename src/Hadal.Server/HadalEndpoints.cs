using Hadal.Server.Answers;
using Hadal.Server.Endpoints;
using Hadal.Server.Models;
using Hadal.Server.Requests;
using Hadal.Server.Safety;
using Hadal.Server.Telemetry;
using Hadal.Server.Upstreams;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Metadata;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;

namespace Hadal.Server;

/// <summary>Hadal in an ASP.NET Core application: <c>services.AddHadal(…)</c> and <c>app.MapHadal()</c>.</summary>
public static class HadalEndpoints
{
    /// <summary>Adds the server's services, with options from a configuration section; see <see cref="HadalServerOptions"/>.</summary>
    public static IServiceCollection AddHadal(this IServiceCollection services, IConfiguration section)
    {
        ArgumentNullException.ThrowIfNull(section);
        return services.AddHadal(section.Get<HadalServerOptions>() ?? new HadalServerOptions());
    }

    /// <summary>Adds the server's services. Models are described at once and loaded when they are first asked for.</summary>
    /// <param name="services">The services.</param>
    /// <param name="options">What is offered and allowed.</param>
    public static IServiceCollection AddHadal(this IServiceCollection services, HadalServerOptions options)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(options);
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton(options);
        services.TryAddSingleton<IReadOnlyList<LocalModel>>(_ => [.. options.Models.Select(LocalModels.Describe)]);
        services.AddSingleton(provider => new ModelShelf(
            provider.GetRequiredService<IReadOnlyList<LocalModel>>(), options.MemoryBudgetBytes, provider.GetRequiredService<TimeProvider>(), provider.GetRequiredService<ILogger<ModelShelf>>()));
        services.AddSingleton<ModelDirectory>();
        services.AddSingleton<ModelService>();
        services.AddHostedService(provider => provider.GetRequiredService<ModelService>());
        services.AddHealthChecks().AddCheck<ModelService>("models");
        services.AddMetrics();
        services.AddSingleton<ServerMetrics>();
        services.AddSingleton<RequestWatch>();
        services.AddSingleton<UpstreamRelay>();
        services.AddSingleton<MetricsPage>();
        services.AddSingleton<ApiKeys>();
        services.AddSingleton<ErrorAnswers>();
        services.AddSingleton<ChatCompletions>();
        services.AddSingleton<Completions>();
        services.AddSingleton<Responses>();
        services.AddSingleton<Tokens>();
        services.AddSingleton<ModelList>();
        services.AddSingleton<Health>();
        return services;
    }

    /// <summary>
    /// Maps the API under <c>/v1</c>, <c>/health</c> and <c>/ready</c>, and the chat page where <see cref="HadalServerOptions.Page"/> says so. Keys, error
    /// objects and security headers come with the endpoints and need no middleware.
    /// </summary>
    /// <returns>All of them, for conventions such as rate limits.</returns>
    public static IEndpointConventionBuilder MapHadal(this IEndpointRouteBuilder app)
    {
        ArgumentNullException.ThrowIfNull(app);
        var services = app.ServiceProvider;
        var all = app.MapGroup("");
        var errors = services.GetRequiredService<ErrorAnswers>();
        var keys = services.GetRequiredService<ApiKeys>();
        var options = services.GetRequiredService<HadalServerOptions>();

        void Map(string verb, string path, RequestDelegate handle, string summary, Type? body = null, Type? answer = null, bool isOpen = false)
        {
            Task Guarded(HttpContext context)
            {
                SecurityHeaders.Add(context);
                return errors.InvokeAsync(context, async inner =>
                {
                    if (!isOpen)
                        keys.Check(inner);
                    await handle(inner);
                });
            }

            // The handler's method is what makes an endpoint part of the OpenAPI document.
            var endpoint = all.MapMethods(path, [verb], Guarded).WithMetadata(handle.Method).WithSummary(summary).WithTags("Hadal");
            if (body is not null)
                endpoint.WithMetadata(new AcceptsMetadata(["application/json"], body));
            if (answer is not null)
                endpoint.WithMetadata(new ProducesResponseTypeMetadata(StatusCodes.Status200OK, answer, ["application/json"]), new ProducesResponseTypeMetadata(StatusCodes.Status400BadRequest, typeof(ErrorAnswer), ["application/json"]));
        }

        T Get<T>()
            where T : notnull => services.GetRequiredService<T>();

        Map("POST", "/v1/chat/completions", Get<ChatCompletions>().InvokeAsync, "Answers a conversation.", typeof(ChatCompletionRequest), typeof(ChatCompletion));
        Map("POST", "/v1/completions", Get<Completions>().InvokeAsync, "Goes on with a text, fills one in, or scores one.", typeof(CompletionRequest), typeof(Completion));
        Map("POST", "/v1/responses", Get<Responses>().InvokeAsync, "Answers a conversation, in the form of OpenAI's responses.", typeof(ResponsesRequest));
        Map("POST", "/v1/embeddings", NoEmbeddings, "Refused: DeepSeek's models generate text.", answer: typeof(ErrorAnswer));
        var tokens = Get<Tokens>();
        Map("POST", "/tokenize", tokens.TokenizeAsync, "The ids of a text or of a conversation.");
        Map("POST", "/detokenize", tokens.DetokenizeAsync, "The text of ids.");
        var models = Get<ModelList>();
        Map("GET", "/v1/models", models.AllAsync, "The models.", answer: typeof(ModelsAnswer));
        Map("GET", "/v1/models/{**model}", models.OneAsync, "One model.", answer: typeof(ModelAnswer));
        Map("GET", "/health", Health.AliveAsync, "Whether the process answers.", isOpen: true);
        Map("GET", "/ready", Get<Health>().ReadyAsync, "Whether requests are taken.", isOpen: true);
        Map("GET", "/metrics", Get<MetricsPage>().InvokeAsync, "Metrics for Prometheus.");
        foreach (var (path, type, resource) in options.Page ? ChatPage.Files : [])
            Map("GET", path, ChatPage.Serve(type, resource), "The chat page.", isOpen: true);
        return all;
    }

    private static Task NoEmbeddings(HttpContext context) =>
        throw new RequestRejectedException("No model of this server makes embeddings: DeepSeek's models generate text.", "model", "unsupported_model");
}
