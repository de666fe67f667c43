using System.Text.Json;
using Hadal.Training.Data;

namespace Hadal.Training.Verification;

/// <summary>Packed documents against <c>packed_expected</c>: with and without a mask between documents, with and without scores across borders.</summary>
internal sealed class PackedVerification(TrainingVerification verification, JsonElement json)
{
    public IEnumerable<TrainingCheck> Run()
    {
        foreach (var variant in json.GetProperty("variants").EnumerateObject())
        {
            foreach (var check in Variant(variant.Name, variant.Value))
                yield return check;
        }
    }

    private IEnumerable<TrainingCheck> Variant(string name, JsonElement recorded)
    {
        var group = $"packed {name}";
        var batch = Batch(name);
        var hasBalance = recorded.GetProperty("losses").TryGetProperty("balance_sequence", out var balance);
        using var model = verification.Load(batch.Tokens.Length, json.GetProperty("lambda").GetDouble(), json.GetProperty("alpha").GetDouble());
        var statistics = model.ForwardBackward(batch);
        var losses = recorded.GetProperty("losses");
        yield return TrainingCheck.Absolute(group, "main_ce", statistics.Losses.Main, losses.GetProperty("main_ce").GetDouble(), TrainingVerification.LossTolerance);
        yield return TrainingCheck.Absolute(group, "main_valid_count", statistics.Losses.ScoredTokens, recorded.GetProperty("main_valid_count").GetInt32(), 0);
        if (statistics.Losses.Mtp.Count > 0)
        {
            yield return TrainingCheck.Absolute(group, "mtp_ce", statistics.Losses.Mtp[0], losses.GetProperty("mtp_ce").GetDouble(), TrainingVerification.LossTolerance);
            yield return TrainingCheck.Absolute(group, "mtp_valid_count", model.Modules.Mtp[0].Layout.Scored, recorded.GetProperty("mtp_valid_count").GetInt32(), 0);
        }

        if (hasBalance)
            yield return TrainingCheck.Absolute(group, "balance_sequence", statistics.Losses.SequenceBalance, balance.GetDouble(), TrainingVerification.LossTolerance);
        yield return TrainingCheck.Absolute(group, "total_sequence", statistics.Losses.Total, losses.GetProperty("total_sequence").GetDouble(), TrainingVerification.LossTolerance);
        foreach (var check in TrainingVerification.Summaries(group, model, recorded.GetProperty("grad_summary").GetProperty("total_sequence")))
            yield return check;
    }

    private PackedBatch Batch(string variant)
    {
        var tokens = Integers(json.GetProperty("tokens"));
        var documents = Integers(json.GetProperty("document_of_token"));
        var plain = TrainingVerification.Batch(tokens, json.GetProperty("tokens").GetArrayLength());
        var length = plain.SequenceLength;
        int[] targets = new int[plain.Tokens.Length], positions = new int[targets.Length], starts = new int[targets.Length], ids = new int[targets.Length];
        var masked = variant.StartsWith('b');
        var scoredAcross = variant.EndsWith("unmasked", StringComparison.Ordinal);
        for (var row = 0; row < targets.Length; row++)
        {
            var (b, i) = (row / length, row % length);
            int Document(int token) => documents[(b * (length + 1)) + token];
            var start = i;
            while (start > 0 && Document(start - 1) == Document(i))
                start--;
            targets[row] = masked && !scoredAcross && Document(i + 1) != Document(i) ? -1 : plain.Targets[row];
            positions[row] = masked ? i - start : i;
            starts[row] = masked ? start : 0;
            ids[row] = scoredAcross ? 0 : Document(i);
        }

        return new PackedBatch
        {
            Sequences = plain.Sequences, SequenceLength = length, Tokens = plain.Tokens, Targets = targets, Positions = positions, DocumentStarts = starts, DocumentIds = ids,
        };
    }

    private static int[] Integers(JsonElement rows) => [.. rows.EnumerateArray().SelectMany(row => row.EnumerateArray().Select(value => value.GetInt32()))];
}
