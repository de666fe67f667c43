using System.Text.Json;
using Hadal.Checkpoints.Config;
using Hadal.Inference.Model;
using Hadal.Tests;

namespace Hadal.Inference.Tests.Model;

public sealed class PositionsTests
{
    [Theory]
    [InlineData("tiny-v3")]
    [InlineData("tiny-v3-fp8")]
    [InlineData("tiny-v3-fp8-aligned")]
    [InlineData("tiny-v2")]
    [InlineData("tiny-v2-lite")]
    public void FrequenciesAndSoftmaxScaleAreThoseOfTheOfficialCode(string model)
    {
        var config = ConfigReader.Read(SharedFiles.Path("fixtures", model, "config.json"));
        using var golden = JsonDocument.Parse(File.ReadAllBytes(SharedFiles.Path("fixtures", model, "expected.json")));
        var rope = golden.RootElement.GetProperty("rope");
        var frequencies = Positions.Rotary(config).Frequencies.ToArray();
        var expected = rope.GetProperty("angle_per_position").EnumerateArray().Select(v => v.GetDouble()).ToArray();
        Assert.Equal(expected.Length, frequencies.Length);
        for (var i = 0; i < expected.Length; i++)
            Assert.Equal(expected[i], frequencies[i], expected[i] * 1e-13);
        var scale = rope.GetProperty("softmax_scale").GetDouble();
        Assert.Equal(scale, Positions.SoftmaxScale(config), scale * Math.Pow(2, -24));
    }

    [Fact]
    public void ALlamaScalesByItsHeadAndDividesPositions()
    {
        var config = RandomConfigs.Of(0) with { Architecture = Architecture.Llama, HeadDim = 16, RopeTheta = 10000, RopeLinearFactor = 4, RopeScaling = null, RopeInterleaved = false };
        var rotary = Positions.Rotary(config);
        Assert.False(rotary.Interleaved);
        Assert.Equal(0.25, rotary.Frequencies[0]);
        Assert.Equal(Math.Pow(10000, -2.0 / 16) / 4, rotary.Frequencies[1], 1e-15);
        Assert.Equal(0.25f, Positions.SoftmaxScale(config));
    }
}
