using Hadal.Numerics.Formats;

namespace Hadal.Training.Model;

/// <summary>Writes a model as the folder that Hadal and other DeepSeek-V3 engines load: config.json and model.safetensors in Hugging Face names.</summary>
public static class ModelWriter
{
    /// <summary>Writes config.json and model.safetensors; the tokenizer's files are the caller's.</summary>
    /// <param name="model">Source of the weights, rounded to nearest even.</param>
    /// <param name="folder">An existing folder that has neither of the two.</param>
    /// <param name="format">BF16, or F32 for exact weights; router biases are always F32.</param>
    /// <param name="mtpCopies">Whether MTP modules get their copies of embedding and head, as in DeepSeek's release; Hadal does without.</param>
    public static void Write(TrainingModel model, string folder, WeightFormat format, bool mtpCopies = false) => throw new NotSupportedException("not computed yet");
}
