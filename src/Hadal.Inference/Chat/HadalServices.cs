using Hadal.Inference.Engine;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;

namespace Hadal.Inference.Chat;

/// <summary>Hadal in a service collection.</summary>
public static class HadalServices
{
    /// <summary>
    /// Adds a model as <see cref="IChatClient"/>, <see cref="HadalChatClient"/>, <see cref="InferenceEngine"/> and <see cref="HadalModel"/>, one of each. It is
    /// loaded when the first of them is asked for and unloaded with the services.
    /// </summary>
    /// <param name="services">The services.</param>
    /// <param name="path">A model folder or a .gguf file.</param>
    /// <param name="options">How to load it; null for the defaults.</param>
    /// <param name="notice">Told in one line why a saved prefix cache is not used, or could not be written.</param>
    public static IServiceCollection AddHadal(this IServiceCollection services, string path, HadalModelOptions? options = null, Action<string>? notice = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrEmpty(path);
        services.AddSingleton(_ => HadalModel.Load(path, options, notice: notice));

        // The engine is the model's: a factory's result that implements IDisposable is disposed again, which does no harm.
        services.AddSingleton(provider => provider.GetRequiredService<HadalModel>().Engine);
        services.AddSingleton(provider => provider.GetRequiredService<HadalModel>().CreateChatClient());
        services.AddSingleton<IChatClient>(provider => provider.GetRequiredService<HadalChatClient>());
        return services;
    }
}
