using Hadal.Evaluation.Data;

namespace Hadal.Evaluation.Tasks;

/// <summary>Worked examples that a benchmark's users share as one text: cut into its examples, so that fewer can be asked for.</summary>
internal static class Examples
{
    /// <summary>The first examples of such a text, each ending with an empty line.</summary>
    /// <param name="data">Where it is.</param>
    /// <param name="file">The text.</param>
    /// <param name="beginning">What each example begins with, at the beginning of a line.</param>
    /// <param name="count">How many are wanted.</param>
    /// <exception cref="InvalidDataException">There are fewer.</exception>
    public static string Text(TaskData data, string file, string beginning, int count) => string.Concat(List(data, file, beginning).Take(Checked(data, file, beginning, count)).Select(e => $"{e}\n\n"));

    /// <summary>Every example.</summary>
    public static List<string> List(TaskData data, string file, string beginning)
    {
        var text = "\n" + data.ReadText(data.Require(file)[0]).ReplaceLineEndings("\n");
        return [.. text.Split($"\n{beginning}").Skip(1).Select(e => beginning + e.TrimEnd())];
    }

    private static int Checked(TaskData data, string file, string beginning, int count)
    {
        var found = List(data, file, beginning).Count;
        return count <= found ? count : throw new InvalidDataException($"{data.Shown(file)}: expected {count} examples, found {found}");
    }
}
