using System.Runtime.InteropServices;
using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Tests.Formats;

public sealed class DecodeTests
{
    public static TheoryData<WeightFormat> Formats => [.. Enum.GetValues<WeightFormat>()];

    [Theory]
    [MemberData(nameof(Formats))]
    public void VectorsGiveTheBitsOfTheReferenceOnAnyBytes(WeightFormat format)
    {
        var random = new Random(1);
        for (var count = 0; count < 70; count++)
        {
            var blocks = new byte[count * WeightFormats.BlockBytes(format)];
            random.NextBytes(blocks);
            var expected = FormatActions.DecodeReference(format, blocks);
            var found = FormatActions.Decode(format, blocks);
            for (var i = 0; i < expected.Length; i++)
            {
                if (!Same(expected[i], found[i]))
                    Assert.Fail($"{count} blocks, value {i}: expected {expected[i]:R}, found {found[i]:R}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void LengthsThatDoNotBelongTogetherAreRefused(WeightFormat format)
    {
        var blocks = new byte[3 * WeightFormats.BlockBytes(format)];
        Assert.Throws<ArgumentException>(() => WeightFormats.Decode(format, blocks, new float[3 * WeightFormats.BlockLength(format) - 1]));
        Assert.Throws<ArgumentException>(() => WeightFormats.Decode(format, blocks, new float[3 * WeightFormats.BlockLength(format) + 1]));
    }

    [Fact]
    public void EveryFormatIsImplementedOnceUnderItsName()
    {
        foreach (var format in Enum.GetValues<WeightFormat>())
        {
            var action = new NameAction();
            WeightFormats.Dispatch(format, ref action);
            Assert.Equal((format, format.ToString()), (action.Id, action.Name));
        }

        Assert.Throws<ArgumentOutOfRangeException>(() => WeightFormats.BlockBytes((WeightFormat)99));
    }

    [Fact]
    public void EveryBF16AndF16CodeDecodesExactly()
    {
        var codes = Enumerable.Range(0, 65536).Select(c => (ushort)c).ToArray();
        var bytes = MemoryMarshal.AsBytes<ushort>(codes).ToArray();
        var fromBF16 = FormatActions.Decode(WeightFormat.BF16, bytes);
        var fromF16 = FormatActions.Decode(WeightFormat.F16, bytes);
        for (var c = 0; c < 65536; c++)
        {
            Assert.Equal((uint)c << 16, BitConverter.SingleToUInt32Bits(fromBF16[c]));
            var (exponent, mantissa) = ((c >> 10) & 31, c & 1023);
            var magnitude = exponent switch
            {
                0 => mantissa * Math.Pow(2, -24),
                31 => mantissa == 0 ? double.PositiveInfinity : double.NaN,
                _ => (1024 + mantissa) * Math.Pow(2, exponent - 25),
            };
            Assert.True(Same((float)((c & 0x8000) == 0 ? magnitude : -magnitude), fromF16[c]), $"{c:x4} gave {fromF16[c]:R}");
        }
    }

    private static bool Same(float a, float b) => BitConverter.SingleToInt32Bits(a) == BitConverter.SingleToInt32Bits(b) || (float.IsNaN(a) && float.IsNaN(b));

    private struct NameAction : IFormatAction
    {
        public WeightFormat Id;
        public string? Name;

        public void Invoke<TFormat>()
            where TFormat : struct, IWeightFormat<TFormat> => (Id, Name) = (TFormat.Id, typeof(TFormat).Name);
    }
}
