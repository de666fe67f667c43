namespace Hadal.Server.Requests;

/// <summary>
/// A request that cannot be served as it stands. The only exception that endpoints throw for what a client did; <see cref="ErrorAnswers"/> turns it into
/// OpenAI's error object.
/// </summary>
/// <param name="message">One sentence for the person who wrote the client.</param>
/// <param name="param">The field it is about, as OpenAI writes it: <c>messages[0].content</c>; null for the request as a whole.</param>
/// <param name="code">OpenAI's short name of the mistake, such as <c>invalid_type</c>.</param>
/// <param name="status">HTTP status.</param>
/// <param name="type">OpenAI's kind of error.</param>
public sealed class RequestRejectedException(string message, string? param = null, string? code = null, int status = 400, string type = "invalid_request_error")
    : Exception(message)
{
    /// <summary>The field it is about.</summary>
    public string? Param { get; } = param;

    /// <summary>OpenAI's short name of the mistake.</summary>
    public string? Code { get; } = code;

    /// <summary>HTTP status.</summary>
    public int Status { get; } = status;

    /// <summary>OpenAI's kind of error.</summary>
    public string Type { get; } = type;

    /// <summary>Seconds after which trying again makes sense; null where it does not.</summary>
    public int? RetryAfter { get; init; }
}
