using System.Diagnostics;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Hadal.Checkpoints.Gguf;
using Hadal.Checkpoints.Tests.Files;
using Hadal.Checkpoints.Tests.Gguf;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Checkpoints.Tests.Tokenization;

/// <summary>Damaged and hostile files: each is read, or refused in one line that names the file; in bounded time, and with no other exception.</summary>
public sealed class HostileTokenizerTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("""{"model":{"vocab":{"a":-1}}}""", "model.vocab", "-1")]
    [InlineData("""{"model":{"vocab":{"a":4194304}}}""", "model.vocab", "4194304")]
    [InlineData("""{"model":{"vocab":{"a":1e99}}}""", "model.vocab", "1e99")]
    [InlineData("""{"model":{"vocab":{"a":0,"a":1}}}""", "model.vocab", "found twice")]
    [InlineData("""{"model":{"vocab":{"a":0,"b":0}}}""", "model.vocab", "two tokens have id 0")]
    [InlineData("""{"model":{"vocab":{"a":0}}}""", "model.vocab", "0x00")]
    [InlineData("""{"model":{"vocab":[]}}""", "model.vocab", "StartArray")]
    [InlineData("""{"model":{"type":"WordPiece"}}""", "model.type", "WordPiece")]
    [InlineData("""{"model":{"byte_fallback":true}}""", "model.byte_fallback", "true")]
    [InlineData("""{"model":{"dropout":0.1}}""", "model.dropout", "0.1")]
    [InlineData("""{"model":{"type":"BPE"}}""", "model.vocab", "missing")]
    [InlineData("""{"model":{"new_thing":1}}""", "model.new_thing", "unknown")]
    [InlineData("""{"normalizer":{"type":"NFC"}}""", "normalizer", "NFC")]
    [InlineData("""{"normalizer":{"type":"Sequence","normalizers":[{"type":"Lowercase"}]}}""", "normalizer", "Lowercase")]
    [InlineData("""{"pre_tokenizer":{"type":"Metaspace"}}""", "pre_tokenizer", "Metaspace")]
    [InlineData("""{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"a"},"behavior":"Removed","invert":false}}""", "pre_tokenizer.behavior", "Removed")]
    [InlineData("""{"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true,"use_regex":false}}""", "pre_tokenizer.add_prefix_space", "true")]
    [InlineData("""{"post_processor":{"type":"BertProcessing"}}""", "post_processor", "BertProcessing")]
    [InlineData("""{"decoder":{"type":"WordPiece"}}""", "decoder", "WordPiece")]
    [InlineData("""{"added_tokens":[{"id":-5,"content":"x"}]}""", "added_tokens.id", "-5")]
    [InlineData("""{"added_tokens":[{"id":5,"content":""}]}""", "added_tokens.content", "\"\"")]
    [InlineData("""{"added_tokens":[{"id":5,"content":"x","odd":1}]}""", "added_tokens.odd", "unknown")]
    [InlineData("""{"added_tokens":{}}""", "added_tokens", "{}")]
    [InlineData("""{"surprise":1}""", "surprise", "unknown")]
    [InlineData("""{"version":"1.0"}""", "model", "found none")]
    [InlineData("""{"version":"1.0","version":"1.0"}""", "version", "found twice")]
    [InlineData("[]", "tokenizer.json", "StartArray")]
    [InlineData("{\"model\":{\"vocab\":{\"a\":0,", "tokenizer.json", "JSON")]
    [InlineData("", "tokenizer.json", "JSON")]
    [InlineData("""{"decoder":{"type":"\ud800"}}""", "tokenizer.json", "surrogate")]
    public void What_is_wrong_is_named(string json, string field, string found) => AssertRefused(folder.Write("tokenizer.json", json), field, found);

    [Theory]
    [InlineData("model.merges", """["a","b"]""", "space between")]
    [InlineData("model.merges", """["a b c"]""", "a b c")]
    [InlineData("model.merges", """[["a"]]""", "two strings")]
    [InlineData("model.merges", """[["x","y","z"]]""", "two strings")]
    [InlineData("model.merges", """[7]""", "Number")]
    [InlineData("model.merges", """["a zz"]""", "zz")]
    [InlineData("model.merges", """["a b"]""", "ab")]
    [InlineData("model.merges", "{}", "StartObject")]
    [InlineData("added_tokens", """[{"id":999,"content":"xx"},{"id":999,"content":"yy"}]""", "twice")]
    [InlineData("added_tokens", """[{"id":5,"content":"x"}]""", "expected id 5")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"(a"},"behavior":"Isolated","invert":false}""", "(a")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"\\X"},"behavior":"Isolated","invert":false}""", "not supported")]
    public void What_is_wrong_in_one_section_is_named(string section, string json, string found)
    {
        Tokenizer.CreateByteLevel([("x", "y")]).Save(folder.Path);
        var root = JsonNode.Parse(File.ReadAllText(folder.File("tokenizer.json")))!;
        if (section == "model.merges")
            root["model"]!["merges"] = JsonNode.Parse(json);
        else
            root[section] = JsonNode.Parse(json);
        AssertRefused(folder.Write("tokenizer.json", root.ToJsonString()), section, found);
    }

    [Fact]
    public void Deep_JSON_and_ill_formed_UTF8_are_refused()
    {
        AssertRefused(folder.Write("tokenizer.json", "{\"normalizer\":" + new string('[', 100_000)), "tokenizer.json", "depth");
        AssertRefused(folder.Write("tokenizer.json", [0x7B, 0x22, 0xFF, 0x22, 0x7D]), "tokenizer.json", "UTF-8");
    }

    [Theory]
    [InlineData("""{"bos_token":7}""", "bos_token")]
    [InlineData("""{"add_bos_token":"yes"}""", "add_bos_token")]
    [InlineData("""{"chat_template":[{"name":"tool_use","template":"x"}]}""", "chat_template")]
    [InlineData("[1]", "tokenizer_config.json")]
    [InlineData("{", "tokenizer_config.json")]
    public void A_bad_tokenizer_config_is_named(string json, string field)
    {
        Tokenizer.CreateByteLevel().Save(folder.Path);
        folder.Write("tokenizer_config.json", json);
        var e = Assert.Throws<InvalidDataException>(() => Tokenizer.FromTokenizerJson(folder.Path));
        Assert.Contains("tokenizer_config.json", e.Message);
        Assert.Contains(field, e.Message);
    }

    [Fact]
    public void A_regex_without_end_is_stopped()
    {
        var pattern = new RegexPattern(@"(?:(?:a|aa)+)+$", TimeSpan.FromMilliseconds(50));
        var e = Assert.Throws<InvalidDataException>(() => pattern.Cut(Encoding.UTF8.GetBytes(new string('a', 60) + "!"), 0, []));
        Assert.Contains("took longer", e.Message);
    }

    /// <summary>Thousands of files, each a good one with a few nodes removed, replaced, renamed or doubled, or its text cut or overwritten.</summary>
    [Fact]
    public void Mutations_are_read_or_refused()
    {
        var random = new Random(20241226);
        Tokenizer.CreateByteLevel([("a", "b"), ("ab", "c"), ("Ġ", "a")], ["<think>"]).Save(folder.Path);
        var good = JsonNode.Parse(File.ReadAllText(folder.File("tokenizer.json")))!;
        good["model"]!["merges"]!.AsArray().Add("b c");
        good["model"]!["vocab"]!["bc"] = 300;
        var goodConfig = File.ReadAllText(folder.File("tokenizer_config.json"));
        var (accepted, refused) = (0, 0);
        var watch = Stopwatch.StartNew();
        for (var i = 0; i < 3000; i++)
        {
            var root = good.DeepClone();
            for (var n = random.Next(1, 4); n > 0; n--)
                Mutate(root, random);
            var text = Encoding.UTF8.GetBytes(root.ToJsonString());
            if (random.Next(8) == 0)
                text = Damage(text, random);
            folder.Write("tokenizer.json", text);
            folder.Write("tokenizer_config.json", random.Next(8) == 0 ? Damage(Encoding.UTF8.GetBytes(goodConfig), random) : Encoding.UTF8.GetBytes(goodConfig));
            if (Survives(folder.File("tokenizer.json")))
                accepted++;
            else
                refused++;
        }

        Assert.True(accepted > 300, $"{accepted} accepted");
        Assert.True(refused > 800, $"{refused} refused");
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(60), $"{watch.Elapsed}");
    }

    [Fact]
    public void Damage_to_the_real_file_is_read_or_refused()
    {
        var random = new Random(7);
        var good = File.ReadAllBytes(Tokenizers.V3File("tokenizer.json"));
        for (var i = 0; i < 6; i++)
            Survives(folder.Write("tokenizer.json", Damage(good, random)));
    }

    [Theory]
    [InlineData("tokenizer.ggml.model", "llama")]
    [InlineData("tokenizer.ggml.pre", "qwen2")]
    [InlineData("tokenizer.ggml.pre", null)]
    [InlineData("tokenizer.ggml.tokens", null)]
    [InlineData("tokenizer.ggml.token_type", null)]
    [InlineData("tokenizer.ggml.merges", null)]
    [InlineData("tokenizer.ggml.bos_token_id", "9999")]
    public void What_is_wrong_in_a_GGUF_is_named(string key, string? value)
    {
        using (var good = GgufFile.Open(folder.Write("good.gguf", Gguf("", null))))
            Assert.Equal(256, Tokenizer.FromGguf(good.Metadata).VocabSize);
        using var file = GgufFile.Open(folder.Write("a.gguf", Gguf(key, value)));
        var e = Assert.Throws<InvalidDataException>(() => Tokenizer.FromGguf(file.Metadata));
        Assert.Contains("a.gguf", e.Message);
        Assert.Contains(key, e.Message);
        Assert.Contains(value ?? "", e.Message);
    }

    /// <summary>A GGUF of a byte vocabulary in which one key has another value, or is missing.</summary>
    private static byte[] Gguf(string wrongKey, string? value)
    {
        var keys = new List<Action<GgufBytes>>();
        void Text(string key, string right) => Add(key, b => b.Key(key, GgufValueType.String).Text(key == wrongKey ? value! : right));
        void Add(string key, Action<GgufBytes> write)
        {
            if (key != wrongKey || value is not null)
                keys.Add(write);
        }

        Text("tokenizer.ggml.model", "gpt2");
        Text("tokenizer.ggml.pre", "deepseek-v3");
        Add("tokenizer.ggml.tokens", b =>
        {
            b.Key("tokenizer.ggml.tokens", GgufValueType.Array).ArrayOf(GgufValueType.String, 256);
            for (var i = 0; i < 256; i++)
                b.Text(ByteAlphabet.Spell((byte)i).ToString());
        });
        Add("tokenizer.ggml.token_type", b =>
        {
            b.Key("tokenizer.ggml.token_type", GgufValueType.Array).ArrayOf(GgufValueType.UInt32, 256);
            for (var i = 0; i < 256; i++)
                b.U32(1);
        });
        Add("tokenizer.ggml.merges", b => b.Key("tokenizer.ggml.merges", GgufValueType.Array).ArrayOf(GgufValueType.String, 0));
        Add("tokenizer.ggml.bos_token_id", b => b.Key("tokenizer.ggml.bos_token_id", GgufValueType.UInt32).U32(wrongKey == "tokenizer.ggml.bos_token_id" ? 9999u : 1));
        var bytes = new GgufBytes().Counts(0, (ulong)keys.Count);
        keys.ForEach(k => k(bytes));
        return bytes.ToArray();
    }

    /// <summary>Reads a file: true if it is read and the tokenizer works, false if it is refused as it should be.</summary>
    private bool Survives(string path)
    {
        Tokenizer tokenizer;
        try
        {
            tokenizer = Tokenizer.FromTokenizerJson(path);
        }
        catch (InvalidDataException e)
        {
            Assert.StartsWith(folder.Path, e.Message);
            Assert.DoesNotContain('\n', e.Message);
            Assert.True(e.Message.Length < 800, e.Message);
            return false;
        }

        const string Text = "abc ab 12345\r\n 中文<think><｜User｜>é\u0085";
        Assert.Equal(Text, tokenizer.Decode(tokenizer.Encode(Text, parseSpecial: false)));
        tokenizer.Encode(Text, addBos: tokenizer.BosId is not null);
        return true;
    }

    private static void AssertRefused(string path, string field, string found)
    {
        var e = Assert.Throws<InvalidDataException>(() => Tokenizer.FromTokenizerJson(path));
        Assert.StartsWith(path, e.Message);
        Assert.Contains(field, e.Message);
        Assert.Contains(found, e.Message, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain('\n', e.Message);
    }

    private static byte[] Damage(byte[] text, Random random)
    {
        var damaged = text.AsSpan(0, random.Next(2) == 0 ? random.Next(text.Length) : text.Length).ToArray();
        for (var n = random.Next(3); n > 0 && damaged.Length > 0; n--)
            damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
        return random.Next(8) == 0 ? [.. damaged, .. "}]x"u8] : damaged;
    }

    private static void Mutate(JsonNode root, Random random)
    {
        // Down from the root, mostly past the big lists, to some node.
        var node = root;
        while (true)
        {
            var children = node switch
            {
                JsonObject o => o.Select(p => p.Value).ToList(),
                JsonArray a => [.. a],
                _ => [],
            };
            var inner = children.Where(c => c is JsonObject or JsonArray).ToList();
            if (inner.Count == 0 || random.Next(3) == 0)
                break;
            node = inner[random.Next(inner.Count)]!;
        }

        var value = Odd(random);
        if (node is JsonArray array)
        {
            var at = random.Next(array.Count + 1);
            if (at < array.Count && random.Next(2) == 0)
                array.RemoveAt(at);
            else
                array.Insert(at, random.Next(2) == 0 && array.Count > 0 ? array[random.Next(array.Count)]?.DeepClone() : value);
        }
        else if (node is JsonObject obj && obj.Count > 0)
        {
            var (name, old) = obj.ElementAt(random.Next(obj.Count));
            switch (random.Next(4))
            {
                case 0:
                    obj.Remove(name);
                    break;
                case 1:
                    obj[name + "?"] = old?.DeepClone();
                    break;
                default:
                    obj[name] = value;
                    break;
            }
        }
    }

    private static JsonNode? Odd(Random random) => random.Next(14) switch
    {
        0 => null,
        1 => JsonValue.Create(true),
        2 => JsonValue.Create(-1),
        3 => JsonValue.Create(int.MaxValue),
        4 => JsonValue.Create(long.MaxValue),
        5 => JsonValue.Create(1e308),
        6 => JsonValue.Create(""),
        7 => JsonValue.Create(new string('é', 5000)),
        8 => new JsonArray(),
        9 => new JsonObject(),
        10 => JsonNode.Parse(new string('[', 40) + new string(']', 40)),
        11 => JsonValue.Create("[a-z]+|(?<x>"),
        12 => JsonValue.Create(random.Next(400)),
        _ => JsonValue.Create("a b"),
    };
}
