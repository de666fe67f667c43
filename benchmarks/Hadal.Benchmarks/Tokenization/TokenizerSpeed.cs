using System.Diagnostics;
using System.Text.Json;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Benchmarks.Tokenization;

/// <summary>Bytes of text a second on one core, in several passes: the first ones run code that is not yet compiled for good.</summary>
internal static class TokenizerSpeed
{
    private const int Passes = 4;

    /// <summary>Measures and prints a line for each pass.</summary>
    /// <param name="path">A model, or a folder with a tokenizer.json.</param>
    /// <param name="file">A .jsonl file with a text a line.</param>
    public static void Run(string path, string file)
    {
        var clock = Stopwatch.StartNew();
        var tokenizer = Tokenizer.OfModel(path) ?? throw new InvalidDataException($"{path}: expected a tokenizer, found none");
        Console.WriteLine($"tokenizer read in {clock.Elapsed.TotalSeconds:f2} s");
        byte[][] texts = [.. File.ReadLines(file).Select(Text)];
        var megabytes = texts.Sum(static text => (long)text.Length) / 1e6;
        var ids = new List<int>();
        for (var pass = 1; pass <= Passes; pass++)
        {
            var (count, used) = (0L, Processor());
            clock.Restart();
            foreach (var text in texts)
            {
                ids.Clear();
                tokenizer.EncodeUtf8(text, ids);
                count += ids.Count;
            }

            var seconds = (Processor() - used).TotalSeconds;
            Console.WriteLine($"pass {pass}: {megabytes:f1} MB, {count} tokens: {megabytes / seconds:f1} MB/s of processor time, {megabytes / clock.Elapsed.TotalSeconds:f1} MB/s");
        }
    }

    private static byte[] Text(string line)
    {
        using var document = JsonDocument.Parse(line);
        return System.Text.Encoding.UTF8.GetBytes(document.RootElement.GetProperty("text").GetString()!);
    }

    private static TimeSpan Processor()
    {
        using var process = Process.GetCurrentProcess();
        return process.TotalProcessorTime;
    }
}
