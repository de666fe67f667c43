using Hadal.Training.Model;

namespace Hadal.Training.Runs;

/// <summary>Adds up what the parts of a step, or the batches of a validation, found: means by scored tokens, loads by counts.</summary>
internal sealed class StepTotals
{
    private double main;
    private double[] mtp = [];
    private double mtpWeighted;
    private double sequenceBalance;
    private double batchBalance;

    /// <summary>Scored positions.</summary>
    public long Scored { get; private set; }

    /// <summary>Tokens of each expert.</summary>
    public List<ExpertLoad> Loads { get; } = [];

    /// <summary>The heaviest expert relative to the mean of its layer, over all layers.</summary>
    public double WorstLoad => Loads.Count == 0 ? 0 : Loads.Max(l => l.Counts.Max() * (double)l.Counts.Length / Math.Max(1, l.Counts.Sum(c => (long)c)));

    /// <summary>The losses of the whole.</summary>
    public LossReport Losses => new()
    {
        Main = main / Math.Max(1, Scored),
        ScoredTokens = (int)Math.Min(int.MaxValue, Scored),
        Mtp = [.. mtp.Select(m => m / Math.Max(1, Scored))],
        MtpWeighted = mtpWeighted / Math.Max(1, Scored),
        SequenceBalance = sequenceBalance / Math.Max(1, Scored),
        BatchBalance = batchBalance / Math.Max(1, Scored),
    };

    /// <summary>Adds the losses of a part.</summary>
    public void Add(LossReport part)
    {
        var weight = (double)part.ScoredTokens;
        main += part.Main * weight;
        mtpWeighted += part.MtpWeighted * weight;
        sequenceBalance += part.SequenceBalance * weight;
        batchBalance += part.BatchBalance * weight;
        Scored += part.ScoredTokens;
        if (mtp.Length == 0)
            mtp = new double[part.Mtp.Count];
        for (var d = 0; d < mtp.Length; d++)
            mtp[d] += part.Mtp[d] * weight;
    }

    /// <summary>Adds what a part's experts were given.</summary>
    public void Add(IReadOnlyList<ExpertLoad> part)
    {
        foreach (var load in part)
        {
            if (Loads.FirstOrDefault(l => l.Layer == load.Layer) is not { } sum)
            {
                Loads.Add(new(load.Layer, (int[])load.Counts.Clone()));
                continue;
            }

            for (var e = 0; e < sum.Counts.Length; e++)
                sum.Counts[e] += load.Counts[e];
        }
    }
}
