using System.Text.Json.Nodes;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Cli.Tests.Commands;

public sealed class TokenizerTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("hadal-").FullName;

    private string Out => Path.Combine(folder, "tokenizer");

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public async Task ATokenizerIsTrainedMeasuredAndReadAgain()
    {
        var text = Write("a.txt", string.Concat(Enumerable.Repeat("The deep sea is deep.\n\n", 40)));
        var run = (await CommandLineRun.Hadal("tokenizer", "train", "--input", text, "--vocab-size", "285", "--output", Out, "--valid", text, "--json")).AssertSucceeded();
        var report = JsonNode.Parse(run.Out)!;
        Assert.Equal((285, 1, 920, 920), ((int)report["vocab_size"]!, (int)report["documents"]!, (int)report["bytes"]!, (int)report["valid_bytes"]!));
        var tokenizer = Tokenizer.FromTokenizerJson(Out);
        Assert.Equal(285, tokenizer.VocabSize);
        Assert.Equal((int)report["valid_tokens"]!, tokenizer.Encode(await File.ReadAllTextAsync(text, TestContext.Current.CancellationToken)).Length);
        var ids = (await CommandLineRun.Hadal("tokenize", "--model", Out, "--text", " deep")).AssertSucceeded();
        Assert.Matches(@"^\[\d+\]\n$", ids.Out);
    }

    [Fact]
    public async Task TheReportForAPersonSaysWhatTheTextDidNotGive()
    {
        var text = Write("a.txt", "abababab");
        var run = (await CommandLineRun.Hadal("tokenizer", "train", "--input", text, "--vocab-size", "400", "--output", Out, "--valid", text)).AssertSucceeded();
        Assert.Contains("of the 400 tokens asked for", run.Out);
        Assert.Matches(@"held-out text: 8 bytes in \d tokens, \d\.\d+ bytes a token", run.Out);
    }

    [Fact]
    public async Task NothingIsOverwritten()
    {
        var text = Write("a.txt", "the deep sea");
        string[] command = ["tokenizer", "train", "--input", text, "--vocab-size", "300", "--output", Out];
        (await CommandLineRun.Hadal(command)).AssertSucceeded();
        Assert.Contains("holds a tokenizer.json already", (await CommandLineRun.Hadal(command)).AssertFailed(ExitCode.Failed));
    }

    [Fact]
    public async Task WrongInputIsNamed()
    {
        async Task<string> Fails(string file, int exitCode = ExitCode.Failed, string size = "300") =>
            (await CommandLineRun.Hadal("tokenizer", "train", "--input", file, "--vocab-size", size, "--output", Out)).AssertFailed(exitCode);
        Assert.Contains("nowhere.txt: expected a text file", await Fails(Path.Combine(folder, "nowhere.txt")));
        Assert.Contains("a.doc: expected a file that ends in one of .txt", await Fails(Write("a.doc", "x")));
        Assert.Contains("a.jsonl: line 2: expected JSON", await Fails(Write("a.jsonl", "{\"text\": \"x\"}\nnot json\n")));
        Assert.Contains("a.jsonl: line 1: expected an object with \"text\"", await Fails(Write("a.jsonl", "{\"txt\": \"x\"}")));
        Assert.Contains("--vocab-size: a vocabulary of 100 tokens: expected at least 274", await Fails(Write("a.txt", "x"), ExitCode.Usage, "100"));
        Assert.False(Directory.Exists(Out));
    }

    private string Write(string name, string text)
    {
        var path = Path.Combine(folder, name);
        File.WriteAllText(path, text);
        return path;
    }
}
