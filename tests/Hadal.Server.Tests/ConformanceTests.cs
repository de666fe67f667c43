using Hadal.Server.Conformance;

namespace Hadal.Server.Tests;

public sealed class ConformanceTests(RandomModelFolder folder)
{
    [Theory]
    [InlineData("deepseek-v3")]
    [InlineData("deepseek-v3.1")]
    [InlineData("deepseek-r1")]
    public async Task EveryCaseHolds(string template)
    {
        await using var server = await RunningServer.OfFolder(folder.Path, changeModel: m => m with { ChatTemplate = template });
        var results = await ConformanceSuite.RunAsync(server.Api, null, null, cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(ConformanceSuite.Count, results.Count);
        Assert.Empty(results.Where(r => !r.Passed).Select(r => $"{r.Group}: {r.Name}: {r.Detail}"));
        await server.Engine.CheckIntegrityAsync();
    }

    [Fact]
    public async Task AServerThatAnswersNonsenseFails()
    {
        await using var nonsense = await Upstreams.FakeUpstream.Start(context => context.Request.Path == "/v1/models" ? Results("""{"object":"list","data":[{"id":"x"}]}""")(context) : Results("""{"answer":42}""")(context));
        var results = await ConformanceSuite.RunAsync(nonsense.Api, null, null, cancellation: TestContext.Current.CancellationToken);
        Assert.True(results.Count(r => r.Passed) < results.Count / 5, string.Join('\n', results.Where(r => r.Passed).Select(r => r.Name)));

        static Func<Microsoft.AspNetCore.Http.HttpContext, Task> Results(string json) => context => Microsoft.AspNetCore.Http.Results.Text(json, "application/json").ExecuteAsync(context);
    }
}
