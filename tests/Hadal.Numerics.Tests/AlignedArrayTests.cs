using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hadal.Numerics.Tests;

public sealed class AlignedArrayTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(1000)]
    [InlineData(100_003)]
    public unsafe void ValuesBeginAtACacheLineAndStayThere(int length)
    {
        for (var i = 0; i < 20; i++)
        {
            var values = AlignedArray.Allocate(length);
            Assert.Equal(length, values.Length);
            values.Span(length).Fill(1);
            if (length == 0)
                continue;
            var address = (nint)Unsafe.AsPointer(ref MemoryMarshal.GetReference(values.Span(length)));
            Assert.Equal(0, address % 64);
            GC.Collect();
            Assert.Equal(address, (nint)Unsafe.AsPointer(ref MemoryMarshal.GetReference(values.Span(1))));
        }
    }

    [Fact]
    public void WhatIsNotThereIsRefused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => AlignedArray.Allocate(-1));
        Assert.Throws<ArgumentOutOfRangeException>(() => AlignedArray.Allocate(int.MaxValue));
        Assert.Throws<ArgumentOutOfRangeException>(() => AlignedArray.Allocate(3).Span(4));
        Assert.Throws<ArgumentOutOfRangeException>(() => AlignedArray.Allocate(3).Span(-1));
        Assert.Equal(0, default(AlignedArray).Length);
        Assert.True(default(AlignedArray).Span(0).IsEmpty);
    }
}
