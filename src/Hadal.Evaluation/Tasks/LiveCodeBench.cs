using System.Text;
using System.Text.Json;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Sandbox;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// LiveCodeBench, as base models are asked (Jain et al., arXiv 2403.07974; github LiveCodeBench/LiveCodeBench): contest problems with hidden tests. Form: the
/// authors' prompt for base models, with as many of their examples as there are. Reads the published schema (public and private test cases); where it is not
/// there, DeepSeek's LeetCode contest problems, whose tests are assertions.
/// </summary>
internal sealed class LiveCodeBench : EvaluationTask
{
    private static readonly string[] Stops = ["###"];

    private const string Imports = "from typing import *\nfrom collections import *\nfrom heapq import *\nfrom bisect import *\nfrom itertools import *\nfrom functools import *\nimport math, string, re, sys, random, operator\nsys.setrecursionlimit(50000)\n";

    public override TaskInfo Info { get; } = new()
    {
        Name = "livecodebench", Title = "LiveCodeBench-Base", Kind = TaskKind.Generation, Shots = 3, Metric = "Pass@1", Score = "pass@1", Folder = "livecodebench",
        Paper = "arXiv 2403.07974", Published = "huggingface.co/datasets/livecodebench/code_generation_lite: test*.jsonl; few_shot/func.json, stdin.json from its repository",
        Licence = "MIT; problems belong to their sites", RunsPrograms = true,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var count = Info.ShotsIn(options);
        var (functions, programs) = (Read(data, "few_shot/func.json", count), Read(data, "few_shot/stdin.json", count));
        var official = data.Find("test*.jsonl");
        var contest = official.Count > 0 ? [] : data.Find("leetcode_contest*.jsonl");
        if (official.Count + contest.Count == 0)
            data.Require("test*.jsonl");
        if (official.Count == 0)
            data.Notes.Add("the problems with their tests are not there: these are DeepSeek's LeetCode contest problems, whose score is not LiveCodeBench's");
        if (functions.Count < count)
            data.Notes.Add($"{count} examples are asked for, {functions.Count} are published");
        var questions = data.Items(official.SelectMany(data.Rows), r => Official(r, functions, programs)).Concat(data.Items(contest.SelectMany(data.Rows), r => Contest(r, functions)));
        return new TaskContent([.. questions]) { ShotSource = "few_shot/func.json, few_shot/stdin.json", ShotIds = [.. Enumerable.Range(1, functions.Count).Select(i => $"{i}")] };
    }

    private static List<Example> Read(TaskData data, string file, int count) =>
        count == 0 ? [] : [.. data.Items(data.Rows(data.Require(file)[0]), r => new Example(r.Text("question"), r.TextOrNull("sample_code"), r.Text("answer"))).Take(count)];

    private static string Prompt(IEnumerable<Example> examples, string question, string? starter)
    {
        var prompt = new StringBuilder();
        foreach (var example in examples)
            Ask(example.Question, example.Starter).Append(example.Answer).Append("\n\n");
        return Ask(question, starter).ToString();

        StringBuilder Ask(string text, string? code)
        {
            prompt.Append("### Question\n").Append(text).Append("\n\n");
            if (code is not null)
                prompt.Append("### Starter Code\n").Append(code).Append("\n\n");
            return prompt.Append("### Answer\n\n");
        }
    }

    private static OpenQuestion Official(DataRow row, List<Example> functions, List<Example> programs)
    {
        var starter = row.TextOrNull("starter_code") is { Length: > 0 } code ? code : null;
        var tests = Tests(row, "public_test_cases").Concat(Tests(row, "private_test_cases")).ToList();
        if (tests.Count == 0)
            throw row.Error("expected test cases, found none");
        var name = starter is null ? null : row.TextOrNull("metadata") is { Length: > 0 } metadata && DataFiles.Json(row.File, metadata).TryGetProperty("func_name", out var f) ? f.GetString() : throw row.Error("'metadata': expected func_name, found none");
        var prompt = Prompt(starter is null ? programs : functions, row.Text("question_content"), starter);
        return new OpenQuestion(row.Text("question_id"), row.TextOrNull("difficulty") ?? "all", new GenerationInput(prompt, Stops, 1024), $"{tests.Count} tests",
            (output, sandbox, cancellation) => name is null ? RunProgramAsync(output.Trim(), tests, sandbox, cancellation) : PythonCheck.RunAsync(sandbox, Calls(output.Trim(), name, tests), output.Trim(), cancellation));
    }

    // A program for each test, as the authors' checker runs it: what it prints has to be the expected lines, spaces at their ends aside.
    private static async Task<Verdict> RunProgramAsync(string program, List<(string Input, string Output)> tests, PythonSandbox? sandbox, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(sandbox);
        for (var i = 0; i < tests.Count; i++)
        {
            var result = await sandbox.RunAsync(Imports + program, tests[i].Input, cancellation: cancellation);
            if (result is not { Outcome: SandboxOutcome.Exited, ExitCode: 0 })
                return Verdict.Of(program, false, "pass@1", $"test {i + 1}: {result.Summary}");
            if (!Lines(result.Output).SequenceEqual(Lines(tests[i].Output)))
                return Verdict.Of(program, false, "pass@1", $"test {i + 1}: wrong output");
        }

        return Verdict.Of(program, true, "pass@1");
    }

    private static IEnumerable<string> Lines(string text) => text.Trim().Split('\n').Select(l => l.TrimEnd());

    // A method called with each test's arguments, a JSON value a line.
    private static string Calls(string code, string name, List<(string Input, string Output)> tests)
    {
        var calls = tests.Select(t => $"assert json.loads(json.dumps(Solution().{name}(*[json.loads(line) for line in {Literal(t.Input)}.splitlines()]))) == json.loads({Literal(t.Output)})");
        return $"{Imports}import json\n{code}\n{string.Join('\n', calls)}";
    }

    // JSON's strings are Python's, but for the pairs of surrogates that relaxed escaping avoids.
    private static string Literal(string text) => JsonSerializer.Serialize(text);

    private static IEnumerable<(string Input, string Output)> Tests(DataRow row, string field)
    {
        if (row.TextOrNull(field) is not { Length: > 0 } text)
            return [];
        var json = text.TrimStart()[0] == '[' ? text : PickledText.Unpack(text) ?? throw row.Error($"'{field}': expected JSON, or JSON pickled, deflated and in Base64, found neither");
        return DataFiles.JsonArray(row.File, json).Select(t => (t.Text("input"), t.Text("output")));
    }

    private static OpenQuestion Contest(DataRow row, List<Example> functions)
    {
        var prompt = row.Text("prompt");
        var end = prompt.LastIndexOf("\"\"\"", StringComparison.Ordinal);
        if (end <= 3)
            throw row.Error("'prompt': expected a description in triple quotes, found none");
        var (question, starter, test) = (prompt[..end].Trim().TrimStart('"').Trim(), prompt[(end + 3)..].Trim('\n'), row.Text("test"));
        return new OpenQuestion(row.Text("task_id"), "contest", new GenerationInput(Prompt(functions, question, starter), Stops, 1024), "assertions",
            (output, sandbox, cancellation) => PythonCheck.RunAsync(sandbox, $"{Imports}{output.Trim()}\n{test}", output.Trim(), cancellation));
    }

    private sealed record Example(string Question, string? Starter, string Answer);
}
