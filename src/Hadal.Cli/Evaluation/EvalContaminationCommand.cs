using System.CommandLine;
using System.Text.Json;
using Hadal.Cli.Commands;
using Hadal.Cli.Terminals;
using Hadal.Evaluation.Contamination;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Tasks;

namespace Hadal.Cli.Evaluation;

/// <summary><c>hadal eval contamination</c>: which items of the benchmarks a corpus holds.</summary>
internal static class EvalContaminationCommand
{
    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "contamination",
            $"Which items of benchmarks a corpus holds: those that share a run of {OverlapIndex.RunLength} words with it.",
            "hadal eval contamination --corpus corpus.jsonl --tasks all --data path/to/benchmarks");
        var corpus = new Option<string[]>("--corpus") { Description = "Files of the corpus: JSON lines with 'text', or plain text.", HelpName = "FILE", Required = true, AllowMultipleArgumentsPerToken = true };
        var tasks = TypedOptions.Required("--tasks", "A,B|all", "Tasks whose items are looked for.");
        var data = TypedOptions.Required("--data", "DIR", "The folder of benchmarks.");
        var json = TypedOptions.Flag("--json", "Print one JSON object.");
        foreach (var option in (Option[])[corpus, tasks, data, json])
            command.Add(option);
        command.SetAction((result, cancellation) =>
        {
            var index = new OverlapIndex();
            var (chosen, named) = EvalCommand.Tasks(result.GetRequiredValue(tasks));
            foreach (var task in chosen)
                Add(index, task, result.GetRequiredValue(data), named, terminal);
            foreach (var file in result.GetRequiredValue(corpus))
                Scan(index, file, terminal, cancellation);
            var found = index.Items.GroupBy(i => i.Task).Select(g => new { Task = g.Key, Items = g.Count(), Found = index.Found.Where(f => f.Task == g.Key).Select(f => f.Id).ToList() }).ToList();
            if (result.GetValue(json))
            {
                terminal.Out.WriteLine(JsonSerializer.Serialize(new { index.Words, Tasks = found }, JsonOutput.Snake));
                return Task.FromResult(ExitCode.Success);
            }

            foreach (var task in found)
                terminal.Out.WriteLine($"{task.Task,-14} {task.Found.Count} of {task.Items} items{(task.Found.Count > 0 ? $": {string.Join(", ", task.Found.Take(8))}{(task.Found.Count > 8 ? ", …" : string.Empty)}" : string.Empty)}");
            terminal.Out.WriteLine($"{index.Words} words of corpus; {found.Sum(f => f.Found.Count)} of {index.Items.Count} items are in it");
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    // Without examples, which belong to other items; where a task has none of that form, what its prompts share is left out.
    private static void Add(OverlapIndex index, EvaluationTask task, string root, bool named, Terminal terminal)
    {
        try
        {
            var data = new TaskData(root, task.Info.Folder);
            if (!named && !data.IsOwnFolder)
                return;
            IReadOnlyList<Question> questions;
            try
            {
                questions = task.Build(data, new TaskOptions(Shots: 0)).Questions;
            }
            catch (NotSupportedException)
            {
                questions = task.Build(data, new TaskOptions()).Questions;
            }

            var tooShort = OverlapIndex.OwnTexts(questions).Count(q => !index.Add(task.Info.Name, q.Question.Id, q.Text));
            if (tooShort > 0)
                terminal.Notice($"{task.Info.Name}: {tooShort} items are too short to be told apart");
        }
        catch (FileNotFoundException e) when (!named)
        {
            terminal.Notice($"{task.Info.Name} is left out: {e.Message}");
        }
    }

    private static void Scan(OverlapIndex index, string file, Terminal terminal, CancellationToken cancellation)
    {
        if (!File.Exists(file))
            throw new FileNotFoundException($"{file}: expected a file of the corpus, found nothing");
        if (Path.GetExtension(file) is not (".jsonl" or ".json"))
        {
            index.Scan(File.ReadAllText(file));
            return;
        }

        using var progress = new ProgressLine(terminal, Path.GetFileName(file));
        var number = 0;
        foreach (var line in File.ReadLines(file))
        {
            cancellation.ThrowIfCancellationRequested();
            if (string.IsNullOrWhiteSpace(line))
                continue;
            index.Scan(DataRow.Parse(file, ++number, line).Text("text"));
            if (number % 1000 == 0)
                progress.Count(number);
        }
    }
}
