using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;

namespace Hadal.Cli.Commands;

/// <summary>Options whose values are checked as they are parsed, with an error of one line that names option, expected and found.</summary>
internal static class TypedOptions
{
    /// <summary>A whole number within a range; null where it is not given.</summary>
    public static Option<int?> Integer(string name, string help, int min, int max = int.MaxValue) => new(name)
    {
        Description = help,
        HelpName = "N",
        CustomParser = result => int.TryParse(Text(result), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) && value >= min && value <= max
            ? value
            : Wrong<int?>(result, name, max == int.MaxValue ? $"a whole number of at least {min}" : $"a whole number from {min} to {max}"),
    };

    /// <summary>Whole numbers, <c>1,2,3</c>, each of at least some value; null where it is not given.</summary>
    public static Option<int[]?> Integers(string name, string help, int min) => new(name)
    {
        Description = help,
        HelpName = "N,N",
        CustomParser = result => ParseIds(Text(result)) is { } values && Array.TrueForAll(values, value => value >= min)
            ? values
            : Wrong<int[]?>(result, name, $"whole numbers of at least {min}, such as 8192,32768"),
    };

    /// <summary>A finite number that satisfies a condition; null where it is not given.</summary>
    public static Option<double?> Number(string name, string help, Func<double, bool> holds, string expected) => new(name)
    {
        Description = help,
        HelpName = "X",
        CustomParser = result => double.TryParse(Text(result), NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && double.IsFinite(value) && holds(value)
            ? value
            : Wrong<double?>(result, name, expected),
    };

    /// <summary>One of a few words; the first stands for the type's default value.</summary>
    /// <exception cref="ArgumentException">The first is something else; it would be shown as a default that it is not.</exception>
    public static Option<T> Choice<T>(string name, string help, params (string Word, T Value)[] choices) =>
        EqualityComparer<T>.Default.Equals(choices[0].Value, default)
            ? OneOf(name, $"{help} [default: {choices[0].Word}]", choices)
            : throw new ArgumentException($"{name}: the first choice, {choices[0].Word}, is not the default value", nameof(choices));

    /// <summary>One of a few words, in any case; the type's default value where it is not given.</summary>
    public static Option<T> OneOf<T>(string name, string help, params (string Word, T Value)[] choices) => new(name)
    {
        Description = help,
        HelpName = string.Join('|', choices.Select(c => c.Word)),
        CustomParser = result =>
        {
            foreach (var (word, value) in choices)
            {
                if (Text(result).Equals(word, StringComparison.OrdinalIgnoreCase))
                    return value;
            }

            return Wrong<T>(result, name, $"one of {string.Join(", ", choices.Select(c => c.Word))}");
        },
    };

    /// <summary>A text.</summary>
    public static Option<string?> Text(string name, string valueName, string help) => new(name) { Description = help, HelpName = valueName };

    /// <summary>A text that has to be given.</summary>
    public static Option<string> Required(string name, string valueName, string help) => new(name) { Description = help, HelpName = valueName, Required = true };

    /// <summary>A switch.</summary>
    public static Option<bool> Flag(string name, string help) => new(name) { Description = help };

    /// <summary>Token ids: <c>1,2,3</c>, brackets and blanks allowed.</summary>
    public static Option<int[]?> TokenIds(string name, string help) => new(name)
    {
        Description = help,
        HelpName = "1,2,3",
        CustomParser = result => ParseIds(Text(result)) ?? Wrong<int[]?>(result, name, "token ids such as 1,2,3"),
    };

    /// <summary>Parses token ids: <c>1,2,3</c> or <c>[1, 2, 3]</c>.</summary>
    /// <returns>At least one id, or null where the text is something else.</returns>
    public static int[]? ParseIds(string text)
    {
        var list = text.Trim();
        if (list.StartsWith('[') && list.EndsWith(']'))
            list = list[1..^1];
        var parts = list.Split(',');
        var ids = new int[parts.Length];
        for (var i = 0; i < parts.Length; i++)
        {
            if (!int.TryParse(parts[i].Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out ids[i]))
                return null;
        }

        return ids;
    }

    /// <summary>Refuses two options together, or none of several where one is needed.</summary>
    public static void ExactlyOneOf(this Command command, params Option[] options) =>
        command.Validators.Add(result => CheckCount(result, options, required: true));

    /// <summary>Refuses two options together.</summary>
    public static void AtMostOneOf(this Command command, params Option[] options) =>
        command.Validators.Add(result => CheckCount(result, options, required: false));

    /// <summary>The text of an option's only value.</summary>
    internal static string Text(ArgumentResult result) => result.Tokens.Count == 0 ? string.Empty : result.Tokens[0].Value;

    /// <summary>Adds the error line of a wrong value.</summary>
    internal static T Wrong<T>(ArgumentResult result, string name, string expected)
    {
        result.AddError($"{name}: expected {expected}, found '{Text(result)}'");
        return default!;
    }

    private static void CheckCount(CommandResult result, Option[] options, bool required)
    {
        var given = options.Where(o => result.GetResult(o) is { Implicit: false }).Select(o => o.Name).ToList();
        if (given.Count > 1)
            result.AddError($"{string.Join(" and ", given)} exclude each other");
        else if (required && given.Count == 0)
            result.AddError($"one of {string.Join(", ", options.Select(o => o.Name))} is needed");
    }
}
