using Hadal.Evaluation.Data;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// Bits per byte of texts (Gao et al., The Pile, arXiv 2101.00027, section 3.1): -sum ln p / (ln 2 x UTF-8 bytes), which compares models across tokenizers.
/// The DeepSeek-V3 report gives it for the Pile's test set; any texts serve: JSON lines with <c>text</c>, or plain text files, each one text.
/// </summary>
internal sealed class BitsPerByte : EvaluationTask
{
    public override TaskInfo Info { get; } = new()
    {
        Name = "bpb", Title = "Pile-test", Kind = TaskKind.LanguageModelling, Shots = 0, Metric = "BPB", Score = "bits_per_byte",
        Folder = "pile_test", Paper = "arXiv 2101.00027", Published = "pile.eleuther.ai: test.jsonl.zst; any text serves", Licence = "as its texts", LmEval = "pile",
    };

    public override TaskContent Build(TaskData data, TaskOptions options)
    {
        var questions = data.Require("*.jsonl", "*.txt").SelectMany(file =>
            Path.GetExtension(data.Shown(file)) is ".jsonl" or ".json"
                ? data.Items(data.Rows(file), row => new TextQuestion($"{Path.GetFileName(data.Shown(file))}/{row.Number}", Source(row), row.Text("text")))
                : [new TextQuestion(Path.GetFileName(data.Shown(file)), "all", data.ReadText(file))]);
        return new TaskContent([.. questions.Where(q => q.Text.Length > 0)]);
    }

    // The Pile names the set that a text comes from.
    private static string Source(DataRow row) => row.Has("meta") && row.Element.GetProperty("meta").ValueKind == System.Text.Json.JsonValueKind.Object ? row.Row("meta").TextOrNull("pile_set_name") ?? "all" : "all";
}
