using Hadal.Checkpoints.Tokenization;

namespace Hadal.Cli.Commands;

/// <summary>A model's tokenizer alone: no config.json and no weights are needed for it.</summary>
internal static class ModelTokenizer
{
    /// <summary>Opens the tokenizer of a folder, a .gguf file or a tokenizer.json.</summary>
    /// <exception cref="CommandException">There is none.</exception>
    /// <exception cref="InvalidDataException">It is damaged or not supported.</exception>
    public static Tokenizer Open(string model)
    {
        if (!Directory.Exists(model) && !File.Exists(model))
            throw new FileNotFoundException($"{model}: expected a model folder or a .gguf file, found nothing");
        return OpenOrNull(model) ?? throw new CommandException($"{model}: expected a tokenizer, found none", "such a model works with token ids: --tokens 1,2,3");
    }

    /// <summary>Opens the tokenizer of a model, or gives null where the model has none.</summary>
    /// <exception cref="InvalidDataException">It is damaged or not supported.</exception>
    public static Tokenizer? OpenOrNull(string model) => Tokenizer.OfModel(model);
}
