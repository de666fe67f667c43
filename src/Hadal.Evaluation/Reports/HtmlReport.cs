using System.Globalization;
using System.Net;
using System.Text;
using Hadal.Evaluation.Running;

namespace Hadal.Evaluation.Reports;

/// <summary>
/// Results as one HTML page that needs nothing beside it: the table of scores, and transcripts in which one sees what the model was asked, what it answered, and
/// what was made of that. Everything from data and model is escaped.
/// </summary>
public static class HtmlReport
{
    // The page stays readable; items/TASK.jsonl has all of them.
    private const int Transcripts = 20;

    private const string Style =
        """
        :root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #b3261e; --soft: #8882; }
        body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
        table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-variant-numeric: tabular-nums; }
        th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
        td.n, th.n { text-align: right; }
        pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft); padding: .6rem; border-radius: .3rem; margin: .3rem 0; max-height: 26rem; overflow: auto; }
        code { overflow-wrap: anywhere; }
        details { border-bottom: 1px solid var(--line); padding: .3rem 0; }
        summary { cursor: pointer; }
        .right { color: var(--good); font-weight: 600; } .wrong { color: var(--bad); font-weight: 600; }
        .quiet { opacity: .75; } .bar { display: inline-block; height: .6rem; background: #4a7dbd; border-radius: .2rem; vertical-align: middle; }
        .scroll { overflow-x: auto; }
        """;

    /// <summary>The page.</summary>
    /// <param name="results">The results.</param>
    /// <param name="items">A task's items, or null where they are not at hand.</param>
    public static string Of(RunResults results, Func<string, IReadOnlyList<ItemResult>?> items)
    {
        ArgumentNullException.ThrowIfNull(results);
        ArgumentNullException.ThrowIfNull(items);
        var page = new StringBuilder();
        var name = Text(results.Model.Name);
        Add($"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{name}</title><style>\n{Style}\n</style></head><body>");
        Add($"<h1>{name}</h1><p>{Text(results.Model.Description)}. Parameters: {Figures.Parameters(results.Model.ActivatedParameters)} activated of {Figures.Parameters(results.Model.TotalParameters)}.<br><span class=\"quiet\">model hash <code>{results.Model.Hash}</code></span></p>");
        Add("<div class=\"scroll\"><table><tr><th>benchmark</th><th></th><th class=\"n\">score</th><th></th><th></th><th>95% interval</th><th class=\"n\">guessing</th><th class=\"n\">questions</th><th class=\"n\">shots</th><th>style</th><th>setting</th></tr>");
        foreach (var task in results.Tasks)
        {
            var width = task.MetricName == "BPB" ? 0 : Math.Clamp(task.Score, 0, 100);
            Add($"<tr><td><a href=\"#{task.Task}\">{Text(task.Title)}</a></td><td>{task.MetricName}</td><td class=\"n\">{Figures.Score(task.MetricName, task.Score)}</td><td>{Figures.Error(task)}</td><td><span class=\"bar\" style=\"width:{Number(width / 16)}rem\"></span></td><td>{Figures.Interval(task)}</td><td class=\"n\">{Figures.Chance(task)}</td><td class=\"n\">{task.Questions}</td><td class=\"n\">{task.Setting.Shots}</td><td>{task.Setting.Style}</td><td><code>{task.Setting.Hash[..12]}</code></td></tr>");
        }

        Add("</table></div>");
        foreach (var (task, reason) in results.Skipped)
            Add($"<p>Not run: <b>{Text(task)}</b>: {Text(reason)}</p>");
        foreach (var task in results.Tasks)
            AddTask(task, items(task.Task));
        return page.Append("</body></html>\n").ToString();

        void Add(string html) => page.Append(html).Append('\n');

        void AddTask(TaskResult task, IReadOnlyList<ItemResult>? all)
        {
            Add($"<h2 id=\"{task.Task}\">{Text(task.Title)}: {Figures.Score(task.MetricName, task.Score)} {Figures.Error(task)}</h2>");
            Add($"<p>Task <code>{task.Task}</code> version {task.Setting.Version}, {task.Setting.Style} form, {task.Setting.Shots} shots ({Text(task.Setting.ShotSource)}), {Text(task.Setting.Decoding)}; the score is <code>{task.Metric}</code>.<br><span class=\"quiet\">setting <code>{task.Setting.Hash}</code></span></p>");
            foreach (var note in task.Notes)
                Add($"<p>Note: {Text(note)}.</p>");
            if (task.WithoutAnswer is > 0)
                Add($"<p>Of {task.Questions} outputs, {task.WithoutAnswer} were cut off or had no answer in them.</p>");
            Add("<table><tr><th>metric</th><th class=\"n\">all items</th><th class=\"n\">mean of categories</th></tr>");
            foreach (var (metric, micro) in task.Micro)
                Add($"<tr><td>{Text(metric)}</td><td class=\"n\">{Number(micro)}</td><td class=\"n\">{(task.Macro.TryGetValue(metric, out var macro) ? Number(macro) : string.Empty)}</td></tr>");
            Add("</table>");
            if (task.Categories.Count > 1)
            {
                Add($"<details><summary>{task.Categories.Count} categories</summary><table><tr><th>category</th><th class=\"n\">score</th><th class=\"n\">questions</th></tr>");
                foreach (var (category, result) in task.Categories)
                    Add($"<tr><td>{Text(category)}</td><td class=\"n\">{Figures.Score(task.MetricName, result.Score)}</td><td class=\"n\">{result.Questions}</td></tr>");
                Add("</table></details>");
            }

            if (all is null)
                return;
            foreach (var item in all.Take(Transcripts))
                Add(Transcript(task, item));
            if (all.Count > Transcripts)
                Add($"<p class=\"quiet\">The first {Transcripts} of {all.Count} transcripts; all are in <code>items/{task.Task}.jsonl</code>.</p>");
        }
    }

    private static string Transcript(TaskResult task, ItemResult item)
    {
        var html = new StringBuilder();
        var mark = item.Metrics.TryGetValue(task.Metric, out var score) ? score >= 1 ? "<span class=\"right\">right</span>" : score <= 0 ? "<span class=\"wrong\">wrong</span>" : $"<b>{Number(score)}</b>" : string.Empty;
        html.Append($"<details><summary>{Text(item.Id)} {mark} <span class=\"quiet\">{Text(Shortened(string.Join(" · ", item.Extractions.Select(e => e ?? "no answer"))))}</span></summary><pre>{Text(item.Prompt)}</pre>");
        if (item.Options is { } options)
        {
            html.Append("<table><tr><th>option</th><th class=\"n\">ln P</th><th class=\"n\">tokens</th><th class=\"n\">ln P / token</th><th class=\"n\">without context</th></tr>");
            foreach (var option in options)
                html.Append($"<tr><td>{(option.Context is null ? string.Empty : $"<span class=\"quiet\">{Text(Shortened(option.Context[Math.Max(0, option.Context.Length - 80)..]))}</span> ")}{Text(option.Text)}</td><td class=\"n\">{Number(option.Loglikelihood)}</td><td class=\"n\">{option.Tokens}</td><td class=\"n\">{Number(option.Loglikelihood / option.Tokens)}</td><td class=\"n\">{(option.Unconditional is { } without ? Number(without) : string.Empty)}</td></tr>");
            html.Append("</table>");
        }

        foreach (var output in item.Outputs ?? [])
            html.Append($"<p class=\"quiet\">output{(item.Truncated ? ", cut off" : string.Empty)}</p><pre>{Text(output)}</pre>");
        if (item.Gold.Length > 0)
            html.Append($"<p>extracted: <code>{Text(string.Join(" · ", item.Extractions.Select(e => e ?? "none")))}</code><br>right answer: <code>{Text(item.Gold)}</code></p>");
        if (item.Note is not null)
            html.Append($"<p class=\"wrong\">{Text(item.Note)}</p>");
        return html.Append($"<p class=\"quiet\">{string.Join(", ", item.Metrics.Select(m => $"{Text(m.Key)} {Number(m.Value)}"))}</p></details>").ToString();
    }

    private static string Shortened(string text) => text.ReplaceLineEndings(" ") is { Length: > 90 } line ? $"{line[..90]}…" : text.ReplaceLineEndings(" ");

    private static string Number(double value) => value.ToString("0.###", CultureInfo.InvariantCulture);

    // Control characters are no HTML; what a model writes may hold any.
    private static string Text(string text) => WebUtility.HtmlEncode(string.Concat(text.Select(c => char.IsControl(c) && c is not ('\n' or '\t') ? '\uFFFD' : c)));
}
