using System.Text.Json;
using Hadal.Checkpoints.Safetensors;
using Hadal.Numerics;
using Hadal.Training.Model;
using Hadal.Training.Optimization;

namespace Hadal.Training.Verification;

/// <summary>One batch against <c>train_expected</c>.</summary>
internal sealed class BatchVerification(TrainingVerification verification, SafetensorsFile expected, JsonElement json)
{
    // Recorded in float32.
    private const double StoredTolerance = 1e-6;

    // Of an affinity, which is at most 1; the routed scaling factor multiplies it.
    private const double WeightTolerance = 1e-5;

    private readonly double lambda = json.GetProperty("lambda").GetDouble();
    private readonly double alpha = json.GetProperty("alpha").GetDouble();
    private readonly JsonElement losses = json.GetProperty("losses");

    public IEnumerable<TrainingCheck> Run()
    {
        foreach (var check in Sequence())
            yield return check;
        if (!losses.TryGetProperty("balance_batch", out _))
            yield break;
        foreach (var check in Variant("batch", "balance_batch", 0, alpha, BalanceCounts.UnbiasedTopK))
            yield return check;
        foreach (var check in Variant("sequence, experts really chosen", "balance_sequence_actual_selection", alpha, 0, BalanceCounts.Selected))
            yield return check;
        foreach (var check in Variant("batch, experts really chosen", "balance_batch_actual_selection", 0, alpha, BalanceCounts.Selected))
            yield return check;
    }

    private TrainingModel Model(Data.PackedBatch batch, double sequenceAlpha, double batchAlpha, BalanceCounts counts) =>
        verification.Load(batch.Tokens.Length, lambda, sequenceAlpha, batchAlpha, counts);

    private Data.PackedBatch Batch() => TrainingVerification.Batch(expected.ReadInt32("tokens"), (int)expected.Find("tokens").Shape[0]);

    private IEnumerable<TrainingCheck> Sequence()
    {
        const string Group = "sequence";
        var batch = Batch();
        using var model = Model(batch, alpha, 0, BalanceCounts.UnbiasedTopK);
        var recorded = new Dictionary<string, float[]>();
        model.Probe = (name, values) => recorded.TryAdd(name, Flatten(values));
        var statistics = model.ForwardBackward(batch);
        foreach (var check in Losses(Group, statistics.Losses))
            yield return check;
        foreach (var check in Routing(Group, model, statistics))
            yield return check;
        foreach (var parameter in model.Parameters)
        {
            var name = $"grad.{parameter.Name}";
            if (expected.Tensors.ContainsKey(name))
                yield return TrainingCheck.Relative(Group, $"gradient of {parameter.Name}, relative", parameter.Gradient, expected.ReadSingles(name), TrainingVerification.GradientTolerance);
            else if (expected.Tensors.ContainsKey($"{name}.slice"))
                yield return TrainingCheck.Relative(Group, $"gradient of {parameter.Name}, recorded rows, relative", Rows(parameter, expected.ReadInt32($"{name}.rows")), expected.ReadSingles($"{name}.slice"), TrainingVerification.GradientTolerance);
            else
                yield return new TrainingCheck(Group, $"gradient of {parameter.Name}: not recorded", double.NaN, TrainingVerification.GradientTolerance);
        }

        foreach (var check in TrainingVerification.Summaries(Group, model, json.GetProperty("grad_summary").GetProperty(losses.TryGetProperty("total_sequence", out _) ? "total_sequence" : "total_none")))
            yield return check;
        foreach (var name in expected.Tensors.Keys.Where(key => key.StartsWith("dhidden.", StringComparison.Ordinal)))
        {
            var values = recorded.GetValueOrDefault(name["dhidden.".Length..]) ?? [];
            yield return TrainingCheck.Relative(Group, $"gradient of activation {name["dhidden.".Length..]}, relative", values, expected.ReadSingles(name), TrainingVerification.GradientTolerance);
        }

        yield return TrainingCheck.Relative(
            Group, "gradient of the first logits, relative", recorded["logits"].AsSpan(0, model.Config.VocabSize), expected.ReadSingles("dlogits_row0_pos0"), TrainingVerification.GradientTolerance);
    }

    private IEnumerable<TrainingCheck> Losses(string group, LossReport report)
    {
        yield return Loss(group, "main_ce", report.Main);
        if (report.Mtp.Count > 0)
            yield return Loss(group, "mtp_ce", report.Mtp[0]);
        if (losses.TryGetProperty("balance_sequence", out _))
            yield return Loss(group, "balance_sequence", report.SequenceBalance);
        yield return Loss(group, losses.TryGetProperty("total_sequence", out _) ? "total_sequence" : "total_none", report.Total);
    }

    private TrainingCheck Loss(string group, string name, double actual) =>
        TrainingCheck.Absolute(group, name, actual, losses.GetProperty(name).GetDouble(), TrainingVerification.LossTolerance);

    private IEnumerable<TrainingCheck> Routing(string group, TrainingModel model, StepStatistics statistics)
    {
        yield return PerToken(group, "main_ce_per_token", model.Modules.TokenLosses);
        foreach (var module in model.Modules.Mtp.Take(1))
            yield return PerToken(group, "mtp_ce_per_token", module.TokenLosses);
        RouterBiasUpdate.Apply(model, statistics.ExpertLoads, json.GetProperty("gamma").GetDouble());
        foreach (var (layer, router) in model.Modules.Routers)
        {
            var name = TrainingVerification.LayerName(model, layer);
            yield return TrainingCheck.Equal(group, $"{name}.counts", statistics.ExpertLoads.Single(load => load.Layer == layer).Counts, expected.ReadInt32($"{name}.counts"));
            var ids = expected.ReadInt32($"{name}.routed_ids");
            yield return TrainingCheck.Equal(group, $"{name}.routed_ids", router.Ids.AsSpan(0, ids.Length), ids);
            var weights = expected.ReadSingles($"{name}.routed_weights");
            yield return TrainingCheck.Largest(
                group, $"{name}.routed_weights", Doubles(router.Weights.AsSpan(0, weights.Length)), Doubles(weights), WeightTolerance * Math.Max(1, model.Config.RoutedScalingFactor));
            foreach (var (what, values) in new[] { ("f_sequence", router.Balance.SequenceF), ("P_sequence", router.Balance.SequenceP), ("f_batch", router.Balance.BatchF), ("P_batch", router.Balance.BatchP) })
            {
                var golden = expected.ReadDoubles($"{name}.{what}");
                yield return TrainingCheck.Largest(group, $"{name}.{what}", values.AsSpan(0, golden.Length), golden, StoredTolerance);
            }

            var bias = model.RouterBiases.FirstOrDefault(b => b.Layer == layer);
            if (bias is not null)
                yield return TrainingCheck.Largest(group, $"{name}.bias_after_update", Doubles(bias.Values), Doubles(expected.ReadSingles($"{name}.bias_after_update")), StoredTolerance);
        }
    }

    private TrainingCheck PerToken(string group, string name, float[] values)
    {
        var golden = expected.ReadDoubles(name);
        return TrainingCheck.Largest(group, name, Doubles(values.AsSpan(0, golden.Length)), golden, 2 * TrainingVerification.LossTolerance);
    }

    // Another balance loss: its value, and the whole gradient, whose sums and probes are those of the parts added up.
    private IEnumerable<TrainingCheck> Variant(string group, string name, double sequenceAlpha, double batchAlpha, BalanceCounts counts)
    {
        var batch = Batch();
        using var model = Model(batch, sequenceAlpha, batchAlpha, counts);
        var report = model.ForwardBackward(batch).Losses;
        yield return Loss(group, name, report.SequenceBalance + report.BatchBalance);
        var summaries = json.GetProperty("grad_summary");
        foreach (var part in summaries.GetProperty(name).EnumerateObject())
        {
            var balance = TrainingVerification.Summary(part.Value);
            var rest = TrainingVerification.Summary(summaries.GetProperty("total_none").GetProperty(part.Name));
            var actual = TensorSummary.Of(model.Parameters.Single(p => p.Name == part.Name).Gradient);
            var whole = new TensorSummary(rest.Norm, rest.Sum + balance.Sum, rest.Probe + balance.Probe);
            yield return new TrainingCheck(
                group, $"gradient of {part.Name}, sum and probe / norm", (actual with { Norm = rest.Norm }).DifferenceFrom(whole), TrainingVerification.SummaryTolerance);
        }
    }

    private static float[] Flatten(MatrixView view)
    {
        var values = new float[view.Rows * view.Cols];
        for (var row = 0; row < view.Rows; row++)
            view.ReadRow(row, values.AsSpan(row * view.Cols, view.Cols));
        return values;
    }

    private static float[] Rows(Parameter parameter, int[] rows)
    {
        var width = parameter.Shape.Shape[^1];
        var values = new float[rows.Length * width];
        for (var i = 0; i < rows.Length; i++)
            parameter.Gradient.Slice(rows[i] * width, width).CopyTo(values.AsSpan(i * width));
        return values;
    }

    private static double[] Doubles(ReadOnlySpan<float> values)
    {
        var doubles = new double[values.Length];
        for (var i = 0; i < values.Length; i++)
            doubles[i] = values[i];
        return doubles;
    }
}
