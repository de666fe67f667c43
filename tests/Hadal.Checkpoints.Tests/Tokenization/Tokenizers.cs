using System.Text.Json;
using Hadal.Checkpoints.Tokenization;
using Hadal.Tests;

namespace Hadal.Checkpoints.Tests.Tokenization;

/// <summary>The real tokenizers, each read once, and their golden cases.</summary>
internal static class Tokenizers
{
    private static readonly Lazy<Tokenizer> LazyV3 = new(() => Tokenizer.FromTokenizerJson(V3File("tokenizer.json")));

    /// <summary>DeepSeek V3's; skips the test where it is not on this machine.</summary>
    public static Tokenizer V3
    {
        get
        {
            V3File("tokenizer.json");
            return LazyV3.Value;
        }
    }

    public static string V3File(string name) => SharedFiles.Path("data", "tokenizers", "deepseek-v3", name);

    public static IEnumerable<JsonElement> JsonLines(string path) => File.ReadLines(path).Where(l => l.Length > 0).Select(l => JsonElement.Parse(l));

    public static int[] Ids(JsonElement array) => [.. array.EnumerateArray().Select(i => i.GetInt32())];
}
