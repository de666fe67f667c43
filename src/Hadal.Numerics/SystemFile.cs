using System.Globalization;

namespace Hadal.Numerics;

/// <summary>Files of lines in which Linux says what it has (<c>/proc</c>, control groups): a name and a number, or a number alone. What is missing or cannot be read is nothing.</summary>
public static class SystemFile
{
    /// <summary>Its lines; none where it is not there or may not be read.</summary>
    /// <param name="path">The file.</param>
    public static string[] Lines(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllLines(path) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>The number behind a name, whatever its unit; null where there is none.</summary>
    /// <param name="lines">The file's lines.</param>
    /// <param name="name">The line's first word, a colon included.</param>
    public static long? Field(string[] lines, string name)
    {
        ArgumentNullException.ThrowIfNull(lines);
        foreach (var line in lines)
        {
            if (line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries) is [var field, var value, ..] && field == name && Number([value]) is { } number)
                return number;
        }

        return null;
    }

    /// <summary>The number that the first line is; null where it is something else.</summary>
    /// <param name="lines">The file's lines.</param>
    public static long? Number(string[] lines) =>
        lines is [var line, ..] && long.TryParse(line, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
}
