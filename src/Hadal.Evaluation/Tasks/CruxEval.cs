using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Sandbox;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// CRUXEval (Gu et al., arXiv 2401.03065; github facebookresearch/cruxeval): what a function returns (O), or what it must have been given (I). Form: DeepSeek-V2
/// report, Tables 36 and 37, which are the paper's direct prompts. Checked by running the function.
/// </summary>
/// <param name="input">Whether the input is asked for.</param>
internal sealed class CruxEval(bool input) : EvaluationTask
{
    private const string InputHeader =
        "You will be given a function f and an output in the form f(??) == output. Find any input such that executing f on the input leads to the given output. There may be multiple answers, but you should only output one. In [ANSWER] and [/ANSWER] tags, complete the assertion with one such input that will produce the output when executing the function.\n\n"
        + "[PYTHON]\ndef f(my_list):\n    count = 0\n    for i in my_list:\n        if len(i) % 2 == 0:\n            count += 1\n    return count\nassert f(??) == 3\n[/PYTHON]\n[ANSWER]\nassert f([\"mq\", \"px\", \"zy\"]) == 3\n[/ANSWER]\n\n"
        + "[PYTHON]\ndef f(s1, s2):\n    return s1 + s2\nassert f(??) == \"banana\"\n[/PYTHON]\n[ANSWER]\nassert f(\"ba\", \"nana\") == \"banana\"\n[/ANSWER]\n\n";

    private const string OutputHeader =
        "You are given a Python function and an assertion containing an input to the function. Complete the assertion with a literal (no unsimplified expressions, no function calls) containing the output when executing the provided code on the given input, even if the function is incorrect or incomplete. Do NOT output any extra information. Provide the full assertion with the correct output in [ANSWER] and [/ANSWER] tags, following the examples.\n\n"
        + "[PYTHON]\ndef f(n):\n    return n\nassert f(17) == ??\n[/PYTHON]\n[ANSWER]\nassert f(17) == 17\n[/ANSWER]\n\n"
        + "[PYTHON]\ndef f(s):\n    return s + \"a\"\nassert f(\"x9j\") == ??\n[/PYTHON]\n[ANSWER]\nassert f(\"x9j\") == \"x9ja\"\n[/ANSWER]\n\n";

    private static readonly string[] Stops = ["[/ANSWER]"];

    public override TaskInfo Info { get; } = new()
    {
        Name = input ? "cruxeval_i" : "cruxeval_o", Title = input ? "CRUXEval-I" : "CRUXEval-O", Kind = TaskKind.Generation, Shots = 2, Metric = "Acc.", Score = "pass@1",
        Folder = "cruxeval", Paper = "arXiv 2401.03065", Published = "github.com/facebookresearch/cruxeval: data/cruxeval.jsonl", Licence = "MIT", RunsPrograms = true,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        if (Info.ShotsIn(options) != 2)
            throw new NotSupportedException("CRUXEval's prompts have two examples");
        return new TaskContent([.. data.Items(data.Require("cruxeval.jsonl").SelectMany(data.Rows), row =>
        {
            var (code, given, result) = (row.Text("code"), row.Text("input"), row.Text("output"));
            var asked = input ? $"assert f(??) == {result}" : $"assert f({given}) == ??";
            var prompt = $"{(input ? InputHeader : OutputHeader)}[PYTHON]\n{code}\n{asked}\n[/PYTHON]\n[ANSWER]\n";
            return new OpenQuestion(row.Text("id"), "all", new GenerationInput(prompt, Stops, 256), input ? $"f({given})" : result, async (output, sandbox, cancellation) =>
            {
                var answer = Extract(output, input);

                // An input has to be a call of f; without that any true expression would pass.
                if (answer.Length == 0 || (input && !answer.StartsWith("f(", StringComparison.Ordinal)))
                    return Verdict.Of(answer, false, "pass@1", "no answer");
                return await PythonCheck.RunAsync(sandbox, $"{code}\nassert {result} == {answer}", answer, cancellation);
            });
        })])
        {
            ShotSource = "the paper's prompt", ShotIds = ["1", "2"],
        };
    }

    /// <summary>The side of the assertion that was asked for.</summary>
    internal static string Extract(string output, bool input)
    {
        var text = output.Split("[/ANSWER]")[0];
        var assertion = text.LastIndexOf("assert f", StringComparison.Ordinal);
        if (assertion >= 0)
            text = text[(assertion + "assert ".Length)..];
        var sides = text.Split("==");
        return input ? sides[0].Trim() : sides.Length > 1 ? sides[1].Trim() : text.Trim();
    }
}
