using System.Text.Json;
using Hadal.Checkpoints.Chat;
using Hadal.Server.Answers;
using Hadal.Server.Models;
using Hadal.Server.Requests;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Endpoints;

/// <summary>
/// <c>POST /tokenize</c>: the ids of a text (<c>prompt</c>, <c>content</c> or <c>text</c>) or of a conversation (<c>messages</c>). <c>POST /detokenize</c>:
/// the text of ids. Field names are those of vLLM and of llama.cpp.
/// </summary>
internal sealed class Tokens(ModelDirectory directory, ModelShelf shelf)
{
    private const int MostMessages = 4096;

    /// <summary>Text to ids.</summary>
    public async Task TokenizeAsync(HttpContext context)
    {
        var fields = await RequestBody.ReadAsync(context);
        using var lease = await TakeAsync(fields, context);
        var model = lease.Model;
        int[] ids;
        if (fields.Has("messages"))
        {
            ids = model.Template.RenderTokens(model.Tokenizer, ChatMessages.Read(fields, MostMessages), new ChatOptions { AddGenerationPrompt = fields.Flag("add_generation_prompt") ?? true });
        }
        else
        {
            var text = fields.Text("prompt") ?? fields.Text("content") ?? fields.Text("text") ?? throw fields.Missing("prompt");
            var addBos = (fields.Flag("add_special_tokens") ?? fields.Flag("add_special") ?? true) && model.Tokenizer.AddBos;
            ids = model.Tokenizer.Encode(text, addBos, parseSpecial: fields.Flag("parse_special") ?? false);
        }

        var pieces = fields.Flag("return_token_strs") ?? fields.Flag("with_pieces") ?? false;
        var answer = new { tokens = ids, count = ids.Length, max_model_len = model.Engine.ContextTokens, token_strs = pieces ? ids.Select(id => model.Tokenizer.Decode([id])) : null };
        await context.Response.WriteAsJsonAsync(answer, Wire.Json, context.RequestAborted);
    }

    /// <summary>Ids to text.</summary>
    public async Task DetokenizeAsync(HttpContext context)
    {
        var fields = await RequestBody.ReadAsync(context);
        using var lease = await TakeAsync(fields, context);
        var tokens = fields.Get("tokens") ?? throw fields.Missing("tokens");
        if (tokens.ValueKind != JsonValueKind.Array)
            throw RequestFields.WrongType("tokens", "an array of token ids", tokens);
        var text = tokens.GetArrayLength() == 0 ? "" : lease.Model.Tokenizer.Decode(TokenIds.Known(CompletionRequest.Ids(tokens, "tokens"), "tokens", lease.Model), fields.Flag("skip_special_tokens") ?? false);
        await context.Response.WriteAsJsonAsync(new { prompt = text, content = text }, Wire.Json, context.RequestAborted);
    }

    private Task<Lease> TakeAsync(RequestFields fields, HttpContext context) =>
        shelf.TakeAsync(fields.Text("model", 256) is { } name ? directory.FindLocal(name) : directory.DefaultLocal, context.RequestAborted);
}
