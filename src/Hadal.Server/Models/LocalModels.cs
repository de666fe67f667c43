using Hadal.Checkpoints;
using Hadal.Inference.Chat;

namespace Hadal.Server.Models;

/// <summary>Local models from their options.</summary>
internal static class LocalModels
{
    private const int DefaultCacheTokens = 16384;

    /// <summary>Reads what a model will take from its headers; it is loaded later.</summary>
    /// <exception cref="IOException">It is not there, or the folder of its prefix cache cannot be made.</exception>
    /// <exception cref="InvalidDataException">It is damaged or not supported.</exception>
    public static LocalModel Describe(LocalModelOptions options)
    {
        var path = System.IO.Path.GetFullPath(options.Path);
        var name = options.Name.Length > 0 ? options.Name : NameOf(path);
        using var checkpoint = Checkpoint.Open(path);
        var cacheTokens = options.CacheTokens ?? Math.Min(checkpoint.Config.MaxPositionEmbeddings, DefaultCacheTokens);
        var run = options.Run with
        {
            ChatTemplate = options.ChatTemplate ?? options.Run.ChatTemplate,
            Engine = options.Run.Engine with { CacheTokens = cacheTokens, MaxSequences = options.MaxSequences, MaxWaiting = options.MaxWaiting },
        };
        run.MakePrefixCacheFolder();
        return new LocalModel(name, MemoryPlan.For(checkpoint, cacheTokens, run.Engine.Forward.Cache).RequiredBytes, options.Resident, (progress, notice, cancellation) =>
        {
            var model = HadalModel.Load(path, run, progress, notice, cancellation);
            return new ServedModel(name, model.Engine, model.Tokenizer, model.Template, model);
        });
    }

    private static string NameOf(string path) =>
        Directory.Exists(path) ? System.IO.Path.GetFileName(System.IO.Path.TrimEndingDirectorySeparator(path)) : System.IO.Path.GetFileNameWithoutExtension(path);
}
