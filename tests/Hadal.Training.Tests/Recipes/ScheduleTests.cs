using Hadal.Training.Recipes;

namespace Hadal.Training.Tests.Recipes;

public sealed class ScheduleTests
{
    [Fact]
    public void A_constant_is_one() => Assert.Equal([3, 3, 3], new[] { 0, 50, 1e9 }.Select(t => Schedule.Constant(3).At(t, 100)));

    [Fact]
    public void A_line_rises_evenly_and_the_last_value_stays()
    {
        var ramp = new Schedule { Stages = [new() { Value = 10, LinearTo = 30, Tokens = 100 }, new()] };
        Assert.Equal([10, 15, 20, 30, 30, 30], new[] { 0.0, 25, 50, 100, 150, 1e9 }.Select(t => ramp.At(t, 200)));
    }

    [Fact]
    public void A_cosine_falls_slowly_fast_slowly()
    {
        var cosine = new Schedule { Stages = [new() { Value = 1, Share = 0.5 }, new() { CosineTo = 0.2 }] };
        Assert.Equal(1, cosine.At(499, 1000));
        Assert.Equal(1, cosine.At(500, 1000));
        Assert.Equal(0.2 + (0.8 * (1 + Math.Cos(Math.PI / 4)) / 2), cosine.At(625, 1000), 1e-12);
        Assert.Equal(0.6, cosine.At(750, 1000), 1e-12);
        Assert.Equal(0.2, cosine.At(1000, 1000));
        Assert.Equal(0.2, cosine.At(2000, 1000));
    }

    [Fact]
    public void Steps_hold_to_their_shares()
    {
        var steps = new Schedule { Stages = [new() { Value = 4, Share = 0.6 }, new() { Value = 2, Share = 0.3 }, new() { Value = 1 }] };
        Assert.Equal([4, 4, 2, 2, 1, 1], new[] { 0.0, 599, 600, 899, 900, 5000 }.Select(t => steps.At(t, 1000)));
    }

    [Theory]
    [InlineData("{}", "expected a value in the first stage")]
    [InlineData("{\"value\": 1}, {\"value\": 2}", "stage 0: expected tokens or share, which only the last")]
    [InlineData("{\"value\": 1, \"tokens\": 1, \"share\": 1}", "stage 0: expected tokens or share, found both")]
    [InlineData("{\"value\": 1, \"tokens\": -1}", "stage 0: expected a length above 0")]
    [InlineData("{\"value\": 1, \"cosine_to\": 1, \"linear_to\": 1}", "stage 0: expected cosine_to or linear_to, found both")]
    [InlineData("{\"value\": 99}", "stage 0: expected values from 0 to 10, found 99")]
    public void A_senseless_one_is_refused(string stages, string message) =>
        Assert.Contains($"schedule.learning_rate: {message}", Assert.Throws<InvalidDataException>(() => RecipeReader.Parse(RecipeTests.With("schedule.learning_rate", $"{{\"stages\": [{stages}]}}"), "r")).Message);
}
