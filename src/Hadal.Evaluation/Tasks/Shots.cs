using System.Security.Cryptography;
using System.Text;

namespace Hadal.Evaluation.Tasks;

/// <summary>
/// Examples in prompts. Which ones is decided by the data alone: the first of a split made for it, or those whose ids hash lowest. The same for every item, so
/// that prompts begin alike and what they share is computed once.
/// </summary>
internal static class Shots
{
    /// <summary>A pool in the order in which examples are taken: by SHA-256 of their ids.</summary>
    public static List<T> Ordered<T>(IEnumerable<T> pool, Func<T, string> id) =>
        [.. pool.Select(p => (Item: p, Key: Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(id(p)))))).OrderBy(p => p.Key, StringComparer.Ordinal).Select(p => p.Item)];

    /// <summary>The first <paramref name="count"/> of an ordered pool, an item itself left out: for data whose training split is not there.</summary>
    public static List<T> Without<T>(IReadOnlyList<T> ordered, int count, Func<T, string> id, string except) =>
        [.. ordered.Take(count + 1).Where(p => id(p) != except).Take(count)];
}
