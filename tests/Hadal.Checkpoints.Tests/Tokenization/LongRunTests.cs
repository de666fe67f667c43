using System.Diagnostics;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Checkpoints.Tests.Tokenization;

/// <summary>How time grows with a text that is one long piece. Alone in this process: other tests on the same cores would be measured with it.</summary>
[CollectionDefinition(nameof(LongRunTests), DisableParallelization = true)]
[Collection(nameof(LongRunTests))]
public sealed class LongRunTests
{
    [Theory]
    [InlineData("a")]
    [InlineData(" ")]
    [InlineData("中")]
    public void A_long_run_of_one_letter_takes_no_quadratic_time(string letter)
    {
        var tokenizer = Tokenizers.V3;
        var run = string.Concat(Enumerable.Repeat(letter, 800_000));
        Assert.Equal(run, tokenizer.Decode(tokenizer.Encode(run)));

        // Four times the text takes about four times as long; quadratic work would take 16 times. The best of several taken in turn, on a machine that does other things.
        double whole = double.MaxValue, quarter = double.MaxValue;
        for (var i = 0; i < 6; i++)
        {
            whole = Math.Min(whole, Seconds(tokenizer, run));
            quarter = Math.Min(quarter, Seconds(tokenizer, run[..200_000]));
        }

        Assert.True(whole / quarter < 8, $"'{letter}': {whole / quarter:0.0} times as long");
    }

    private static double Seconds(Tokenizer tokenizer, string text)
    {
        var start = Stopwatch.GetTimestamp();
        tokenizer.Encode(text);
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}
