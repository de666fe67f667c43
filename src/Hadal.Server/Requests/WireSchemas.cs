using Hadal.Checkpoints.Chat;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace Hadal.Server.Requests;

/// <summary>The OpenAPI document, where the wire is freer than the records that requests become: one of several forms, words instead of numbers.</summary>
internal static class WireSchemas
{
    /// <summary>Where it is.</summary>
    public const string Path = "/openapi.json";

    /// <summary>Corrects the document.</summary>
    public static void Describe(OpenApiOptions options)
    {
        options.AddDocumentTransformer((document, _, _) =>
        {
            document.Info = new OpenApiInfo { Title = "Hadal", Version = "v1", Description = "OpenAI's API on DeepSeek models of this machine. Unknown fields are ignored; null counts as absent." };
            return Task.CompletedTask;
        });
        options.AddSchemaTransformer((schema, context, _) =>
        {
            if (Written(context.JsonTypeInfo.Type) is { } written)
                Replace(schema, written);
            return Task.CompletedTask;
        });
    }

    private static OpenApiSchema? Written(Type type) =>
        type == typeof(ChatMessage) ? Object(
            ("role", Words("system", "developer", "user", "assistant", "tool")),
            ("content", OneOf(Text(), ArrayOf(Object(("type", Words("text")), ("text", Text()))))),
            ("reasoning_content", Text()),
            ("tool_calls", ArrayOf(Object(("id", Text()), ("type", Words("function")), ("function", Object(("name", Text()), ("arguments", Text())))))),
            ("tool_call_id", Text()),
            ("prefix", Flag()))
        : type == typeof(ToolDefinition) ? Object(("type", Words("function")), ("function", Object(("name", Text()), ("description", Text()), ("parameters", Object()), ("strict", Flag()))))
        : type == typeof(ToolChoice) ? OneOf(Words("auto", "none", "required"), Object(("type", Words("function")), ("function", Object(("name", Text())))))
        : type == typeof(ResponseFormat) ? Object(("type", Words("text", "json_object", "json_schema")), ("json_schema", Object(("name", Text()), ("schema", Object()), ("strict", Flag()))))
        : type == typeof(PromptInput) ? OneOf(Text(), ArrayOf(new OpenApiSchema { Type = JsonSchemaType.Integer }))
        : null;

    private static void Replace(OpenApiSchema schema, OpenApiSchema written) =>
        (schema.Type, schema.Properties, schema.OneOf, schema.Required, schema.Enum) = (written.Type, written.Properties, written.OneOf, new HashSet<string>(), written.Enum);

    private static OpenApiSchema Text() => new() { Type = JsonSchemaType.String };

    private static OpenApiSchema Flag() => new() { Type = JsonSchemaType.Boolean };

    private static OpenApiSchema Words(params string[] words) => new() { Type = JsonSchemaType.String, Enum = [.. words.Select(w => (System.Text.Json.Nodes.JsonNode)w)] };

    private static OpenApiSchema ArrayOf(IOpenApiSchema items) => new() { Type = JsonSchemaType.Array, Items = items };

    private static OpenApiSchema OneOf(params IOpenApiSchema[] choices) => new() { OneOf = [.. choices] };

    private static OpenApiSchema Object(params (string Name, IOpenApiSchema Schema)[] properties) =>
        new() { Type = JsonSchemaType.Object, Properties = properties.ToDictionary(p => p.Name, p => p.Schema) };
}
