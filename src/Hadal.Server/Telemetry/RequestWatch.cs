using System.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Telemetry;

/// <summary>Watches the answers of requests as they are read: a span, metrics, and a line in the log, without any text of theirs.</summary>
internal sealed partial class RequestWatch
{
    private readonly ServerMetrics metrics;
    private readonly TimeProvider time;
    private readonly ILogger logger;

    public RequestWatch(ServerMetrics metrics, TimeProvider time, ILogger<RequestWatch> logger)
    {
        this.metrics = metrics;
        this.time = time;
        this.logger = logger;
    }

    /// <summary>Begins to watch a request.</summary>
    /// <param name="operation">OpenTelemetry's name of it: <c>chat</c> or <c>text_completion</c>.</param>
    /// <param name="provider">Who answers: <c>hadal</c>, or an upstream's name.</param>
    /// <param name="model">The name the client used.</param>
    public Watched Begin(string operation, string provider, string model) => new(this, operation, provider, model);

    /// <summary>Reads an answer of this server's models, watching.</summary>
    public async IAsyncEnumerable<T> Watch<T>(string operation, string model, IAsyncEnumerable<T> steps, TokenCounts counts)
    {
        using var watched = Begin(operation, "hadal", model);
        try
        {
            await foreach (var step in steps)
            {
                watched.FirstPiece();
                yield return step;
            }

            watched.Complete();
        }
        finally
        {
            watched.Add(counts.Input, counts.Cached, counts.Output);
        }
    }

    [LoggerMessage(LogLevel.Information, "{Operation} {Model} ({Provider}): {Input} tokens in, {Cached} cached, {Output} out, first after {First:0.000} s, {Seconds:0.000} s{Error}")]
    private static partial void LogRequest(ILogger logger, string operation, string model, string provider, long input, long cached, long output, double first, double seconds, string error);

    /// <summary>A request being watched; what is disposed before it is complete has failed, or its client has gone.</summary>
    internal sealed class Watched : IDisposable
    {
        private readonly RequestWatch watch;
        private readonly string operation;
        private readonly string provider;
        private readonly string model;
        private readonly long begun;
        private readonly Activity? activity;
        private double? first;
        private long input;
        private long cached;
        private long output;
        private bool isComplete;

        public Watched(RequestWatch watch, string operation, string provider, string model)
        {
            (this.watch, this.operation, this.provider, this.model) = (watch, operation, provider, model);
            begun = watch.time.GetTimestamp();
            activity = watch.metrics.Activities.StartActivity($"{operation} {model}", ActivityKind.Server);
            activity?.SetTag("gen_ai.operation.name", operation).SetTag("gen_ai.provider.name", provider).SetTag("gen_ai.request.model", model);
        }

        /// <summary>A piece of the answer has come; the first one counts.</summary>
        public void FirstPiece() => first ??= watch.time.GetElapsedTime(begun).TotalSeconds;

        /// <summary>One of the answers has ended; a prompt with several counts once for each.</summary>
        public void Add(long inputTokens, long cachedTokens, long outputTokens) => (input, cached, output) = (input + inputTokens, cached + cachedTokens, output + outputTokens);

        /// <summary>The answer is complete.</summary>
        public void Complete() => isComplete = true;

        /// <inheritdoc/>
        public void Dispose()
        {
            var seconds = watch.time.GetElapsedTime(begun).TotalSeconds;
            var error = isComplete ? null : "incomplete";
            watch.metrics.Record(new RequestRecord(operation, provider, model)
            {
                Seconds = seconds, SecondsToFirst = first, InputTokens = input, CachedTokens = cached, OutputTokens = output, Error = error,
            });
            LogRequest(watch.logger, operation, model, provider, input, cached, output, first ?? 0, seconds, isComplete ? "" : ", not complete");
            activity?.SetTag("gen_ai.usage.input_tokens", input).SetTag("gen_ai.usage.output_tokens", output);
            if (!isComplete)
                activity?.SetStatus(ActivityStatusCode.Error).SetTag("error.type", error);
            activity?.Dispose();
        }
    }
}
