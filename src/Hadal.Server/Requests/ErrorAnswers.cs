using System.Text.Json;
using System.Text.Json.Serialization;
using Hadal.Inference.Constraints;
using Hadal.Inference.Engine;
using Hadal.Inference.Model;
using Hadal.Server.Answers;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Requests;

/// <summary>OpenAI's error object.</summary>
/// <param name="Error">What is wrong.</param>
internal sealed record ErrorAnswer(ErrorBody Error);

/// <summary>What is wrong with a request.</summary>
/// <param name="Message">A sentence.</param>
/// <param name="Type">The kind of error.</param>
/// <param name="Param">The field.</param>
/// <param name="Code">The mistake's short name.</param>
internal sealed record ErrorBody(
    string Message,
    string Type,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Param,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Code);

/// <summary>The one place where exceptions become answers.</summary>
internal sealed partial class ErrorAnswers(ILogger<ErrorAnswers> logger)
{
    private const int QueueRetrySeconds = 2;

    // A client that has gone gets nothing; the number is for logs and metrics (nginx's).
    private const int ClientClosedRequest = 499;

    /// <summary>Runs the rest of the pipeline and answers for what it throws.</summary>
    public async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        try
        {
            await next(context);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            if (!context.Response.HasStarted)
                context.Response.StatusCode = ClientClosedRequest;
        }
#pragma warning disable CA1031 // Everything has an answer.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            var rejected = Explain(exception);
            if (rejected.Status == StatusCodes.Status500InternalServerError)
                LogFailure(logger, context.Request.Method, context.Request.Path, exception);
            else if (rejected.Status > StatusCodes.Status500InternalServerError)
                LogRefusal(logger, context.Request.Method, context.Request.Path, rejected.Status, exception.Message);
            await WriteAsync(context, rejected);
        }
    }

    /// <summary>What an exception says to a client. What is not the client's doing is not told in detail.</summary>
    public static RequestRejectedException Explain(Exception exception) => exception switch
    {
        RequestRejectedException rejected => rejected,
        QueueFullException full => new($"Too many requests: {full.Limit} are waiting already. Try again in a moment.", null, "rate_limit_exceeded", StatusCodes.Status429TooManyRequests, "rate_limit_error")
        {
            RetryAfter = QueueRetrySeconds,
        },
        EngineStoppedException => new("The server is shutting down.", null, "server_shutting_down", StatusCodes.Status503ServiceUnavailable, "server_error") { RetryAfter = QueueRetrySeconds },
        ContextOverflowException overflow => new(
            $"This model's maximum context length is {overflow.Available} tokens. However, your request needs {overflow.Required} tokens. Please reduce the length of the messages or the completion.",
            "messages", "context_length_exceeded"),
        ConstraintException wrong => new($"The form asked for cannot be followed: {wrong.Message}.", null, "invalid_json_schema"),
        BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge } => new("The body is larger than this server accepts.", null, "request_too_large", StatusCodes.Status413PayloadTooLarge),
        BadHttpRequestException bad => new($"The request is not valid HTTP: {bad.Message}", null, null, bad.StatusCode),
        InsufficientMemoryException => new("There is not enough memory to load this model now.", "model", "insufficient_memory", StatusCodes.Status503ServiceUnavailable, "server_error") { RetryAfter = QueueRetrySeconds },
        _ => new("The server had an error while processing your request.", null, "internal_error", StatusCodes.Status500InternalServerError, "server_error"),
    };

    /// <summary>Writes an error as the answer, or into a stream that has begun.</summary>
    public static async Task WriteAsync(HttpContext context, RequestRejectedException rejected)
    {
        var answer = new ErrorAnswer(new ErrorBody(rejected.Message, rejected.Type, rejected.Param, rejected.Code));
        if (context.Response.HasStarted)
        {
            if (context.Response.ContentType?.StartsWith("text/event-stream", StringComparison.Ordinal) == true)
                await new EventStream(context).WriteAsync(answer);
            return;
        }

        context.Response.StatusCode = rejected.Status;
        if (rejected.RetryAfter is { } seconds)
            context.Response.Headers.RetryAfter = $"{seconds}";
        context.Response.ContentType = "application/json; charset=utf-8";
        await JsonSerializer.SerializeAsync(context.Response.Body, answer, Wire.Json, context.RequestAborted);
    }

    [LoggerMessage(LogLevel.Warning, "{Method} {Path} answered with {Status}: {Reason}")]
    private static partial void LogRefusal(ILogger logger, string method, string path, int status, string reason);

    [LoggerMessage(LogLevel.Error, "{Method} {Path} failed")]
    private static partial void LogFailure(ILogger logger, string method, string path, Exception exception);
}
