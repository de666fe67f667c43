namespace Hadal.Numerics.Tests;

public sealed class NativeBufferTests
{
    [Fact]
    public unsafe void IsAlignedAndZeroed()
    {
        foreach (var length in new long[] { 0, 1, 63, 64, 65, 1000, 100_000 })
        {
            using var buffer = new NativeBuffer(length);
            Assert.Equal(0u, (nuint)buffer.Pointer % 64);
            Assert.Equal(length, buffer.ByteLength);
            Assert.True(buffer.Span<byte>(0, (int)length).IndexOfAnyExcept((byte)0) < 0);
            buffer.Span<byte>(0, (int)length).Fill(1);
        }
    }

    [Fact]
    public void ViewsStayInside()
    {
        using var buffer = new NativeBuffer(10);
        Assert.Equal(2, buffer.Span<int>(0, 2).Length);
        Assert.Equal(0, buffer.Span<int>(2, 0).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Span<int>(0, 3).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Span<int>(2, 1).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Span<byte>(-1, 1).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Span<byte>(long.MaxValue, 1).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Span<byte>(0, -1).Length);
        buffer.Dispose();
        buffer.Dispose();
        Assert.Throws<ObjectDisposedException>(() => buffer.Span<byte>(0, 1).Length);
    }

    [Fact]
    public void MoreThanTheSystemHasIsRefused()
    {
        Assert.Throws<OutOfMemoryException>(() => new NativeBuffer(1L << 60));
        Assert.Throws<ArgumentOutOfRangeException>(() => new NativeBuffer(-1));
    }
}
