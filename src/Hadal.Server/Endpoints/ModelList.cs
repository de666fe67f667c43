using Hadal.Server.Answers;
using Hadal.Server.Models;
using Hadal.Server.Requests;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Endpoints;

/// <summary><c>GET /v1/models</c> and <c>GET /v1/models/{model}</c>: how Open WebUI and others verify a connection.</summary>
internal sealed class ModelList(ModelDirectory directory, TimeProvider time)
{
    private readonly long created = time.GetUtcNow().ToUnixTimeSeconds();

    /// <summary>All models.</summary>
    public Task AllAsync(HttpContext context) =>
        context.Response.WriteAsJsonAsync(new ModelsAnswer([.. directory.Names.Select(Of)]), Wire.Json, context.RequestAborted);

    /// <summary>One model.</summary>
    /// <exception cref="RequestRejectedException">There is none of that name.</exception>
    public Task OneAsync(HttpContext context)
    {
        var model = (string)context.Request.RouteValues["model"]!;
        var answer = Of(model);
        return context.Response.WriteAsJsonAsync(answer, Wire.Json, context.RequestAborted);
    }

    private ModelAnswer Of(string name) => new(name, created, directory.OwnerOf(name));
}

/// <summary>The list of models.</summary>
internal sealed record ModelsAnswer(IReadOnlyList<ModelAnswer> Data)
{
    /// <summary>Always <c>list</c>.</summary>
    public string Object => "list";
}

/// <summary>A model.</summary>
internal sealed record ModelAnswer(string Id, long Created, string OwnedBy)
{
    /// <summary>Always <c>model</c>.</summary>
    public string Object => "model";
}
