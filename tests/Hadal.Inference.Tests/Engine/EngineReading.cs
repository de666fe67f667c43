using Hadal.Inference.Engine;
using Hadal.Inference.Generation;

namespace Hadal.Inference.Tests.Engine;

/// <summary>Short forms for tests.</summary>
internal static class EngineReading
{
    /// <summary>Submits; the end of the test cancels.</summary>
    public static IAsyncEnumerable<GenerationEvent> Begin(this InferenceEngine engine, GenerationRequest request) => engine.Submit(request, TestContext.Current.CancellationToken);
}
