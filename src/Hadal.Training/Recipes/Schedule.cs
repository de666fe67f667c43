namespace Hadal.Training.Recipes;

/// <summary>A stretch of a <see cref="Schedule"/>.</summary>
public sealed record ScheduleStage
{
    /// <summary>How long it lasts, in tokens; the last stage may leave it out and lasts to the end.</summary>
    public double? Tokens { get; init; }

    /// <summary>How long it lasts, as a share of all tokens of the run, in place of <see cref="Tokens"/>.</summary>
    public double? Share { get; init; }

    /// <summary>The value it begins with; left out, that with which the stage before ended.</summary>
    public double? Value { get; init; }

    /// <summary>The value it ends with, reached along half a cosine: v + (value − v) (1 + cos πx) / 2 for x from 0 to 1.</summary>
    public double? CosineTo { get; init; }

    /// <summary>The value it ends with, reached along a line.</summary>
    public double? LinearTo { get; init; }
}

/// <summary>
/// A number that changes while a run consumes tokens: a learning rate, a batch size, a bias update speed, a loss weight. In a recipe it is a number, or
/// <c>{"stages": [...]}</c>.
/// </summary>
public sealed record Schedule
{
    /// <summary>The stretches, in order; at least one.</summary>
    public required IReadOnlyList<ScheduleStage> Stages { get; init; }

    /// <summary>A number that does not change.</summary>
    public static Schedule Constant(double value) => new() { Stages = [new() { Value = value }] };

    /// <summary>The number after a count of tokens.</summary>
    /// <param name="tokens">Tokens consumed so far.</param>
    /// <param name="total">Tokens of the whole run.</param>
    public double At(double tokens, double total)
    {
        var (start, value) = (0.0, 0.0);
        foreach (var stage in Stages)
        {
            value = stage.Value ?? value;
            var length = Length(stage, total) ?? Math.Max(0, total - start);
            var target = stage.CosineTo ?? stage.LinearTo ?? value;
            if (tokens < start + length)
            {
                var part = (tokens - start) / length;
                return stage.CosineTo is not null ? target + ((value - target) * (1 + Math.Cos(Math.PI * part)) / 2) : value + ((target - value) * part);
            }

            start += length;
            value = target;
        }

        return value;
    }

    /// <summary>What is wrong with it, or null.</summary>
    /// <param name="least">The least value allowed.</param>
    /// <param name="most">The greatest.</param>
    internal string? Problem(double least, double most)
    {
        if (Stages.Count == 0)
            return "expected at least one stage";
        if (Stages[0].Value is null)
            return "expected a value in the first stage";
        for (var i = 0; i < Stages.Count; i++)
        {
            var stage = Stages[i];
            if (stage.Tokens is not null && stage.Share is not null)
                return $"stage {i}: expected tokens or share, found both";
            if (stage.CosineTo is not null && stage.LinearTo is not null)
                return $"stage {i}: expected cosine_to or linear_to, found both";
            if (stage.Tokens is null && stage.Share is null && i + 1 < Stages.Count)
                return $"stage {i}: expected tokens or share, which only the last stage may leave out";
            if ((stage.Tokens ?? stage.Share) is <= 0)
                return $"stage {i}: expected a length above 0";
            foreach (var value in new[] { stage.Value, stage.CosineTo, stage.LinearTo })
            {
                if (value is { } number && !(number >= least && number <= most))
                    return $"stage {i}: expected values from {least} to {most}, found {number}";
            }
        }

        return null;
    }

    private static double? Length(ScheduleStage stage, double total) => stage.Tokens ?? (stage.Share * total);
}
