using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Safetensors;
using Hadal.Numerics.Formats;

namespace Hadal.Training.Model;

/// <summary>Writes a model as the folder that Hadal and other DeepSeek-V3 engines load: config.json and model.safetensors in Hugging Face names.</summary>
public static class ModelWriter
{
    private const int PieceValues = 1 << 16;

    /// <summary>Writes config.json and model.safetensors; the tokenizer's files are the caller's.</summary>
    /// <param name="model">Source of the weights, rounded to nearest even.</param>
    /// <param name="folder">An existing folder that has neither of the two.</param>
    /// <param name="format">BF16, or F32 for exact weights; router biases are always F32.</param>
    /// <param name="mtpCopies">Whether MTP modules get their copies of embedding and head, as in DeepSeek's release; Hadal does without.</param>
    /// <exception cref="IOException">A file exists already, or cannot be written.</exception>
    public static void Write(TrainingModel model, string folder, WeightFormat format, bool mtpCopies = false)
    {
        ArgumentNullException.ThrowIfNull(model);
        var biases = model.RouterBiases.ToDictionary(bias => bias.Name, bias => bias.Values);
        var parameters = model.Parameters.ToDictionary(parameter => parameter.Name);
        Write(model, name => biases.TryGetValue(name, out var bias) ? bias : parameters[name].Weight, folder, format, mtpCopies);
    }

    /// <summary><see cref="Write(TrainingModel, string, WeightFormat, bool)"/> with values from elsewhere: a copy, while the model goes on changing.</summary>
    /// <param name="model">Says what there is.</param>
    /// <param name="values">The values of a parameter or router bias, by name.</param>
    /// <param name="folder">An existing folder.</param>
    /// <param name="format">BF16 or F32.</param>
    /// <param name="mtpCopies">Whether MTP modules get their copies.</param>
    internal static void Write(TrainingModel model, Func<string, ReadOnlySpan<float>> values, string folder, WeightFormat format, bool mtpCopies = false)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        if (format is not (WeightFormat.BF16 or WeightFormat.F32))
            throw new ArgumentException($"weights as {format}; BF16 or F32 can be written", nameof(format));
        var tensors = Tensors(model, mtpCopies);
        var dtype = format == WeightFormat.BF16 ? SafetensorsDtype.BF16 : SafetensorsDtype.F32;
        var biases = model.RouterBiases.Select(bias => new SafetensorsEntry(bias.Name, SafetensorsDtype.F32, [bias.Values.Length]));
        SafetensorsEntry[] entries = [.. tensors.Select(tensor => new SafetensorsEntry(tensor.Name, dtype, [.. tensor.Parameter.Shape.Shape.Select(d => (long)d)])), .. biases];
        using (var writer = new SafetensorsWriter(Path.Combine(folder, SafetensorsCheckpoint.SingleName), entries, new Dictionary<string, string> { ["format"] = "pt" }))
        {
            var codes = new byte[2 * PieceValues];
            foreach (var (_, parameter) in tensors)
                Write(writer, values(parameter.Name), dtype, codes);
            foreach (var bias in model.RouterBiases)
                writer.Write(values(bias.Name));
            writer.Complete();
        }

        var config = Path.Combine(folder, SafetensorsCheckpoint.ConfigName);
        using var file = new FileStream(config, FileMode.CreateNew);
        file.Write(System.Text.Encoding.UTF8.GetBytes(ConfigWriter.Json(model.Config, format == WeightFormat.BF16 ? "bfloat16" : "float32")));
        file.Flush(flushToDisk: true);
    }

    private static void Write(SafetensorsWriter writer, ReadOnlySpan<float> weight, SafetensorsDtype dtype, Span<byte> codes)
    {
        if (dtype == SafetensorsDtype.F32)
        {
            writer.Write(weight);
            return;
        }

        for (var start = 0; start < weight.Length; start += PieceValues)
        {
            var piece = weight.Slice(start, Math.Min(PieceValues, weight.Length - start));
            BF16.Encode(piece, codes[..(2 * piece.Length)]);
            writer.Write(codes[..(2 * piece.Length)]);
        }
    }

    private static List<(string Name, Parameter Parameter)> Tensors(TrainingModel model, bool mtpCopies)
    {
        var tensors = model.Parameters.Select(parameter => (parameter.Name, parameter)).ToList();
        if (!mtpCopies)
            return tensors;
        var embedding = model.Parameters.Single(p => p.Name == "model.embed_tokens.weight");
        var head = model.Parameters.FirstOrDefault(p => p.Name == "lm_head.weight") ?? embedding;
        for (var layer = model.Config.NumHiddenLayers; layer < model.Config.NumHiddenLayers + model.Config.NumNextnPredictLayers; layer++)
        {
            tensors.Add(($"model.layers.{layer}.embed_tokens.weight", embedding));
            tensors.Add(($"model.layers.{layer}.shared_head.head.weight", head));
        }

        return tensors;
    }
}
