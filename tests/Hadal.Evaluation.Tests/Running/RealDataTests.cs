using Hadal.Evaluation.Data;
using Hadal.Evaluation.Running;
using Hadal.Evaluation.Sandbox;
using Hadal.Evaluation.Tasks;

namespace Hadal.Evaluation.Tests.Running;

/// <summary>Every task on its slice of real data, with a model that knows the answers to all questions but every fourth: the score is known beforehand.</summary>
public sealed class RealDataTests
{
    private const int Limit = 8;

    public static TheoryData<string, TaskStyle> Cases()
    {
        var cases = new TheoryData<string, TaskStyle>();
        foreach (var info in Benchmarks.All.Select(b => b.Info).Where(i => i.Name is not ("bpb" or "mmmlu" or "livecodebench")))
        {
            cases.Add(info.Name, TaskStyle.DeepSeek);
            if (info.LmEval is not null)
                cases.Add(info.Name, TaskStyle.LmEval);
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task AModelThatKnowsThreeOfFourAnswersScoresSo(string name, TaskStyle style)
    {
        var root = Hadal.Tests.SharedFiles.Path("data", "benchmarks");
        var cancellation = TestContext.Current.CancellationToken;
        var task = Benchmarks.Find(name);
        if (task.Info.RunsPrograms)
            await RequireSandbox(cancellation);
        var content = task.Build(new TaskData(root, task.Info.Folder), new TaskOptions(style));
        var questions = EvaluationRun.Limited(content.Questions, Limit);
        var options = new Dictionary<(string Context, string Continuation), double>();
        var outputs = new Dictionary<string, string>();
        var known = new Dictionary<string, bool>();
        for (var i = 0; i < questions.Count; i++)
        {
            known[questions[i].Id] = i % 4 != 3;
            if (questions[i] is ChoiceQuestion choice)
            {
                for (var o = 0; o < choice.Options.Count; o++)
                    options[(choice.Options[o].Context, choice.Options[o].Continuation)] = choice.Gold.Contains(o) == known[choice.Id] ? -0.01 : -1000;
            }
            else if (questions[i] is OpenQuestion open)
            {
                outputs[open.Input.Prompt] = known[open.Id] ? Answer(name, open.Gold) : "I do not know";
            }
        }

        var model = new ScriptedModel(r => options.GetValueOrDefault((r.Context, r.Continuation), -5), p => outputs[p]);
        var results = await new EvaluationRun(model, new RunOptions { Data = root, Style = style, Limit = Limit }).RunAsync([task], named: true, cancellation);
        var result = Assert.Single(results.Tasks);
        var right = questions.Where(q => known[q.Id]).ToList();
        var expected = task.Info.Macro ? questions.GroupBy(q => q.Category).Average(g => g.Count(q => known[q.Id]) * 100.0 / g.Count()) : 100.0 * right.Count / questions.Count;
        Assert.Equal(expected, result.Score, 1e-9);
        Assert.Equal(questions.Count, result.Questions);
        Assert.Equal(task.Info.ScoreIn(style), result.Metric);
    }

    // The answer in the form that the task's prompt asks for.
    private static string Answer(string task, string gold) => task switch
    {
        "bbh" => $"We think. So the answer is {gold}.",
        "gsm8k" => $" Step by step. The answer is {gold}.",
        "cmath" => $" 一步一步。所以答案是：{gold}。",
        "mgsm" => $" 7 + 8 = 15. {gold}",
        "math" => $" Thus.\nFinal Answer: The final answer is ${gold}$. I hope it is correct.",
        "mmlu_pro" => $" So the answer is ({gold}).",
        "drop" or "triviaqa" or "nq_open" or "cmrc" => $" {gold.Split(" | ")[0]}",
        "cruxeval_i" => $"assert {gold} == 1\n",
        "cruxeval_o" => $"assert f(1) == {gold}\n",
        "agieval" => $" {gold}",
        _ => gold,
    };

    private static async Task RequireSandbox(CancellationToken cancellation)
    {
        try
        {
            await PythonSandbox.OpenAsync(cancellation);
        }
        catch (SandboxUnavailableException e)
        {
            Assert.Skip($"no sandbox on this machine: {e.Message}");
        }
    }
}
