using System.Text.Json;
using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Safetensors;

/// <summary>model.safetensors.index.json: which shard holds which tensor (<c>weight_map</c>).</summary>
internal static class ShardIndex
{
    private const int LargestFile = 1 << 27;
    private const string Extension = ".safetensors";

    /// <summary>The tensors and their shards, in the order of the file. Shards are plain file names: an index cannot point out of its folder.</summary>
    public static List<(string Name, string Shard)> Read(string path)
    {
        using var document = JsonFile.Read(path, LargestFile);
        var fields = new JsonFields(path, document.RootElement);
        if (fields.Find("weight_map") is not { ValueKind: JsonValueKind.Object } map)
            throw BadFile.Field(path, "weight_map", "expected an object of tensor names and file names, found none");
        var entries = new List<(string, string)>();
        foreach (var property in map.EnumerateObject())
        {
            var name = NameOf(path, property);
            var shard = JsonFields.TextOf(property.Value);
            if (shard is null || !IsPlainName(shard))
                throw BadFile.Tensor(path, name, $"expected the name of a {Extension} file in the same folder, found {BadFile.Quote(shard ?? "no text")}");
            entries.Add((name, shard));
        }

        return entries;
    }

    private static bool IsPlainName(string name) =>
        name.Length > Extension.Length
        && name.Length < 256
        && name.EndsWith(Extension, StringComparison.Ordinal)
        && !name.StartsWith('.')
        && name.All(static c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' or ' ');

    private static string NameOf(string path, JsonProperty property)
    {
        try
        {
            return property.Name;
        }
        catch (InvalidOperationException e)
        {
            throw JsonFile.NotJson(path, e);
        }
    }
}
