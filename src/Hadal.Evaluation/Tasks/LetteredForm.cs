using System.Text;

namespace Hadal.Evaluation.Tasks;

/// <summary>A question with options, as the benchmarks of school subjects have it.</summary>
/// <param name="Id">Unique in its benchmark.</param>
/// <param name="Category">Subject.</param>
/// <param name="Question">The question.</param>
/// <param name="Options">The options, without letters.</param>
/// <param name="Gold">Index of the right one.</param>
internal sealed record LetteredItem(string Id, string Category, string Question, IReadOnlyList<string> Options, int Gold);

/// <summary>
/// The form of MMLU and its kin: question, options each on a line with its letter, a cue; the letters are what is scored, each after a space.
/// </summary>
/// <param name="Before">Before the question.</param>
/// <param name="Cue">After the options.</param>
internal sealed record LetteredForm(string Before, string Cue)
{
    /// <summary>MMLU's.</summary>
    public static readonly LetteredForm English = new(string.Empty, "Answer:");

    /// <summary>Question, options and cue.</summary>
    public string Ask(LetteredItem item)
    {
        var text = new StringBuilder(Before).Append(item.Question.Trim()).Append('\n');
        for (var i = 0; i < item.Options.Count; i++)
            text.Append(Letter(i)).Append(". ").Append(item.Options[i]).Append('\n');
        return text.Append(Cue).ToString();
    }

    /// <summary>Examples with their answers, each followed by an empty line.</summary>
    public string Show(IEnumerable<LetteredItem> shots) => string.Concat(shots.Select(s => $"{Ask(s)} {Letter(s.Gold)}\n\n"));

    /// <summary>The question for a model.</summary>
    /// <param name="header">What the prompt begins with, its own empty line included.</param>
    /// <param name="shots">Examples.</param>
    /// <param name="item">The item.</param>
    /// <param name="unconditional">Context of unconditional normalisation, or null.</param>
    public ChoiceQuestion Question(string header, IEnumerable<LetteredItem> shots, LetteredItem item, string? unconditional = null)
    {
        var context = header + Show(shots) + Ask(item);
        var options = item.Options.Select((o, i) => new ChoiceOption(context, $" {Letter(i)}", o) { UnconditionalContext = unconditional });
        return new ChoiceQuestion(item.Id, item.Category, [.. options], [item.Gold]);
    }

    private static char Letter(int index) => (char)('A' + index);
}
