using System.Globalization;
using System.Text.RegularExpressions;

namespace Hadal.Evaluation.Scoring;

/// <summary>Python's <c>float(text)</c> and <c>str(float)</c>, on which scorers rely to tell numbers from words.</summary>
internal static partial class PythonFloat
{
    /// <summary>Parses as Python does: surrounding space, underscores between digits, inf and nan; no thousands separators.</summary>
    public static bool TryParse(string text, out double value)
    {
        var trimmed = text.Trim();
        if (Special().Match(trimmed) is { Success: true } special)
        {
            value = special.Groups["nan"].Success ? double.NaN : trimmed[0] == '-' ? double.NegativeInfinity : double.PositiveInfinity;
            return true;
        }

        value = 0;
        return Number().IsMatch(trimmed) && double.TryParse(trimmed.Replace("_", string.Empty, StringComparison.Ordinal), NumberStyles.Float, CultureInfo.InvariantCulture, out value);
    }

    /// <summary>The shortest text that gives the same number: <c>5.0</c>, <c>1e+16</c>, <c>1e-05</c>.</summary>
    public static string Show(double value)
    {
        if (double.IsNaN(value))
            return "nan";
        if (double.IsInfinity(value))
            return value > 0 ? "inf" : "-inf";
        if (value == 0)
            return double.IsNegative(value) ? "-0.0" : "0.0";
        var scientific = value.ToString("E16", CultureInfo.InvariantCulture);
        var exponent = int.Parse(scientific.AsSpan(scientific.IndexOf('E', StringComparison.Ordinal) + 1), CultureInfo.InvariantCulture);
        var shortest = value.ToString("R", CultureInfo.InvariantCulture);
        if (exponent is >= -4 and < 16)
        {
            var plain = shortest.Contains('E', StringComparison.Ordinal) ? decimal.Parse(shortest, NumberStyles.Float, CultureInfo.InvariantCulture).ToString(CultureInfo.InvariantCulture) : shortest;
            return plain.Contains('.', StringComparison.Ordinal) ? plain : plain + ".0";
        }

        var mantissa = shortest.Contains('E', StringComparison.Ordinal) ? shortest[..shortest.IndexOf('E', StringComparison.Ordinal)] : Mantissa(shortest);
        return $"{mantissa}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}";
    }

    // Digits of a number written without an exponent, as one digit before the point.
    private static string Mantissa(string plain)
    {
        var sign = plain[0] == '-' ? "-" : string.Empty;
        var digits = plain.Replace("-", string.Empty, StringComparison.Ordinal).Replace(".", string.Empty, StringComparison.Ordinal).TrimStart('0').TrimEnd('0');
        return digits.Length > 1 ? $"{sign}{digits[0]}.{digits[1..]}" : $"{sign}{digits}";
    }

    [GeneratedRegex(@"^[+-]?(?:inf(?:inity)?|(?<nan>nan))$", RegexOptions.IgnoreCase)]
    private static partial Regex Special();

    [GeneratedRegex(@"^[+-]?(?:[0-9](?:_?[0-9])*\.?(?:[0-9](?:_?[0-9])*)?|\.[0-9](?:_?[0-9])*)(?:[eE][+-]?[0-9](?:_?[0-9])*)?$")]
    private static partial Regex Number();
}
