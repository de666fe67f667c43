using System.Runtime.InteropServices;
using System.Text.Json;
using Hadal.Checkpoints.Safetensors;
using Hadal.Training.Model;
using Hadal.Training.Optimization;

namespace Hadal.Training.Verification;

/// <summary>Steps of AdamW with clipping, warm-up and bias updates against <c>trajectory</c>.</summary>
internal sealed class TrajectoryVerification(TrainingVerification verification, SafetensorsFile expected, JsonElement json)
{
    private const string Group = "trajectory";
    private const double LossTolerance = 2e-4;
    private const double NormTolerance = 1e-4;
    private const double UpdateTolerance = 2e-2;
    private const double BiasTolerance = 1e-6;

    public IEnumerable<TrainingCheck> Run()
    {
        var settings = json.GetProperty("hyperparameters");
        double Setting(string name) => settings.GetProperty(name).GetDouble();
        var tokens = expected.ReadInt32("tokens");
        var shape = expected.Find("tokens").Shape;
        var (perStep, sequences) = (tokens.Length / (int)shape[0], (int)shape[1]);
        using var model = verification.Load(perStep, Setting("lam"), Setting("alpha"));
        var initial = model.Parameters.ToDictionary(p => p.Name, p => p.Weight.ToArray());
        foreach (var step in json.GetProperty("steps").EnumerateArray())
        {
            var number = step.GetProperty("step").GetInt32();
            var batch = TrainingVerification.Batch(tokens.AsSpan((number - 1) * perStep, perStep), sequences);
            model.ClearGradients();
            var statistics = model.ForwardBackward(batch);
            yield return TrainingCheck.Absolute(Group, $"step {number}, main_ce", statistics.Losses.Main, step.GetProperty("main_ce").GetDouble(), LossTolerance);
            yield return TrainingCheck.Absolute(Group, $"step {number}, total", statistics.Losses.Total, step.GetProperty("total").GetDouble(), LossTolerance);
            var result = AdamW.Step(model, new AdamWSettings
            {
                Step = number, LearningRate = step.GetProperty("lr").GetDouble(), Beta1 = Setting("beta1"), Beta2 = Setting("beta2"), Epsilon = Setting("eps"),
                WeightDecay = Setting("weight_decay"), MaxGradientNorm = Setting("clip"),
            });
            var norm = step.GetProperty("grad_norm_before_clipping").GetDouble();
            yield return TrainingCheck.Absolute(Group, $"step {number}, gradient norm / norm", result.GradientNorm / norm, 1, NormTolerance);
            RouterBiasUpdate.Apply(model, statistics.ExpertLoads, Setting("gamma"));
            foreach (var check in AfterStep(model, statistics, number))
                yield return check;
        }

        foreach (var entry in json.GetProperty("final").EnumerateObject())
        {
            var parameter = model.Parameters.Single(p => p.Name == entry.Name);
            var start = initial[entry.Name];
            yield return Recorded(parameter, start);
            yield return Summary(entry, "delta", Difference(parameter.Weight, start));
            yield return Summary(entry, "adam_m", MemoryMarshal.Cast<byte, float>(parameter.FirstMoment));
            yield return Summary(entry, "adam_v", MemoryMarshal.Cast<byte, float>(parameter.SecondMoment));
        }
    }

    private IEnumerable<TrainingCheck> AfterStep(TrainingModel model, StepStatistics statistics, int number)
    {
        foreach (var load in statistics.ExpertLoads)
        {
            var name = $"{TrainingVerification.LayerName(model, load.Layer)}.counts";
            yield return TrainingCheck.Equal(Group, $"step {number}, {name}", load.Counts, expected.ReadInt32(name).AsSpan((number - 1) * load.Counts.Length, load.Counts.Length));
        }

        foreach (var bias in model.RouterBiases)
        {
            var golden = expected.ReadDoubles($"bias.{bias.Name}").AsSpan((number - 1) * bias.Values.Length, bias.Values.Length).ToArray();
            yield return TrainingCheck.Largest(Group, $"step {number}, {bias.Name}", bias.Values.Select(value => (double)value).ToArray(), golden, BiasTolerance);
        }
    }

    private static TrainingCheck Summary(JsonProperty entry, string what, ReadOnlySpan<float> values) => new(
        Group, $"{what} of {entry.Name}, norm, sum and probe / norm", TensorSummary.Of(values).DifferenceFrom(TrainingVerification.Summary(entry.Value.GetProperty(what))), UpdateTolerance);

    private static float[] Difference(ReadOnlySpan<float> values, ReadOnlySpan<float> start)
    {
        var difference = new float[values.Length];
        System.Numerics.Tensors.TensorPrimitives.Subtract(values, start, difference);
        return difference;
    }

    // How far the parameter has come, over the rows that were recorded.
    private TrainingCheck Recorded(Parameter parameter, float[] start)
    {
        var name = $"param.{parameter.Name}";
        var sliced = expected.Tensors.ContainsKey($"{name}.slice");
        var width = parameter.Shape.Shape[^1];
        float[] Rows(float[] values) => sliced ? [.. expected.ReadInt32($"{name}.rows").SelectMany(row => values[(row * width)..((row + 1) * width)])] : values;
        var from = Rows(start);
        return TrainingCheck.Relative(
            Group, $"update of {parameter.Name}, recorded rows, relative", Difference(Rows(parameter.Weight.ToArray()), from),
            Difference(expected.ReadSingles(sliced ? $"{name}.slice" : name), from), UpdateTolerance);
    }
}
