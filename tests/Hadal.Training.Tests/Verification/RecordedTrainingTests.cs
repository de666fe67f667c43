using Hadal.Checkpoints;
using Hadal.Numerics.Threading;
using Hadal.Tests;
using Hadal.Training.Verification;

namespace Hadal.Training.Tests.Verification;

public sealed class RecordedTrainingTests
{
    [Theory]
    [InlineData("tiny-v3")]
    [InlineData("tiny-v2-lite")]
    [InlineData("tiny-v2")]
    [InlineData("tiny-dense-gqa")]
    public void EveryRecordedValueIsReproduced(string name)
    {
        using var checkpoint = Checkpoint.Open(SharedFiles.Path("fixtures", name));
        SharedFiles.Path("fixtures", name, TrainingVerification.GoldenName);
        using var threads = new KernelThreads(2);
        var checks = new TrainingVerification(checkpoint, checkpoint.Path, threads).Run().ToList();
        Assert.True(checks.Count > 100, $"{checks.Count} checks");
        Assert.Empty(checks.Where(check => !check.Holds).Select(check => $"{check.Group}: {check.Name}: {check.Error:g3} > {check.Tolerance:g3}").Take(40));
    }
}
