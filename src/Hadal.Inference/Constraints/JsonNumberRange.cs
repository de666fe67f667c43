using System.Globalization;

namespace Hadal.Inference.Constraints;

/// <summary>Numbers between two bounds, digit by digit.</summary>
internal static class JsonNumberRange
{
    // Beyond this a double no longer has every whole number.
    private const long Largest = 999_999_999_999_999;
    private const int FractionDigits = 12;

    /// <summary>Whole numbers from <paramref name="min"/> to <paramref name="max"/>.</summary>
    /// <exception cref="ConstraintException">There are none.</exception>
    public static Piece Integers(Grammar grammar, double min, double max, string path)
    {
        var low = (long)Math.Ceiling(Math.Max(min, -Largest));
        var high = (long)Math.Floor(Math.Min(max, Largest));
        if (low > high)
            throw ConstraintException.Contradiction("no whole number is between the bounds", path);
        var pieces = new List<Piece>();
        if (low < 0)
            pieces.Add(Grammar.Sequence(grammar.Text("-"), Naturals(grammar, high < 0 ? -high : 1, -low)));
        if (high >= 0)
            pieces.Add(Naturals(grammar, Math.Max(low, 0), high));
        return grammar.AnyOf(pieces);
    }

    /// <summary>Numbers between two bounds but for a few.</summary>
    /// <param name="excluded">Those that are left out.</param>
    /// <param name="between">Makes the numbers between two bounds: lower, upper, whether either is out.</param>
    /// <param name="grammar">The grammar.</param>
    /// <param name="bounds">The bounds.</param>
    /// <param name="path">Where in the schema.</param>
    public static Piece Except(IEnumerable<double> excluded, (double Min, double Max, bool OpenMin, bool OpenMax) bounds, Func<double, double, bool, bool, Piece> between, Grammar grammar, string path)
    {
        var pieces = new List<Piece>();
        var (low, open) = (bounds.Min, bounds.OpenMin);
        foreach (var number in excluded.Where(n => n >= bounds.Min && n <= bounds.Max).Distinct().Order())
        {
            Add(low, number, open, true);
            (low, open) = (number, true);
        }

        Add(low, bounds.Max, open, bounds.OpenMax);
        return pieces.Count > 0 ? grammar.AnyOf(pieces) : throw ConstraintException.Contradiction("no number is between the bounds", path);

        void Add(double from, double to, bool openFrom, bool openTo)
        {
            try
            {
                pieces.Add(between(from, to, openFrom, openTo));
            }
            catch (ConstraintException e) when (e.IsContradiction)
            {
                // Nothing is between these two.
            }
        }
    }

    /// <summary>Numbers between two bounds, written without exponent and with at most 12 digits behind the point.</summary>
    /// <param name="grammar">The grammar.</param>
    /// <param name="min">Lower bound; minus infinity for none.</param>
    /// <param name="max">Upper bound.</param>
    /// <param name="openMin">Whether the lower bound itself is out.</param>
    /// <param name="openMax">Whether the upper bound itself is out.</param>
    /// <param name="path">Where in the schema.</param>
    public static Piece Decimals(Grammar grammar, double min, double max, bool openMin, bool openMax, string path)
    {
        var (low, high) = ((decimal)Math.Max(min, -Largest), (decimal)Math.Min(max, Largest));
        if (low > high || (low == high && (openMin || openMax)))
            throw ConstraintException.Contradiction("no number is between the bounds", path);
        var pieces = new List<Piece>();
        if (low < 0)
            AddPositive(grammar, Math.Max(-high, 0), -low, openMax && high <= 0, openMin, grammar.Text("-"), pieces);
        if (high >= 0)
            AddPositive(grammar, Math.Max(low, 0), high, openMin && low >= 0, openMax, Grammar.Nothing, pieces);
        return pieces.Count > 0 ? grammar.AnyOf(pieces) : throw ConstraintException.Contradiction("no number is between the bounds", path);
    }

    // Numbers from low to high, both at least 0: the whole parts strictly between have any fraction, those of the bounds have what the bounds leave.
    private static void AddPositive(Grammar grammar, decimal low, decimal high, bool openLow, bool openHigh, Piece sign, List<Piece> pieces)
    {
        var (first, last) = ((long)decimal.Floor(low), (long)decimal.Floor(high));
        var (above, below) = (Digits(low - first), Digits(high - last));
        void Add(long whole, Piece? fraction)
        {
            if (fraction is not null)
                pieces.Add(Grammar.Sequence(sign, grammar.Text(whole.ToString(CultureInfo.InvariantCulture)), fraction));
        }

        if (first == last)
        {
            Add(first, Fractions(grammar, above, below, openLow, openHigh));
            return;
        }

        Add(first, Fractions(grammar, above, null, openLow, openHigh: false));
        if (last - first > 1)
            pieces.Add(Grammar.Sequence(sign, Naturals(grammar, first + 1, last - 1), grammar.Optional(Grammar.Sequence(grammar.Text("."), grammar.Repeat(Digit(grammar), 1, FractionDigits)))));
        Add(last, Fractions(grammar, "", below, openLow: false, openHigh));
    }

    // A point and digits, or nothing, for a fraction from low to high; high null for anything below 1. Null where there is none.
    private static Piece? Fractions(Grammar grammar, string low, string? high, bool openLow, bool openHigh)
    {
        var digits = new List<Piece>();
        for (var length = 1; length <= FractionDigits; length++)
        {
            var (from, to) = (Scaled(low, length, roundUp: true), high is null ? Scaled("", length, false) + (long)Math.Pow(10, length) - 1 : Scaled(high, length, roundUp: false));
            if (openLow && low.Length <= length && from == Scaled(low, length, false))
                from++;
            if (openHigh && high is not null && high.Length <= length)
                to--;
            if (from <= to)
                digits.Add(Padded(grammar, from, to, length));
        }

        var choices = new List<Piece>();
        if (low.Length == 0 && !openLow && !(openHigh && high is { Length: 0 }))
            choices.Add(Grammar.Nothing);
        if (digits.Count > 0)
            choices.Add(Grammar.Sequence(grammar.Text("."), grammar.AnyOf(digits)));
        return choices.Count == 0 ? null : grammar.AnyOf(choices);
    }

    private static string Digits(decimal fraction) => fraction.ToString("0.############", CultureInfo.InvariantCulture) is var text && text.Length > 2 ? text[2..] : "";

    // The fraction 0.DIGITS times 10^length.
    private static long Scaled(string digits, int length, bool roundUp)
    {
        var kept = long.Parse("0" + digits[..Math.Min(digits.Length, length)].PadRight(length, '0'), CultureInfo.InvariantCulture);
        return kept + (roundUp && digits.Length > length ? 1 : 0);
    }

    /// <summary>Whole numbers of at least 0, without leading zeros.</summary>
    private static Piece Naturals(Grammar grammar, long low, long high)
    {
        var pieces = new List<Piece>();
        for (var length = 1; length <= 16; length++)
        {
            var (least, most) = (length == 1 ? 0 : (long)Math.Pow(10, length - 1), (long)Math.Pow(10, length) - 1);
            if (Math.Max(low, least) <= Math.Min(high, most))
                pieces.Add(Padded(grammar, Math.Max(low, least), Math.Min(high, most), length));
        }

        return grammar.AnyOf(pieces);
    }

    // Numbers of exactly so many digits, leading zeros included.
    private static Piece Padded(Grammar grammar, long low, long high, int length)
    {
        if (length == 0)
            return Grammar.Nothing;
        var unit = (long)Math.Pow(10, length - 1);
        if (low == 0 && high == (unit * 10) - 1)
            return grammar.Repeat(Digit(grammar), length, length);
        var (first, last) = (low / unit, high / unit);
        if (first == last)
            return Grammar.Sequence(One(first, first), Padded(grammar, low % unit, high % unit, length - 1));
        var pieces = new List<Piece>();
        if (low % unit != 0)
        {
            pieces.Add(Grammar.Sequence(One(first, first), Padded(grammar, low % unit, unit - 1, length - 1)));
            first++;
        }

        var isWhole = high % unit == unit - 1;
        if (first <= (isWhole ? last : last - 1))
            pieces.Add(Grammar.Sequence(One(first, isWhole ? last : last - 1), Padded(grammar, 0, unit - 1, length - 1)));
        if (!isWhole)
            pieces.Add(Grammar.Sequence(One(last, last), Padded(grammar, 0, high % unit, length - 1)));
        return grammar.AnyOf(pieces);

        Piece One(long a, long b) => grammar.Byte((byte)('0' + a), (byte)('0' + b));
    }

    private static Piece Digit(Grammar grammar) => grammar.Byte((byte)'0', (byte)'9');
}
