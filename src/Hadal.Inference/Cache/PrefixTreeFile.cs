using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Hadal.Numerics.Kernels;

namespace Hadal.Inference.Cache;

/// <summary>
/// A <see cref="PrefixTree"/> on disk, so that conversations are found again after a restart. Little-endian:
/// "HADALPFX", version, fingerprint of the model (32 bytes), page tokens, parts of a row, width of a part, row format, layers, lookahead, number of nodes; then each node (parent's number or
/// -1, next token, number of tokens, tokens), from the most recently used on, parents first; then each node's rows, layer by layer and part by part, as they are stored; then the
/// SHA-256 of everything before.
/// </summary>
public static class PrefixTreeFile
{
    private const int Version = 3;
    private const int FingerprintBytes = 32;
    private const int HeaderBytes = 8 + sizeof(int) + FingerprintBytes + (7 * sizeof(int));

    private static ReadOnlySpan<byte> Magic => "HADALPFX"u8;

    /// <summary>Writes the tree beside its place and renames it, so that a crash leaves the file as it was.</summary>
    /// <param name="path">File; an older one is replaced.</param>
    /// <param name="tree">What to write. Nothing may use it meanwhile.</param>
    /// <param name="pool">Its pool.</param>
    /// <param name="fingerprint">32 bytes that only this model and arithmetic have; see <see cref="ModelFingerprint"/>.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void Save(string path, PrefixTree tree, CachePool pool, ReadOnlySpan<byte> fingerprint)
    {
        ArgumentNullException.ThrowIfNull(tree);
        ArgumentNullException.ThrowIfNull(pool);
        CheckFingerprint(fingerprint);
        var beside = path + ".partial";
        try
        {
            using (var stream = new FileStream(beside, Private()))
            {
                using var writer = new HashingWriter(stream);
                Write(writer, tree, pool, fingerprint);
                stream.Write(writer.Hash());
                stream.Flush(flushToDisk: true);
            }

            File.Move(beside, path, overwrite: true);
        }
        finally
        {
            File.Delete(beside);
        }
    }

    /// <summary>Reads what <see cref="Save"/> wrote into an empty tree; what does not fit the pool is left out, the least recently used first.</summary>
    /// <param name="path">File.</param>
    /// <param name="tree">An empty tree; stays empty when the file is refused.</param>
    /// <param name="pool">Its pool.</param>
    /// <param name="fingerprint">The model's fingerprint.</param>
    /// <returns>Null, or one line that says why the file was refused: damaged, of another version, of another model.</returns>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static string? Restore(string path, PrefixTree tree, CachePool pool, ReadOnlySpan<byte> fingerprint)
    {
        ArgumentNullException.ThrowIfNull(tree);
        ArgumentNullException.ThrowIfNull(pool);
        CheckFingerprint(fingerprint);
        if (tree.Pages > 0)
            throw new ArgumentException("the tree is not empty", nameof(tree));
        try
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 20);
            using var reader = new HashingReader(stream);
            Read(reader, tree, pool, fingerprint);
            return null;
        }
        catch (InvalidDataException e)
        {
            tree.Clear();
            return $"{path}: {e.Message}; the saved prefix cache is not used";
        }
    }

    // It holds conversations: only its owner may read it.
    private static FileStreamOptions Private()
    {
        var options = new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, Share = FileShare.None, BufferSize = 1 << 20 };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        return options;
    }

    private static void CheckFingerprint(ReadOnlySpan<byte> fingerprint)
    {
        if (fingerprint.Length != FingerprintBytes)
            throw new ArgumentException($"a fingerprint of {fingerprint.Length} bytes, expected {FingerprintBytes}", nameof(fingerprint));
    }

    private static void Write(HashingWriter writer, PrefixTree tree, CachePool pool, ReadOnlySpan<byte> fingerprint)
    {
        var nodes = tree.NodesByUse.ToList();
        var numbers = new Dictionary<PrefixTree.Node, int>();
        writer.Write(Magic);
        writer.Write(Version);
        writer.Write(fingerprint);
        foreach (var value in (int[])[pool.PageTokens, pool.Layout.Parts, pool.Layout.PartWidth, (int)pool.Format, pool.Layers, tree.Lookahead ? 1 : 0, nodes.Count])
            writer.Write(value);
        foreach (var node in nodes)
        {
            writer.Write(tree.IsRoot(node.Parent!) ? -1 : numbers[node.Parent!]);
            writer.Write(node.Next);
            writer.Write(node.Tokens.Length);
            foreach (var token in node.Tokens)
                writer.Write(token);
            numbers.Add(node, numbers.Count);
        }

        foreach (var node in nodes)
        {
            for (var i = 0; i < pool.Layers * pool.Layout.Parts; i++)
                writer.Write(pool.Rows(i / pool.Layout.Parts, node.Page, i % pool.Layout.Parts, node.Tokens.Length));
        }
    }

    private static void Read(HashingReader reader, PrefixTree tree, CachePool pool, ReadOnlySpan<byte> fingerprint)
    {
        if (reader.Length < HeaderBytes + SHA256.HashSizeInBytes)
            throw new InvalidDataException($"{reader.Length} bytes are too few");
        Span<byte> magic = stackalloc byte[8], saved = stackalloc byte[FingerprintBytes];
        reader.Read(magic);
        if (!magic.SequenceEqual(Magic))
            throw new InvalidDataException("not a prefix cache");
        Expect("version", reader.ReadInt(), Version);
        reader.Read(saved);
        if (!saved.SequenceEqual(fingerprint))
            throw new InvalidDataException("saved by another model, or with other arithmetic");
        Expect("page tokens", reader.ReadInt(), pool.PageTokens);
        Expect("parts of a row", reader.ReadInt(), pool.Layout.Parts);
        Expect("width of a part", reader.ReadInt(), pool.Layout.PartWidth);
        Expect("row format", reader.ReadInt(), (int)pool.Format);
        Expect("layers", reader.ReadInt(), pool.Layers);
        Expect("lookahead", reader.ReadInt(), tree.Lookahead ? 1 : 0);
        var count = reader.ReadInt();
        if (count < 0 || count > reader.Length / (4 * sizeof(int)))
            throw new InvalidDataException($"{count} nodes in a file of {reader.Length} bytes");
        var nodes = ReadNodes(reader, count, pool.PageTokens);
        var rowBytes = (long)pool.Layout.RowBytes * pool.Layers;
        var expected = reader.Position + nodes.Sum(n => n.Tokens.Length * rowBytes) + SHA256.HashSizeInBytes;
        if (reader.Length != expected)
            throw new InvalidDataException($"{reader.Length} bytes, expected {expected}");
        ReadRows(reader, nodes, tree, pool);
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        var computed = reader.Hash();
        reader.ReadRaw(hash);
        if (!hash.SequenceEqual(computed))
            throw new InvalidDataException("the checksum is wrong: the file is damaged");
    }

    private static List<(int Parent, int Next, int[] Tokens)> ReadNodes(HashingReader reader, int count, int pageTokens)
    {
        var nodes = new List<(int Parent, int Next, int[] Tokens)>();
        for (var i = 0; i < count; i++)
        {
            var (parent, next, length) = (reader.ReadInt(), reader.ReadInt(), reader.ReadInt());
            if (parent < -1 || parent >= i || length <= 0 || length > pageTokens || (parent >= 0 && nodes[parent].Tokens.Length != pageTokens))
                throw new InvalidDataException($"node {i} has {length} tokens and parent {parent}");
            if (length > (reader.Length - reader.Position) / sizeof(int))
                throw new InvalidDataException("the file ends inside the tokens");
            var tokens = new int[length];
            reader.Read(MemoryMarshal.AsBytes(tokens.AsSpan()));
            nodes.Add((parent, next, tokens));
        }

        return nodes;
    }

    private static void ReadRows(HashingReader reader, List<(int Parent, int Next, int[] Tokens)> nodes, PrefixTree tree, CachePool pool)
    {
        var made = new List<PrefixTree.Node?>();
        var skipped = Array.Empty<byte>();
        foreach (var (parent, next, tokens) in nodes)
        {
            // Parents come first, so a child of what did not fit does not fit either.
            PrefixTree.Node? node = null;
            if (tree.Pages < tree.MaxPages && (parent < 0 || made[parent] is not null) && pool.TryTake(out var page))
                node = tree.Restore(parent < 0 ? null : made[parent], tokens, next, page);
            made.Add(node);
            var bytes = tokens.Length * pool.Layout.PartBytes;
            for (var i = 0; i < pool.Layers * pool.Layout.Parts; i++)
            {
                if (node is not null)
                    reader.Read(pool.Rows(i / pool.Layout.Parts, node.Page, i % pool.Layout.Parts, tokens.Length));
                else
                    reader.Read((skipped.Length < bytes ? skipped = new byte[bytes] : skipped).AsSpan(0, bytes));
            }
        }
    }

    private static void Expect(string field, int found, int expected)
    {
        if (found != expected)
            throw new InvalidDataException($"{field} is {found}, expected {expected}");
    }

    private sealed class HashingWriter(Stream stream) : IDisposable
    {
        private readonly IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

        public void Write(ReadOnlySpan<byte> bytes)
        {
            hash.AppendData(bytes);
            stream.Write(bytes);
        }

        public void Write(int value)
        {
            Span<byte> bytes = stackalloc byte[sizeof(int)];
            BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
            Write(bytes);
        }

        public byte[] Hash() => hash.GetHashAndReset();

        public void Dispose() => hash.Dispose();
    }

    private sealed class HashingReader(FileStream stream) : IDisposable
    {
        private readonly IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

        public long Length { get; } = stream.Length;

        public long Position { get; private set; }

        public void Read(Span<byte> bytes)
        {
            ReadRaw(bytes);
            hash.AppendData(bytes);
        }

        public int ReadInt()
        {
            Span<byte> bytes = stackalloc byte[sizeof(int)];
            Read(bytes);
            return BinaryPrimitives.ReadInt32LittleEndian(bytes);
        }

        public void ReadRaw(Span<byte> bytes)
        {
            if (stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) < bytes.Length)
                throw new InvalidDataException("the file ends early");
            Position += bytes.Length;
        }

        public byte[] Hash() => hash.GetHashAndReset();

        public void Dispose() => hash.Dispose();
    }
}
