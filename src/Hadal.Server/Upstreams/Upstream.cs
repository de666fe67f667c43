using System.ClientModel;
using System.ClientModel.Primitives;
using OpenAI;

namespace Hadal.Server.Upstreams;

/// <summary>
/// Another server that speaks OpenAI's API, reached through OpenAI's own library: it brings keys, retries with growing waits, and connections. Safe for use
/// from several threads.
/// </summary>
internal sealed class Upstream
{
    private const string NoKey = "none";

    private readonly ClientPipeline pipeline;
    private readonly Uri endpoint;
    private readonly TimeSpan timeout;

    /// <summary>Describes one. No connection is made before the first request.</summary>
    /// <exception cref="ArgumentException">It has no address, or the variable that should hold its key is not set.</exception>
    public Upstream(UpstreamOptions options)
    {
        Options = options;
        endpoint = options.BaseUrl is { IsAbsoluteUri: true, Scheme: "http" or "https" } url ? url : throw new ArgumentException($"upstream '{options.Name}': expected BaseUrl to be an absolute http(s) address", nameof(options));
        timeout = TimeSpan.FromSeconds(options.TimeoutSeconds);
        var key = options.KeyVariable is { } variable
            ? Environment.GetEnvironmentVariable(variable) ?? throw new ArgumentException($"upstream '{options.Name}': the environment variable {variable} is not set", nameof(options))
            : NoKey;
        var client = new OpenAIClient(new ApiKeyCredential(key), new OpenAIClientOptions
        {
            Endpoint = endpoint,
            RetryPolicy = new ClientRetryPolicy(options.Retries),
            NetworkTimeout = timeout,
        });
        pipeline = client.Pipeline;
    }

    /// <summary>How it was described.</summary>
    public UpstreamOptions Options { get; }

    /// <summary>Sends a request and waits until its answer begins.</summary>
    /// <param name="path">Path below the base address.</param>
    /// <param name="body">JSON.</param>
    /// <param name="cancellation">Ends the waiting.</param>
    /// <returns>The answer, whose body is still to be read; the caller disposes it.</returns>
    /// <exception cref="UpstreamException">It could not be reached, or did not begin its answer in time.</exception>
    public async Task<PipelineResponse> SendAsync(string path, byte[] body, CancellationToken cancellation)
    {
        using var late = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        late.CancelAfter(timeout);
        using var message = pipeline.CreateMessage();
        message.BufferResponse = false;
        message.Request.Method = "POST";
        message.Request.Uri = new Uri($"{endpoint.AbsoluteUri.TrimEnd('/')}/{path}");
        message.Request.Headers.Set("Content-Type", "application/json");
        message.Request.Headers.Set("Accept", "application/json, text/event-stream");
        message.Request.Content = BinaryContent.Create(BinaryData.FromBytes(body));
        message.Apply(new RequestOptions { CancellationToken = late.Token, BufferResponse = false });
        try
        {
            await pipeline.SendAsync(message);
            return message.ExtractResponse()!;
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new UpstreamException($"The upstream '{Options.Name}' did not begin its answer within {Options.TimeoutSeconds} s.", isTimeout: true);
        }
        catch (Exception failure) when (failure is ClientResultException or AggregateException or HttpRequestException or IOException)
        {
            throw new UpstreamException($"The upstream '{Options.Name}' cannot be reached.", isTimeout: false, failure);
        }
    }
}

/// <summary>An upstream that gave no answer.</summary>
internal sealed class UpstreamException(string message, bool isTimeout, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>Whether it was only too slow.</summary>
    public bool IsTimeout { get; } = isTimeout;
}
