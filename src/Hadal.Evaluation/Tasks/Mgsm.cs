using System.Text.Json;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Models;
using Hadal.Evaluation.Scoring;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// MGSM (Shi et al., arXiv 2210.03057; github google-research/url-nlp): 250 problems of GSM8K in eleven languages. DeepSeek publishes no template; the paper's
/// native chain of thought is used, with its eight examples of each language. Scored by the last number; the mean over languages counts.
/// </summary>
internal sealed class Mgsm : EvaluationTask
{
    private static readonly string[] Columns = ["question", "answer"];

    public override TaskInfo Info { get; } = new()
    {
        Name = "mgsm", Title = "MGSM", Kind = TaskKind.Generation, Shots = 8, Metric = "EM", Score = "em", Macro = true, Folder = "mgsm", Paper = "arXiv 2210.03057",
        Published = "github.com/google-research/url-nlp: mgsm/mgsm_*.tsv, exemplars.py", Licence = "CC BY 4.0", LmEval = "mgsm_native_cot", LmEvalShots = 8,
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var count = Info.ShotsIn(options);
        var file = data.Require("exemplars.json")[0];
        var exemplars = new DataRow(data.Shown(file), 1, data.Json(file)).Row("MGSM_EXEMPLARS");
        var questions = data.Require("mgsm_??.tsv").SelectMany(f => Language(data, f, exemplars, count));
        return new TaskContent([.. questions]) { ShotSource = file, ShotIds = [.. Enumerable.Range(1, count).Select(i => $"exemplar/{i}")] };
    }

    private static List<OpenQuestion> Language(TaskData data, string file, DataRow exemplars, int count)
    {
        var language = Path.GetFileNameWithoutExtension(file)["mgsm_".Length..];
        var examples = exemplars.Row(language).Element.EnumerateObject().OrderBy(p => p.Name.Length).ThenBy(p => p.Name, StringComparer.Ordinal)
            .Select(p => new DataRow(exemplars.File, 1, p.Value)).Select(e => (Q: e.Text("q"), A: e.Text("a"))).ToList();
        if (examples.Count < Math.Max(2, count))
            throw exemplars.Error($"expected {Math.Max(2, count)} examples in '{language}', found {examples.Count}");

        // "Question: " and "Step-by-Step Answer:" of the language: what its examples have in common up to the colon.
        var (asking, answering) = (Label(examples.ConvertAll(e => e.Q)), Label(examples.ConvertAll(e => e.A)));
        var header = string.Concat(examples.Take(count).Select(e => $"{e.Q}\n{e.A}\n\n"));
        return data.Items(data.Csv(file, '\t', Columns), row =>
        {
            var gold = row.Text("answer");
            var prompt = $"{header}{asking}{row.Text("question")}\n{answering.TrimEnd()}";
            return OpenQuestion.Of($"{language}/{row.Number}", language, new GenerationInput(prompt, [asking.TrimEnd(), "\n\n"], 512), gold, output =>
            {
                var number = NumberAnswer.Last(output);
                return Verdict.Of(number, NumberAnswer.AreEqual(number, gold));
            });
        });
    }

    private static string Label(List<string> texts)
    {
        var shared = texts[0].AsSpan();
        foreach (var text in texts)
            shared = shared[..shared.CommonPrefixLength(text)];
        var colon = shared.LastIndexOfAny(':', '：');
        if (colon < 0)
            return string.Empty;
        var end = colon + 1;
        while (end < shared.Length && shared[end] == ' ')
            end++;
        return shared[..end].ToString();
    }
}
