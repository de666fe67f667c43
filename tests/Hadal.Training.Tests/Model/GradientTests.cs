using Hadal.Numerics.Threading;
using Hadal.Training.Model;
using Hadal.Training.Precision;

namespace Hadal.Training.Tests.Model;

/// <summary>Gradients against differences of the loss itself, along a random direction in each tensor.</summary>
public sealed class GradientTests
{
    [Theory]
    [InlineData("v3")]
    [InlineData("v3, two MTP modules, packed")]
    [InlineData("v2")]
    [InlineData("llama")]
    [InlineData("v3, tied")]
    public void EveryTensorsGradientIsTheSlopeOfTheLoss(string name)
    {
        var config = name switch
        {
            "v3" => Toys.V3(),
            "v3, tied" => Toys.V3() with { TieWordEmbeddings = true },
            "v2" => Toys.V2(),
            "llama" => Toys.Llama(),
            _ => Toys.V3(mtp: 2),
        };
        var random = new Random(3);
        var batch = name.Contains("packed", StringComparison.Ordinal)
            ? Toys.Documents([.. Enumerable.Range(0, 2 * 15).Select(_ => random.Next(config.VocabSize))], 2, 14, [[0, 4, 6, 10], [0, 13]])
            : Toys.Batch(config, 2, 12, seed: 4);
        using var threads = new KernelThreads(2);
        using var model = new TrainingModel(
            config, new TrainingOptions { Precision = TrainingPrecision.Fp32, MaxTokens = 80, SequenceAlpha = 0.3, BatchAlpha = 0.2, MtpLambda = 0.7, InitializerRange = 0.3 }, threads);
        model.Initialize(seed: 5);
        foreach (var bias in model.RouterBiases)
            bias.Values[2] = 0.2f;
        model.ForwardBackward(batch);
        Assert.Equal(config.NumNextnPredictLayers, model.Modules.Mtp.Count);

        foreach (var parameter in model.Parameters)
        {
            var start = parameter.Weight.ToArray();
            var gradient = parameter.Gradient.ToArray();
            var found = false;
            for (var attempt = 0; attempt < 20 && !found; attempt++)
            {
                // Smaller steps as attempts fail, down to where the loss's float32 noise of about 1e-6 begins to show.
                var step = 4e-3f / (1 + attempt);
                var direction = Enumerable.Range(0, start.Length).Select(_ => random.NextSingle() - 0.5f).ToArray();
                if (Difference(parameter, start, direction, step) is not { } difference)
                    continue;
                found = true;
                var slope = direction.Zip(gradient, (d, g) => (double)d * g).Sum();
                Assert.True(Math.Abs(slope - difference) <= 5e-3 + (1e-2 * Math.Abs(difference)), $"{parameter.Name}: slope {slope:g6}, difference {difference:g6}");
            }

            Assert.True(found, $"{parameter.Name}: a routing decision changes within every step tried");
        }

        // Fourth order; null where experts change between the points, for the loss jumps there.
        double? Difference(Parameter parameter, float[] start, float[] direction, float step)
        {
            int[]? routing = null;
            var same = true;
            double At(float distance)
            {
                for (var i = 0; i < start.Length; i++)
                    parameter.Weight[i] = start[i] + (distance * direction[i]);
                model.WeightsChanged();
                var total = model.Evaluate(batch).Total;
                int[] ids = [.. model.Modules.Routers.SelectMany(router => router.Router.Choices(batch.Tokens.Length))];
                routing ??= ids;
                same &= ids.SequenceEqual(routing);
                return total;
            }

            var difference = ((8 * (At(step) - At(-step))) - (At(2 * step) - At(-2 * step))) / (12 * step);
            start.CopyTo(parameter.Weight);
            model.WeightsChanged();
            return same ? difference : null;
        }
    }
}
