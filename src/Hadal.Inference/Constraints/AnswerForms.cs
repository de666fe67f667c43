using System.Text;
using System.Text.Json;
using Hadal.Checkpoints.Chat;

namespace Hadal.Inference.Constraints;

/// <summary>A function that an answer may call.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Parameters">The schema of its arguments; null for any object.</param>
/// <param name="Strict">Whether a schema that cannot be enforced is an error; if not, any object will do.</param>
public sealed record CallableTool(string Name, JsonElement? Parameters, bool Strict);

/// <summary>An answer in JSON.</summary>
/// <param name="Schema">What it satisfies; null for any object.</param>
public sealed record JsonForm(JsonElement? Schema);

/// <summary>The forms that answers in a conversation can be held to.</summary>
public static class AnswerForms
{
    private const string EndThink = "</think>";
    private const string CallsBegin = "<｜tool▁calls▁begin｜>";
    private const string CallsEnd = "<｜tool▁calls▁end｜>";
    private const string CallBegin = "<｜tool▁call▁begin｜>";
    private const string CallEnd = "<｜tool▁call▁end｜>";
    private const string Separator = "<｜tool▁sep｜>";
    private const int MostCalls = 32;

    /// <summary>JSON: any object, or what satisfies a schema.</summary>
    /// <param name="tokens">The vocabulary.</param>
    /// <param name="schema">The schema; null for any object.</param>
    /// <param name="thinks">Whether the prompt has opened the thinking: what comes up to its end is free.</param>
    /// <exception cref="ConstraintException">The schema cannot be enforced.</exception>
    public static TokenConstraint Json(TokenTable tokens, JsonElement? schema, bool thinks)
    {
        var grammar = new Grammar();
        var json = new JsonPieces(grammar);
        var value = schema is { } given ? JsonSchemaGrammar.Of(grammar, json, given) : json.AnyObject;
        return new TokenConstraint(grammar.Complete(Grammar.Sequence(Thinking(grammar, tokens, thinks), value)), tokens);
    }

    /// <summary>Calls of functions, with arguments that satisfy their schemas.</summary>
    /// <param name="tokens">The vocabulary.</param>
    /// <param name="tools">The functions.</param>
    /// <param name="form">How the model writes calls.</param>
    /// <param name="required">Whether there has to be a call; if not, text, and perhaps calls at its end.</param>
    /// <param name="several">Whether there may be several.</param>
    /// <param name="thinks">Whether the prompt has opened the thinking.</param>
    /// <param name="otherwise">The form of an answer without calls; null for free text.</param>
    /// <returns>Null where nothing needs to be held: a vocabulary without the marks of calls, and none required.</returns>
    /// <exception cref="ConstraintException">The schema of a strict function cannot be enforced.</exception>
    public static TokenConstraint? ToolCalls(TokenTable tokens, IReadOnlyList<CallableTool> tools, ToolCallForm form, bool required, bool several, bool thinks, JsonForm? otherwise = null)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        ArgumentNullException.ThrowIfNull(tools);
        if (form == ToolCallForm.None || tools.Count == 0 || (!required && otherwise is null && !IsControl(tokens, CallsBegin)))
            return null;
        var grammar = new Grammar();
        var json = new JsonPieces(grammar);
        var asMarkdown = form == ToolCallForm.Markdown;
        var call = grammar.Named(grammar.AnyOf([.. tools.Select(tool => Call(grammar, json, tokens, tool, asMarkdown))]));
        var next = asMarkdown ? Grammar.Sequence(grammar.Text("\n"), call) : call;
        var calls = Grammar.Sequence(Mark(grammar, tokens, CallsBegin), call, grammar.Repeat(next, 0, several ? MostCalls - 1 : 0), Mark(grammar, tokens, CallsEnd));
        if (required)
            return new TokenConstraint(grammar.Complete(Grammar.Sequence(Thinking(grammar, tokens, thinks), calls)), tokens);

        if (otherwise is not null)
        {
            var value = otherwise.Schema is { } schema ? JsonSchemaGrammar.Of(grammar, json, schema) : json.AnyObject;
            return new TokenConstraint(grammar.Complete(Grammar.Sequence(Thinking(grammar, tokens, thinks), grammar.AnyOf(value, calls))), tokens);
        }

        // Thinking, where there is any, is part of the free text.
        return new TokenConstraint(grammar.Complete(Grammar.Sequence(Free(grammar), grammar.Optional(calls))), tokens);
    }

    private static Piece Call(Grammar grammar, JsonPieces json, TokenTable tokens, CallableTool tool, bool asMarkdown)
    {
        var arguments = Arguments(grammar, json, tool);
        var begin = Mark(grammar, tokens, CallBegin);
        var (separator, end) = (Mark(grammar, tokens, Separator), Mark(grammar, tokens, CallEnd));
        return asMarkdown
            ? Grammar.Sequence(begin, grammar.Text("function"), separator, grammar.Text($"{tool.Name}\n```json\n"), arguments, grammar.Text("\n```"), end)
            : Grammar.Sequence(begin, grammar.Text(tool.Name), separator, arguments, end);
    }

    private static Piece Arguments(Grammar grammar, JsonPieces json, CallableTool tool)
    {
        if (tool.Parameters is not { ValueKind: JsonValueKind.Object } schema || !schema.EnumerateObject().Any())
            return json.AnyObject;
        try
        {
            return grammar.Named(JsonSchemaGrammar.Of(grammar, json, schema));
        }
        catch (ConstraintException) when (!tool.Strict)
        {
            return json.AnyObject;
        }
        catch (ConstraintException wrong)
        {
            throw new ConstraintException($"function '{tool.Name}': {wrong.Message}");
        }
    }

    private static Piece Thinking(Grammar grammar, TokenTable tokens, bool thinks)
    {
        if (!thinks)
            return Grammar.Nothing;
        var toEnd = IsControl(tokens, EndThink) ? Grammar.Sequence(Free(grammar), Mark(grammar, tokens, EndThink)) : Until(grammar, EndThink);
        return Grammar.Sequence(toEnd, grammar.Repeat(grammar.AnyOf(grammar.Text("\n"), grammar.Text(" ")), 0, 2));
    }

    private static Piece Free(Grammar grammar) => grammar.Repeat(grammar.AnyOf(grammar.Byte(0, 255), grammar.AnyToken()), 0, null);

    private static bool IsControl(TokenTable tokens, string mark) => tokens.Tokenizer.TokenToId(mark) is { } id && tokens.Tokenizer.IsControl(id);

    private static Piece Mark(Grammar grammar, TokenTable tokens, string mark) =>
        IsControl(tokens, mark) ? grammar.Token(tokens.Tokenizer.TokenToId(mark)!.Value) : grammar.Text(mark);

    // Any bytes up to the first place where a mark is complete (Knuth, Morris, Pratt).
    private static Piece Until(Grammar grammar, string mark) => from =>
    {
        var bytes = Encoding.UTF8.GetBytes(mark);
        var states = new int[bytes.Length + 1];
        states[0] = grammar.State();
        grammar.Join(from, states[0]);
        for (var i = 1; i < states.Length; i++)
            states[i] = grammar.State();
        for (var i = 0; i < bytes.Length; i++)
        {
            for (var b = 0; b < 256; b++)
                grammar.Join(grammar.Byte((byte)b, (byte)b)(states[i]), states[Matched(bytes, i, (byte)b)]);
        }

        return states[^1];
    };

    // How much of the mark is there after so much of it and one more byte.
    private static int Matched(byte[] mark, int matched, byte next)
    {
        byte[] seen = [.. mark[..matched], next];
        for (var n = Math.Min(seen.Length, mark.Length); n > 0; n--)
        {
            if (seen.AsSpan(seen.Length - n).SequenceEqual(mark.AsSpan(0, n)))
                return n;
        }

        return 0;
    }
}
