using Hadal.Server.Endpoints;
using Hadal.Server.Models;
using Hadal.Server.Requests;
using Hadal.Server.Safety;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
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

        void Map(string verb, string path, RequestDelegate handle, bool isOpen = false)
        {
            all.MapMethods(path, [verb], context =>
            {
                SecurityHeaders.Add(context);
                return errors.InvokeAsync(context, async inner =>
                {
                    if (!isOpen)
                        keys.Check(inner);
                    await handle(inner);
                });
            });
        }

        Map("POST", "/v1/chat/completions", services.GetRequiredService<ChatCompletions>().InvokeAsync);
        Map("POST", "/v1/completions", services.GetRequiredService<Completions>().InvokeAsync);
        Map("POST", "/v1/responses", services.GetRequiredService<Responses>().InvokeAsync);
        Map("POST", "/v1/embeddings", _ => throw new RequestRejectedException("No model of this server makes embeddings: DeepSeek's models generate text.", "model", "unsupported_model"));
        var tokens = services.GetRequiredService<Tokens>();
        Map("POST", "/tokenize", tokens.TokenizeAsync);
        Map("POST", "/detokenize", tokens.DetokenizeAsync);
        var models = services.GetRequiredService<ModelList>();
        Map("GET", "/v1/models", models.AllAsync);
        Map("GET", "/v1/models/{**model}", context => models.OneAsync(context, (string)context.GetRouteValue("model")!));
        Map("GET", "/health", Health.AliveAsync, isOpen: true);
        Map("GET", "/ready", services.GetRequiredService<Health>().ReadyAsync, isOpen: true);
        foreach (var (path, type, resource) in options.Page ? ChatPage.Files : [])
            Map("GET", path, ChatPage.Serve(type, resource), isOpen: true);
        return all;
    }
}
