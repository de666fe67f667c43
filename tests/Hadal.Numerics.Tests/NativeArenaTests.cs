namespace Hadal.Numerics.Tests;

public sealed unsafe class NativeArenaTests
{
    // In huge pages as long as there are any; most machines have none, and then it is ordinary memory.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Pieces_are_zeroed_aligned_and_apart(bool inHugePages)
    {
        using var arena = new NativeArena(inHugePages);
        var random = new Random(3);
        var pieces = new List<(nint Start, int Length)>();
        for (var i = 0; i < 300; i++)
        {
            // Some are larger than what the arena takes from the system at once.
            var length = i % 100 == 99 ? (64 << 20) + i : random.Next(1 << 20);
            var had = arena.HasRoom(length);
            var piece = arena.TakeSpan(length);
            Assert.False(piece.ContainsAnyExcept((byte)0));
            piece.Fill(0xFF);
            fixed (byte* start = piece)
            {
                if (length > 0)
                    Assert.Equal(0, (nint)start % 64);
                if (had && pieces.Count > 0 && length > 0)
                    Assert.InRange((nint)start - (pieces[^1].Start + pieces[^1].Length), 0, 63);
                pieces.Add(((nint)start, length));
            }
        }

        var ordered = pieces.Where(static piece => piece.Length > 0).OrderBy(static piece => piece.Start).ToArray();
        for (var i = 1; i < ordered.Length; i++)
            Assert.True(ordered[i].Start >= ordered[i - 1].Start + ordered[i - 1].Length);
    }

    [Fact]
    public void A_negative_length_is_refused_and_so_is_everything_once_it_is_disposed()
    {
        var arena = new NativeArena();
        Assert.Throws<ArgumentOutOfRangeException>(() => arena.TakeSpan(-1));
        arena.TakeSpan(1)[0] = 1;
        arena.Dispose();
        Assert.False(arena.HasRoom(1));
        Assert.Throws<ObjectDisposedException>(() => arena.TakeSpan(1));
        arena.Dispose();
    }
}
