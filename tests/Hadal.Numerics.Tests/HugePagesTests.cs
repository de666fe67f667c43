namespace Hadal.Numerics.Tests;

public sealed class HugePagesTests
{
    [Theory]
    [InlineData(3L * 2048 * 1024, "MemTotal:       16384 kB", "HugePages_Total:       8", "HugePages_Free:        5", "HugePages_Rsvd:        2", "Hugepagesize:       2048 kB")]
    [InlineData(0, "HugePages_Total:       8", "HugePages_Free:        2", "HugePages_Rsvd:        3", "Hugepagesize:       2048 kB")]
    [InlineData(0, "HugePages_Free:        2", "HugePages_Rsvd:        0")]
    [InlineData(0, "HugePages_Free:        many", "HugePages_Rsvd:        0", "Hugepagesize:       2048 kB")]
    [InlineData(0, "HugePages_Free:", "Hugepagesize:")]
    [InlineData(0)]
    public void What_is_free_and_not_promised_is_counted(long bytes, params string[] meminfo) => Assert.Equal(bytes, HugePages.FreeIn(meminfo));

    [Theory]
    [InlineData(3L * 2048 * 1024, "5")]
    [InlineData(0, "2")]
    [InlineData(0, "1")]
    [InlineData(0, "")]
    [InlineData(0)]
    public void What_may_still_be_made_is_counted(long bytes, params string[] pages) =>
        Assert.Equal(bytes, HugePages.OvercommitIn(["HugePages_Free:        9", "HugePages_Surp:        2", "Hugepagesize:       2048 kB"], pages));

    [Fact]
    public void More_than_there_is_gives_nothing()
    {
        Assert.Null(NativeBuffer.TryInHugePages(HugePages.FreeBytes + HugePages.OvercommitBytes + 1));
        Assert.Null(NativeBuffer.TryInHugePages(0));
    }

    [Fact]
    public void A_buffer_takes_whole_pages_and_gives_them_back()
    {
        Assert.SkipUnless(HugePages.FreeBytes > 0, "no huge pages are set aside here (sysctl vm.nr_hugepages=64)");
        var (free, own) = (HugePages.FreeBytes, HugePages.OwnBytes);
        using (var buffer = NativeBuffer.TryInHugePages(1))
        {
            Assert.NotNull(buffer);
            Assert.Equal(HugePages.PageBytes, buffer.ByteLength);
            Assert.Equal(own + HugePages.PageBytes, HugePages.OwnBytes);
            var bytes = buffer.Span<byte>(0, (int)buffer.ByteLength);
            Assert.False(bytes.ContainsAnyExcept((byte)0));
            bytes.Fill(0xFF);
        }

        Assert.Equal((free, own), (HugePages.FreeBytes, HugePages.OwnBytes));
    }
}
