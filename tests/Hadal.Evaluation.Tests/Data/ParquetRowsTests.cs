using System.Text.Json;
using Hadal.Evaluation.Data;
using Hadal.Evaluation.Running;
using Hadal.Evaluation.Tasks;
using Parquet.Serialization;

namespace Hadal.Evaluation.Tests.Data;

/// <summary>Benchmarks that are published as Parquet: the same questions as from JSON lines, and damage named.</summary>
public sealed class ParquetRowsTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("hadal-parquet-").FullName;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(root, recursive: true);

    [Theory]
    [InlineData(TaskStyle.DeepSeek)]
    [InlineData(TaskStyle.LmEval)]
    public async Task ATasksParquetFileGivesTheQuestionsOfItsJsonLines(TaskStyle style)
    {
        // The published schema of MMLU-Pro: numbers of 64 bits, a list of texts, texts.
        var test = Enumerable.Range(0, 40).Select(i => Row(i, "which 深海 lamp \"burns\"?\n", string.Empty)).ToList();
        var validation = Enumerable.Range(100, 12).Select(i => Row(i, "which net holds", "A: Let's think step by step. The answer is (A).")).ToList();
        await WriteAsync("parquet/data/test-00000-of-00001.parquet", test);
        await WriteAsync("parquet/data/validation-00000-of-00001.parquet", validation);
        Directory.CreateDirectory(In("lines"));
        File.WriteAllLines(In("lines/test.jsonl"), test.Select(r => JsonSerializer.Serialize(r)));
        File.WriteAllLines(In("lines/validation.jsonl"), validation.Select(r => JsonSerializer.Serialize(r)));
        var task = Benchmarks.Find("mmlu_pro");
        var (parquet, lines) = (new TaskData(In("parquet"), "mmlu_pro"), new TaskData(In("lines"), "mmlu_pro"));
        var (fromParquet, fromLines) = (task.Build(parquet, new TaskOptions(style)), task.Build(lines, new TaskOptions(style)));
        Assert.Equal(40, fromParquet.Questions.Count);
        Assert.Equal(Setting.HashPrompts(fromLines.Questions), Setting.HashPrompts(fromParquet.Questions));
        Assert.Equal(["data/test-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"], parquet.Hashes.Keys);
    }

    [Fact]
    public async Task AWrongItemAndADamagedFileAreNamed()
    {
        var file = await WriteAsync("data/test-0.parquet", [Row(1, "good", string.Empty), Row(2, "bad", string.Empty) with { answer_index = 12 }]);
        var task = Benchmarks.Find("mmlu_pro");
        var wrong = Assert.Throws<InvalidDataException>(() => task.Build(new TaskData(root, "mmlu_pro"), new TaskOptions(Shots: 0)));
        Assert.EndsWith("test-0.parquet: item 2: 'answer_index': expected a whole number from 0 to 9, found 12", wrong.Message);
        var bytes = await File.ReadAllBytesAsync(file, Cancellation);
        foreach (var damaged in (byte[][])[bytes[..(bytes.Length / 2)], [.. "PAR1"u8], [.. bytes.Select((b, i) => i > bytes.Length - 60 && i < bytes.Length - 8 ? (byte)~b : b)], []])
        {
            await File.WriteAllBytesAsync(file, damaged, Cancellation);
            var e = Assert.ThrowsAny<Exception>(() => task.Build(new TaskData(root, "mmlu_pro"), new TaskOptions(Shots: 0)));
            Assert.True(e is InvalidDataException or IOException, e.ToString());
            Assert.DoesNotContain('\n', e.Message);
        }
    }

    private static Exam Row(int id, string question, string reasoning) => new()
    {
        question_id = id, question = $"{question} {id}", options = [.. Enumerable.Range(0, 10).Select(o => $"option {o}, {id}")], answer = $"{(char)('A' + (id % 10))}",
        answer_index = id % 10, cot_content = reasoning, category = id % 2 == 0 ? "law" : "sea lore", src = "made up",
    };

    private string In(string name) => Path.Combine(root, name);

    private async Task<string> WriteAsync(string name, IReadOnlyCollection<Exam> rows)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(In(name))!);
        await using var stream = File.Create(In(name));
        await ParquetSerializer.SerializeAsync(rows, stream, cancellationToken: Cancellation);
        return In(name);
    }

    // Names are those of the columns.
#pragma warning disable IDE1006, SA1300
    internal sealed record Exam
    {
        public long question_id { get; set; }

        public string question { get; set; } = string.Empty;

        public List<string> options { get; set; } = [];

        public string answer { get; set; } = string.Empty;

        public long answer_index { get; set; }

        public string cot_content { get; set; } = string.Empty;

        public string category { get; set; } = string.Empty;

        public string src { get; set; } = string.Empty;
    }
#pragma warning restore IDE1006, SA1300
}
