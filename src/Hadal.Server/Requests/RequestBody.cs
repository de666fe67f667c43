using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Requests;

/// <summary>Reads the JSON object of a request.</summary>
internal static class RequestBody
{
    private const int MaxDepth = 128;

    /// <summary>Reads the body; its memory is given back when the answer is complete.</summary>
    /// <exception cref="RequestRejectedException">It is no JSON object, or is not declared to be JSON.</exception>
    public static async Task<RequestFields> ReadAsync(HttpContext context)
    {
        // A page of another origin can send text/plain without asking; it cannot send application/json (Fetch, "CORS-safelisted request-header").
        if (!context.Request.HasJsonContentType())
            throw new RequestRejectedException("Expected the header 'Content-Type: application/json'.", null, "unsupported_media_type", StatusCodes.Status415UnsupportedMediaType);
        try
        {
            var document = await JsonDocument.ParseAsync(context.Request.Body, new JsonDocumentOptions { MaxDepth = MaxDepth }, context.RequestAborted);
            context.Response.RegisterForDispose(document);
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? new RequestFields(document.RootElement)
                : throw new RequestRejectedException("Expected the body to be a JSON object.", null, "invalid_json");
        }
        catch (JsonException wrong)
        {
            throw new RequestRejectedException($"The body is not valid JSON (line {wrong.LineNumber + 1}, byte {wrong.BytePositionInLine}).", null, "invalid_json");
        }
    }
}
