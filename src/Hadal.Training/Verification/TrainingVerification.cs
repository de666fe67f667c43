using System.Text.Json;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Safetensors;
using Hadal.Numerics.Threading;
using Hadal.Training.Data;
using Hadal.Training.Model;
using Hadal.Training.Optimization;
using Hadal.Training.Precision;

namespace Hadal.Training.Verification;

/// <summary>
/// Compares forward pass, backward pass and optimiser with recordings of the same model in PyTorch: losses, balance terms, routing, every recorded gradient,
/// packed documents, and an optimisation trajectory. Computed in float32.
/// </summary>
/// <remarks>
/// Beside the model lie <c>train_expected.safetensors</c> and <c>.json</c> (one batch), and where they were recorded <c>packed_expected.json</c> (packed
/// documents) and <c>trajectory.safetensors</c> and <c>.json</c> (steps of AdamW).
/// </remarks>
public sealed class TrainingVerification
{
    /// <summary>Name of the file that has to lie beside the model.</summary>
    public const string GoldenName = "train_expected.safetensors";

    internal const double LossTolerance = 1e-5;
    internal const double GradientTolerance = 3e-5;
    internal const double SummaryTolerance = 5e-5;

    private readonly Checkpoint checkpoint;
    private readonly string folder;
    private readonly KernelThreads threads;

    /// <summary>Prepares the comparison.</summary>
    /// <param name="checkpoint">The model; must stay open.</param>
    /// <param name="folder">Where the recordings lie.</param>
    /// <param name="threads">Pool to run on.</param>
    public TrainingVerification(Checkpoint checkpoint, string folder, KernelThreads threads)
    {
        this.checkpoint = checkpoint;
        this.folder = folder;
        this.threads = threads;
    }

    /// <summary>Makes every comparison, one after the other.</summary>
    /// <exception cref="IOException">A recording cannot be opened.</exception>
    public IEnumerable<TrainingCheck> Run()
    {
        using (var expected = SafetensorsFile.Open(Path.Combine(folder, GoldenName)))
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, Path.ChangeExtension(GoldenName, ".json"))));
            foreach (var check in new BatchVerification(this, expected, json.RootElement).Run())
                yield return check;
        }

        var packed = Path.Combine(folder, "packed_expected.json");
        if (File.Exists(packed))
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(packed));
            foreach (var check in new PackedVerification(this, json.RootElement).Run())
                yield return check;
        }

        var trajectory = Path.Combine(folder, "trajectory.safetensors");
        if (!File.Exists(trajectory))
            yield break;
        using (var expected = SafetensorsFile.Open(trajectory))
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(Path.ChangeExtension(trajectory, ".json")));
            foreach (var check in new TrajectoryVerification(this, expected, json.RootElement).Run())
                yield return check;
        }
    }

    /// <summary>The model, loaded, in float32.</summary>
    internal TrainingModel Load(int tokens, double lambda, double sequenceAlpha, double batchAlpha = 0, BalanceCounts counts = BalanceCounts.UnbiasedTopK)
    {
        var model = new TrainingModel(
            checkpoint.Config,
            new TrainingOptions
            {
                Precision = TrainingPrecision.Fp32, MaxTokens = tokens, MtpLambda = lambda, SequenceAlpha = sequenceAlpha, BatchAlpha = batchAlpha, BalanceCounts = counts,
            },
            threads);
        model.Load(checkpoint);
        return model;
    }

    /// <summary>Sequences of T + 1 tokens as a batch of T: the last token is only ever a target.</summary>
    internal static PackedBatch Batch(ReadOnlySpan<int> tokens, int sequences)
    {
        var length = (tokens.Length / sequences) - 1;
        int[] inputs = new int[sequences * length], targets = new int[inputs.Length], positions = new int[inputs.Length];
        for (var row = 0; row < inputs.Length; row++)
        {
            var (b, i) = (row / length, row % length);
            inputs[row] = tokens[(b * (length + 1)) + i];
            targets[row] = tokens[(b * (length + 1)) + i + 1];
            positions[row] = i;
        }

        return new PackedBatch
        {
            Sequences = sequences, SequenceLength = length, Tokens = inputs, Targets = targets, Positions = positions,
            DocumentStarts = new int[inputs.Length], DocumentIds = new int[inputs.Length],
        };
    }

    internal static TensorSummary Summary(JsonElement values) => new(values[0].GetDouble(), values[1].GetDouble(), values[2].GetDouble());

    /// <summary>Layers with a router are called <c>layerL</c>, and <c>mtp</c> for the first MTP module.</summary>
    internal static string LayerName(TrainingModel model, int layer) => layer < model.Config.NumHiddenLayers ? $"layer{layer}" : "mtp";

    /// <summary>Every parameter's gradient against recorded summaries.</summary>
    internal static IEnumerable<TrainingCheck> Summaries(string group, TrainingModel model, JsonElement summaries)
    {
        foreach (var entry in summaries.EnumerateObject())
        {
            var parameter = model.Parameters.FirstOrDefault(p => p.Name == entry.Name);
            var error = parameter is null ? double.NaN : TensorSummary.Of(parameter.Gradient).DifferenceFrom(Summary(entry.Value));
            yield return new TrainingCheck(group, $"gradient of {entry.Name}, norm, sum and probe / norm", error, SummaryTolerance);
        }

        foreach (var parameter in model.Parameters.Where(p => !summaries.TryGetProperty(p.Name, out _)))
            yield return new TrainingCheck(group, $"gradient of {parameter.Name}: not recorded", double.NaN, SummaryTolerance);
    }
}
