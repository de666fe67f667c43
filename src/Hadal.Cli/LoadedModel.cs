using Hadal.Checkpoints;
using Hadal.Checkpoints.Config;
using Hadal.Inference.Model;
using Hadal.Numerics.Threading;

namespace Hadal.Cli;

internal sealed class LoadedModel(Checkpoint checkpoint, DeepSeek model, KernelThreads threads) : IDisposable
{
    public Checkpoint Checkpoint { get; } = checkpoint;

    public ModelConfig Config => Checkpoint.Config;

    public DeepSeek Model { get; } = model;

    public KernelThreads Threads { get; } = threads;

    public void Dispose()
    {
        Threads.Dispose();
        Checkpoint.Dispose();
    }
}
