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

        // Sixteen times the text takes about sixteen times as long, some more where the longer one no longer fits a cache; quadratic work would take 256 times.
        // The best of several taken in turn, on a machine that does other things.
        double whole = double.MaxValue, part = double.MaxValue;
        for (var i = 0; i < 6; i++)
        {
            whole = Math.Min(whole, Seconds(tokenizer, run));
            part = Math.Min(part, Seconds(tokenizer, run[..(run.Length / 16)]));
        }

        Assert.True(whole / part < 80, $"'{letter}': {whole / part:0.0} times as long");
    }

    private static double Seconds(Tokenizer tokenizer, string text)
    {
        var start = Stopwatch.GetTimestamp();
        tokenizer.Encode(text);
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}
