using System.Text;
using System.Text.Json;

namespace Hadal.Checkpoints.Tests.Fuzz;

/// <summary>Mutates JSON token by token: what a token is replaced with is JSON again, or deliberately not.</summary>
internal sealed class JsonMutator
{
    private static readonly string[] Hostile =
    [
        "null", "true", "false", "{}", "[]", "\"\"", "0", "1", "-1", "2", "3", "127", "128", "4095", "4097", "65536", "2147483647", "2147483648", "4294967296",
        "1152921504606846976", "9223372036854775807", "9223372036854775808", "18446744073709551616", "-9223372036854775808", "1.5", "1e3", "1e308", "1e999", "-1e999",
        "1e-320", "0.0", "NaN", "Infinity", "\"\\ud800\"", "\"\\u0000\"", "\"..\"", "\"../model.safetensors\"", "\"/dev/zero\"", "\"F32\"", "\"F16\"", "\"F8_E4M3\"", "\"F8_E5M2\"",
        "\"U8\"", "\"F4\"", "\"greedy\"", "\"sigmoid\"", "\"yarn\"", "\"llama3\"", "\"fp8\"", "\"model.norm.weight\"", "\"__metadata__\"", "{\"a\": 1, \"a\": 2}", "[0, 9223372036854775807]",
        "[4611686018427387904, 4611686018427387904]", "[0]", "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", "]", "}", ",", ":", "/* */1", "\"\u00e9\u4f60\"",
    ];

    private readonly byte[] json;
    private readonly List<(int Start, int End)> tokens = [];

    public JsonMutator(byte[] json)
    {
        this.json = json;
        var reader = new Utf8JsonReader(json);
        while (reader.Read())
            tokens.Add(((int)reader.TokenStartIndex, (int)reader.BytesConsumed));
    }

    /// <summary>One to three mutations.</summary>
    public byte[] Mutate(Random random)
    {
        // From the back, so that earlier positions stay true.
        var bytes = json.ToList();
        var at = Enumerable.Range(0, random.Next(1, 4)).Select(_ => random.Next(tokens.Count)).Distinct().OrderDescending();
        foreach (var index in at)
            Mutate(bytes, tokens[index], random);
        return [.. bytes];
    }

    private void Mutate(List<byte> bytes, (int Start, int End) token, Random random)
    {
        switch (random.Next(12))
        {
            case 0:
                bytes.RemoveRange(token.Start, token.End - token.Start);
                break;
            case 1:
                bytes[random.Next(bytes.Count)] ^= (byte)(1 << random.Next(8));
                break;
            case 2 when random.Next(4) == 0:
                bytes.RemoveRange(token.Start, bytes.Count - token.Start);
                break;
            case 3:
                var (start, end) = tokens[random.Next(tokens.Count)];
                Replace(json.AsSpan(start, end - start));
                break;
            case 4:
                bytes.InsertRange(token.Start, json.AsSpan(token.Start, Math.Min(json.Length - token.Start, random.Next(1, 200))).ToArray());
                break;
            case 5 when random.Next(4) == 0:
                Replace(Encoding.ASCII.GetBytes(new string('[', 5000)));
                break;
            case 6 when random.Next(4) == 0:
                Replace(Encoding.ASCII.GetBytes($"\"{new string('x', 20000)}\""));
                break;
            default:
                Replace(Encoding.UTF8.GetBytes(Hostile[random.Next(Hostile.Length)]));
                break;
        }

        void Replace(ReadOnlySpan<byte> replacement)
        {
            var length = Math.Min(token.End, bytes.Count) - token.Start;
            if (length < 0)
                return;
            bytes.RemoveRange(token.Start, length);
            bytes.InsertRange(token.Start, replacement.ToArray());
        }
    }
}
