using Hadal.Numerics.Formats;

namespace Hadal.Numerics.Tests.Formats;

/// <summary>Blocks of which a few bytes are set by hand and the values worked out on paper: nibble orders, high bits, scale packing.</summary>
public sealed class BlockLayoutTests
{
    // F16: 1 is 3c00, 2 is 4000, 0.5 is 3800, -1 is bc00.
    private static float[] Decode(WeightFormat format, params (int Offset, byte Value)[] bytes)
    {
        var block = new byte[WeightFormats.BlockBytes(format)];
        foreach (var (offset, value) in bytes)
            block[offset] = value;
        return FormatActions.Decode(format, block);
    }

    private static void Expect(float[] values, float others, params (int Index, float Value)[] exceptions)
    {
        var expected = Enumerable.Repeat(others, values.Length).ToArray();
        foreach (var (index, value) in exceptions)
            expected[index] = value;
        Assert.Equal(expected, values);
    }

    [Fact]
    public void Q8_0() =>
        Expect(Decode(WeightFormat.Q8_0, (1, 0x40), (2, 0x7F), (33, 0x80)), 0, (0, 254), (31, -256));

    [Fact]
    public void Q4_0() =>
        Expect(Decode(WeightFormat.Q4_0, (1, 0x40), (5, 0x1F)), -16, (3, 14), (19, -14));

    [Fact]
    public void Q4_1() =>
        Expect(Decode(WeightFormat.Q4_1, (1, 0x40), (3, 0xBC), (4, 0x2F), (19, 0x30)), -1, (0, 29), (16, 3), (31, 5));

    // Bit 1 of the high bits belongs to code 1, bit 30 (bit 6 of the last byte) to code 30.
    [Fact]
    public void Q5_0() =>
        Expect(Decode(WeightFormat.Q5_0, (1, 0x40), (2, 0x02), (5, 0x40), (7, 0x43), (20, 0x50)), -32, (1, 6), (17, -24), (30, 10));

    [Fact]
    public void Q5_1() =>
        Expect(Decode(WeightFormat.Q5_1, (1, 0x40), (3, 0xBC), (4, 0x02), (7, 0x40), (9, 0x43), (22, 0x50)), -1, (1, 37), (17, 7), (30, 41));

    // Table[0] = -127, Table[15] = 113, Table[8] = 1.
    [Fact]
    public void IQ4_NL() =>
        Expect(Decode(WeightFormat.IQ4_NL, (1, 0x40), (5, 0x8F)), -254, (3, 226), (19, 2));

    // Block 2: low scale bits in the low nibble of byte 5, high bits in bits 4-5 of the 16: 0x21 = 33 -> 1; every other block has scale 0 - 32.
    [Fact]
    public void IQ4_XS()
    {
        var values = Decode(WeightFormat.IQ4_XS, (1, 0x40), (2, 0x20), (5, 0x01), (8 + 32 + 7, 0x8F), (8 + 127, 0xF0));
        var expected = Enumerable.Repeat(2f * -32 * -127, 256).ToArray();
        Array.Fill(expected, 2f * -127, 64, 32);
        expected[64 + 7] = 226;
        expected[64 + 23] = 2;
        expected[255] = 2 * -32 * 113;
        Assert.Equal(expected, values);
    }

    // Pairs: scale 1 = 0x02; minimum 1 = 0x03; scale 6 = 0x2_5 (low nibble of byte 10, upper bits of byte 2); minimum 6 = 0x1_7 (byte 10, byte 6).
    private static readonly (int Offset, byte Value)[] Pairs =
        [(1, 0x3C), (3, 0x38), (4 + 1, 0x02), (4 + 5, 0x03), (4 + 10, 0x75), (4 + 2, 0x80), (4 + 6, 0x40)];

    [Fact]
    public void Q4_K()
    {
        // Block 1 is the high nibbles of code bytes 0-31, block 6 the low nibbles of code bytes 96-127.
        var values = Decode(WeightFormat.Q4_K, [.. Pairs, (16 + 4, 0x90), (16 + 96 + 31, 0x0B)]);
        var expected = new float[256];
        Array.Fill(expected, -1.5f, 32, 32);
        Array.Fill(expected, -0.5f * 0x17, 192, 32);
        expected[32 + 4] = 2 * 9 - 1.5f;
        expected[192 + 31] = 0x25 * 11 - 0.5f * 0x17;
        Assert.Equal(expected, values);
    }

    [Fact]
    public void Q5_K()
    {
        // Bit 1 of high byte 4 is bit 4 of code 4 of block 1; bit 6 of high byte 31 that of code 31 of block 6.
        var values = Decode(WeightFormat.Q5_K, [.. Pairs, (16 + 4, 0x02), (16 + 31, 0x40), (48 + 4, 0x90), (48 + 96 + 31, 0x0B)]);
        var expected = new float[256];
        Array.Fill(expected, -1.5f, 32, 32);
        Array.Fill(expected, -0.5f * 0x17, 192, 32);
        expected[32 + 4] = 2 * 25 - 1.5f;
        expected[192 + 31] = 0x25 * 27 - 0.5f * 0x17;
        Assert.Equal(expected, values);
    }

    [Fact]
    public void Q6_K()
    {
        // Scales: block 1 is 2, block 5 is -3, block 14 is 1. Block 1 (row 0, values 16-31): low nibble of byte 17 with bits 0-1 of upper byte 17.
        // Block 5 (row 2, values 80-95): high nibble of byte 17 with bits 4-5. Block 14 (second half, row 3): high nibble of byte 64+32, bits 6-7 of 32+0.
        var values = Decode(WeightFormat.Q6_K, (209, 0x3C), (192 + 1, 2), (192 + 5, 0xFD), (192 + 14, 1), (17, 0x7A), (128 + 17, 0x13), (64 + 32, 0xC0), (128 + 32, 0x80));
        var expected = new float[256];
        Array.Fill(expected, -64, 16, 16);
        Array.Fill(expected, 96, 80, 16);
        Array.Fill(expected, -32, 224, 16);
        expected[17] = 2 * (0x3A - 32);
        expected[64 + 17] = -3 * (0x17 - 32);
        expected[224] = 0x2C - 32;
        Assert.Equal(expected, values);
    }

    [Fact]
    public void Q2_K()
    {
        // d = 1, dmin = 0.5. Block 3 (row 1, values 48-63): scale 5, minimum 2; value 50 is bits 2-3 of code byte 18. Block 15: scale 1, minimum 15.
        var values = Decode(WeightFormat.Q2_K, (81, 0x3C), (83, 0x38), (3, 0x25), (15, 0xF1), (16 + 18, 0x0C), (16 + 63, 0x80));
        var expected = new float[256];
        Array.Fill(expected, -1, 48, 16);
        Array.Fill(expected, -7.5f, 240, 16);
        expected[50] = 14;
        expected[255] = 2 - 7.5f;
        Assert.Equal(expected, values);
    }

    [Fact]
    public void Q3_K()
    {
        // Every scale is -32 but: scale 9 = high nibble of byte 1, upper bits in bits 4-5 of byte 9: 0x23 = 35 -> 3; scale 6 = low nibble of byte 6,
        // upper bits in bits 2-3 of byte 10: 0x1F = 31 -> -1. Value 150 (block 9, row 4): lower bits 0-1 of code byte 32+22, upper bit 4 of byte 22.
        var values = Decode(WeightFormat.Q3_K, (109, 0x3C), (96 + 1, 0x30), (96 + 9, 0x20), (96 + 6, 0x0F), (96 + 10, 0x04), (32 + 32 + 22, 0x02), (22, 0x10));
        var expected = Enumerable.Repeat(128f, 256).ToArray();
        Array.Fill(expected, -12, 144, 16);
        Array.Fill(expected, 4, 96, 16);
        expected[150] = 3 * 2;
        Assert.Equal(expected, values);
    }
}
