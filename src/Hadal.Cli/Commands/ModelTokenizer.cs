using Hadal.Checkpoints.Gguf;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Cli.Commands;

/// <summary>A model's tokenizer alone: no config.json and no weights are needed for it.</summary>
internal static class ModelTokenizer
{
    /// <summary>Opens the tokenizer of a folder, a .gguf file or a tokenizer.json.</summary>
    /// <exception cref="FileNotFoundException">There is none.</exception>
    /// <exception cref="InvalidDataException">It is damaged or not supported.</exception>
    public static Tokenizer Open(string model)
    {
        if (Directory.Exists(model))
        {
            return File.Exists(Path.Combine(model, "tokenizer.json"))
                ? Tokenizer.FromTokenizerJson(model)
                : throw new FileNotFoundException($"{model}: expected tokenizer.json, found none; the model works with token ids only");
        }

        if (!File.Exists(model))
            throw new FileNotFoundException($"{model}: expected a model folder or a .gguf file, found nothing");
        if (model.EndsWith(".json", StringComparison.OrdinalIgnoreCase))
            return Tokenizer.FromTokenizerJson(model);
        using var gguf = GgufFile.Open(model);
        return Tokenizer.FromGguf(gguf.Metadata);
    }
}
