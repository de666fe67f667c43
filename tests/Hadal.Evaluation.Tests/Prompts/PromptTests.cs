using System.Globalization;
using System.Text;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Running;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Tests.Prompts;

/// <summary>
/// What a model is asked, as texts to be read: each task on items made up in its benchmark's own schema (Items), in every form it has (Goldens). Of published
/// items only hashes are kept (RealPrompts.txt). What is there instead is written beside, with .actual behind its name. A prompt that changes changes every score: the task's version goes up with it.
/// </summary>
public sealed class PromptTests
{
    // Of each task, the first of these many published questions.
    private const int RealQuestions = 3;

    private static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "Prompts");

    private static readonly Lazy<Dictionary<string, string>> RealHashes = new(() =>
        File.ReadLines(Path.Combine(Folder, "RealPrompts.txt")).Select(l => l.Split(' ')).ToDictionary(w => $"{w[0]} {w[1]}", w => w[2]));

    /// <summary>Every task in every style that it has.</summary>
    public static TheoryData<string, TaskStyle> Cases()
    {
        var cases = new TheoryData<string, TaskStyle>();
        foreach (var info in Benchmarks.All.Select(b => b.Info))
        {
            cases.Add(info.Name, TaskStyle.DeepSeek);
            if (info.Name.StartsWith("arc_", StringComparison.Ordinal))
                cases.Add(info.Name, TaskStyle.DeepSeekLlm);
            if (info.LmEval is not null)
                cases.Add(info.Name, TaskStyle.LmEval);
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void ThePromptIsTheGoldenOne(string name, TaskStyle style)
    {
        var content = Build(Path.Combine(Folder, "Items"), name, style);
        Assert.NotEmpty(content.Questions);
        var golden = Path.Combine(Folder, "Goldens", $"{name}.{style.ToString().ToLowerInvariant()}.txt");
        var actual = Show(content);
        if (File.Exists(golden) && File.ReadAllText(golden).ReplaceLineEndings("\n") == actual)
            return;
        Directory.CreateDirectory(Path.GetDirectoryName(golden)!);
        File.WriteAllText(golden + ".actual", actual);
        Assert.Equal(File.Exists(golden) ? File.ReadAllText(golden).ReplaceLineEndings("\n") : "a golden text", actual);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void PublishedItemsGiveTheSamePromptsAsBefore(string name, TaskStyle style)
    {
        Assert.SkipWhen(name is "bpb" or "mmmlu", $"the published data of {name} is not kept beside the repository");
        var content = Build(Hadal.Tests.SharedFiles.Path("data", "benchmarks"), name, style);
        var hash = Setting.HashPrompts(content.Questions.Take(RealQuestions));
        if (RealHashes.Value.GetValueOrDefault($"{name} {style}") == hash)
            return;
        File.AppendAllText(Path.Combine(Folder, "RealPrompts.txt.actual"), $"{name} {style} {hash}\n");
        Assert.Fail($"the prompts of the first {RealQuestions} questions are others than before: {hash}");
    }

    [Fact]
    public void EveryGoldenTextIsOfATask() =>
        Assert.Equal(Cases().Select(c => $"{c.Data.Item1}.{c.Data.Item2.ToString().ToLowerInvariant()}.txt").Order(), Directory.GetFiles(Path.Combine(Folder, "Goldens"), "*.txt").Select(Path.GetFileName).Order());

    private static TaskContent Build(string root, string name, TaskStyle style)
    {
        var task = Benchmarks.Find(name);
        return task.Build(new TaskData(root, task.Info.Folder), new TaskOptions(style));
    }

    // Where a text ends with spaces matters and cannot be seen: a bar stands at the end of each.
    private static string Show(TaskContent content)
    {
        var text = new StringBuilder($"examples: {content.ShotSource}\n");
        foreach (var question in content.Questions)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n======== {question.Id} ({question.Category})\n");
            switch (question)
            {
                case ChoiceQuestion choice:
                    foreach (var (option, i) in choice.Options.Select((o, i) => (o, i)))
                    {
                        if (i == 0 || option.Context != choice.Options[0].Context)
                            text.Append(option.Context).Append("|\n");
                        text.Append(CultureInfo.InvariantCulture, $"{(choice.Gold.Contains(i) ? "right" : "wrong")}:{option.Continuation}|\n");
                    }

                    if (choice.Options[0].UnconditionalContext is { } unconditional)
                        text.Append(CultureInfo.InvariantCulture, $"unconditional:{unconditional}|\n");
                    break;
                case OpenQuestion open:
                    text.Append(open.Input.Prompt).Append("|\n");
                    text.Append(CultureInfo.InvariantCulture, $"right: {open.Gold}\nat most {open.Input.MaxTokens} tokens, stops: {string.Join(", ", open.Input.Stop.Select(s => $"\"{s.Replace("\n", "\\n", StringComparison.Ordinal)}\""))}\n");
                    break;
                case TextQuestion whole:
                    text.Append(whole.Text).Append("|\n");
                    break;
            }
        }

        return text.ToString();
    }
}
