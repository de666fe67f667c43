using System.Text.Json;

namespace Hadal.Inference.Constraints;

/// <summary>
/// Numbers that are multiples of another (<c>multipleOf</c>), digit by digit: a state of the grammar is a place in the number, what the digits so far leave when
/// divided, and whether they are still those of a bound. Exact: everything is counted in units of the last decimal.
/// </summary>
internal static class JsonMultiples
{
    // Of digits that all doubles tell apart.
    private const int MostDigits = 15;
    private const long Largest = 999_999_999_999_999;
    private const int MostFraction = 9;
    private const long LargestDivisor = 4096;

    /// <summary>The multiples between two bounds, without exponent.</summary>
    /// <param name="grammar">The grammar.</param>
    /// <param name="multipleOf">The keyword's value.</param>
    /// <param name="min">Lower bound; minus infinity for none.</param>
    /// <param name="max">Upper bound.</param>
    /// <param name="openMin">Whether the lower bound itself is out.</param>
    /// <param name="openMax">Whether the upper bound itself is out.</param>
    /// <param name="whole">Whether only whole numbers are wanted.</param>
    /// <param name="path">Where in the schema.</param>
    /// <exception cref="ConstraintException">There are none, or the divisor has too many digits.</exception>
    public static Piece Of(Grammar grammar, JsonElement multipleOf, double min, double max, bool openMin, bool openMax, bool whole, string path)
    {
        if (multipleOf.ValueKind != JsonValueKind.Number || !multipleOf.TryGetDecimal(out var step) || step <= 0)
            throw new ConstraintException("expected 'multipleOf' to be a number above 0", path);
        var fraction = 0;
        for (; step != decimal.Floor(step) && fraction <= MostFraction; fraction++)
            step *= 10;
        if (fraction > MostFraction || step > LargestDivisor)
            throw new ConstraintException($"'multipleOf' with more than {MostFraction} decimals, or above {LargestDivisor} in units of its last one, is not supported", path);

        // Whole numbers that are multiples of a fraction are those of what it has in common with 1.
        var (divisor, unit) = ((long)step, (long)Math.Pow(10, fraction));
        var pieces = new List<Piece>();
        Add(divisor / Gcd(divisor, unit), 0);
        if (!whole && fraction > 0)
            Add(divisor, fraction);
        return pieces.Count > 0 ? grammar.AnyOf(pieces) : throw ConstraintException.Contradiction("no multiple is between the bounds", path);

        void Add(long each, int decimals)
        {
            var scale = (decimal)Math.Pow(10, decimals);
            var (low, high) = (Math.Max(-Largest, Scaled(min, scale, openMin, up: true)), Math.Min(Largest, Scaled(max, scale, openMax, up: false)));
            if (high >= 0 && Naturals(grammar, Math.Max(low, 0), high, each, decimals) is { } positive)
                pieces.Add(positive);
            if (low < 0 && Naturals(grammar, Math.Max(1, -high), -low, each, decimals) is { } negative)
                pieces.Add(Grammar.Sequence(grammar.Text("-"), negative));
        }
    }

    // A bound in units of the last decimal; the next unit where the bound itself is out.
    private static long Scaled(double bound, decimal scale, bool isOpen, bool up)
    {
        var exact = (decimal)Math.Clamp(bound, -Largest, Largest) * scale;
        var unit = up ? decimal.Ceiling(exact) : decimal.Floor(exact);
        if (isOpen && unit == exact)
            unit += up ? 1 : -1;
        return (long)Math.Clamp(unit, -Largest - 1, Largest + 1);
    }

    private static Piece? Naturals(Grammar grammar, long low, long high, long divisor, int decimals)
    {
        var pieces = new List<Piece>();
        for (var length = decimals + 1; length <= MostDigits; length++)
        {
            // One digit stands before the point at least, and it may be 0 if it is the only one.
            var least = length == decimals + 1 ? 0 : (long)Math.Pow(10, length - 1);
            var (from, to) = (Math.Max(low, least), Math.Min(high, (long)Math.Pow(10, length) - 1));
            from = checked((from + divisor - 1) / divisor * divisor);
            if (from <= to)
                pieces.Add(new Digits(grammar, from, to, length, divisor, decimals).Piece);
        }

        return pieces.Count > 0 ? grammar.AnyOf(pieces) : null;
    }

    private static long Gcd(long a, long b) => b == 0 ? a : Gcd(b, a % b);

    // Numbers of so many digits from one to another.
    private sealed class Digits(Grammar grammar, long low, long high, int length, long divisor, int decimals)
    {
        private readonly string first = low.ToString($"D{length}", System.Globalization.CultureInfo.InvariantCulture);
        private readonly string last = high.ToString($"D{length}", System.Globalization.CultureInfo.InvariantCulture);
        private readonly Dictionary<(int, long, bool, bool), int?> states = [];
        private int end;

        public Piece Piece => from =>
        {
            states.Clear();
            end = grammar.State();
            if (State(0, 0, isLowest: true, isHighest: true) is { } state)
                grammar.Join(from, state);
            return end;
        };

        // The state behind so many digits that leave a rest; null where nothing goes on from it.
        private int? State(int at, long rest, bool isLowest, bool isHighest)
        {
            if (at == length)
                return rest == 0 ? end : null;
            if (states.TryGetValue((at, rest, isLowest, isHighest), out var known))
                return known;
            int? state = null;
            for (var digit = isLowest ? first[at] : '0'; digit <= (isHighest ? last[at] : '9'); digit++)
            {
                if (State(at + 1, ((rest * 10) + (digit - '0')) % divisor, isLowest && digit == first[at], isHighest && digit == last[at]) is not { } next)
                    continue;
                state ??= grammar.State();
                var begin = decimals > 0 && at == length - decimals ? grammar.Text(".")(state.Value) : state.Value;
                grammar.Join(grammar.Byte((byte)digit, (byte)digit)(begin), next);
            }

            states[(at, rest, isLowest, isHighest)] = state;
            return state;
        }
    }
}
