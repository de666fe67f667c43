using System.Globalization;

namespace Hadal.Cli.Commands;

/// <summary>Numbers as a person reads them.</summary>
internal static class Display
{
    private static readonly string[] ByteUnits = ["bytes", "KiB", "MiB", "GiB", "TiB"];

    /// <summary><c>1.21 GiB</c>.</summary>
    public static string Bytes(long bytes)
    {
        double value = bytes;
        var unit = 0;
        while (value >= 1024 && unit < ByteUnits.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return unit == 0 ? $"{bytes} bytes" : string.Create(CultureInfo.InvariantCulture, $"{value:0.##} {ByteUnits[unit]}");
    }

    /// <summary><c>671.0 B</c> parameters, in thousands, millions or billions.</summary>
    public static string Count(long count) => count switch
    {
        >= 1_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{count / 1e9:0.0} B"),
        >= 1_000_000 => string.Create(CultureInfo.InvariantCulture, $"{count / 1e6:0.0} M"),
        >= 10_000 => string.Create(CultureInfo.InvariantCulture, $"{count / 1e3:0.0} K"),
        _ => count.ToString(CultureInfo.InvariantCulture),
    };
}
