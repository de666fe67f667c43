using System.Text;
using System.Text.Json;
using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Constraints;
using NJsonSchema;

namespace Hadal.Inference.Tests.Constraints;

public sealed class JsonSchemaTests
{
    // Merges, so that tokens reach over the borders of names, values and marks.
    private static readonly Tokenizer Tokenizer = Tokenizer.CreateByteLevel(
        [("\"", ":"), ("\":", "Ġ"), ("{", "\""), ("\"", ","), ("\"", "}"), ("}", "}"), ("t", "r"), ("tr", "ue"), ("u", "e"), ("a", "b"), ("1", "2"), ("]", "}"), ("Ċ", "Ġ"), ("ĊĠ", "Ġ"), ("å", "Į")], ["</think>"]);

    private static readonly TokenTable Table = new(Tokenizer);

    public static TheoryData<string, string[], string[]> Schemas => new()
    {
        { """{"type":"integer","minimum":-12,"maximum":105}""", ["-12", "-9", "0", "7", "99", "100", "105"], ["-13", "106", "007", "1.0", "1e1", ""] },
        { """{"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":12}""", ["10", "11"], ["9", "12"] },
        { """{"type":"number","minimum":0.25,"exclusiveMaximum":1.5}""", ["0.25", "0.3", "1", "1.49", "1.499999"], ["0.2", "0", "1.5", "2", "-1", "0.249"] },
        { """{"type":"number","minimum":-1.5,"maximum":-0.5}""", ["-1.5", "-1", "-0.5", "-1.25"], ["-0.4", "-1.6", "0", "1"] },
        { """{"type":"number"}""", ["0", "-1.5e+10", "1E5"], ["+1", ".5", "1.", "01", "NaN"] },
        { """{"type":"string","maxLength":2}""", ["\"\"", "\"ab\"", "\"北京\"", "\"\\n\\u00e9\""], ["\"abc\"", "\"\n\"", "\"\\ud800\"", "ab"] },
        { """{"type":"string","pattern":"^(foo|ba[rz])-\\d+$"}""", ["\"foo-1\"", "\"baz-007\""], ["\"fo-1\"", "\"bar-\"", "\"xfoo-1\"", "\"foo-1x\""] },
        { """{"type":"string","pattern":"b+"}""", ["\"abbc\"", "\"b\""], ["\"ac\"", "\"\""] },
        { """{"enum":["a",1,null,{"x":[]}]}""", ["\"a\"", "1", "null", "{\"x\":[]}"], ["\"b\"", "2"] },
        { """{"type":"string","enum":["a",1]}""", ["\"a\""], ["1"] },
        { """{"type":["string","null"]}""", ["\"x\"", "null"], ["1"] },
        { """{"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3}""", ["[1]", "[1, 2,\n  3]"], ["[]", "[1,2,3,4]", "[1,]", "[,1]"] },
        { """{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":false}""", ["[\"a\",1]", "[\"a\"]", "[]"], ["[1]", "[\"a\",1,2]"] },
        { """{"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"integer"},"minItems":2}""", ["[\"a\",1]", "[\"a\",1,2]"], ["[\"a\"]", "[\"a\",\"b\"]"] },
        { """{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"},"c":{"type":"integer"}},"required":["b"]}""", ["{\"b\":1}", "{\"a\":1,\"b\":2,\"c\":3}", "{ \"b\": 1, \"c\": 2 }"], ["{}", "{\"a\":1}", "{\"b\":1,\"a\":2}", "{\"b\":1,}", "{\"b\":1 \"c\":2}", "{\"d\":1,\"b\":1}"] },
        { """{"type":"object","properties":{"ab":{"type":"integer"}},"additionalProperties":{"type":"string"}}""", ["{}", "{\"ab\":1}", "{\"ab\":1,\"a\":\"x\"}", "{\"abc\":\"x\",\"\":\"y\"}"], ["{\"ab\":\"x\"}", "{\"a\":1}", "{\"\\u0061b\":\"x\"}"] },
        { """{"anyOf":[{"type":"integer"},{"type":"string"}]}""", ["1", "\"x\""], ["true"] },
        { """{"type":"object","properties":{"n":{"$ref":"#"}},"additionalProperties":false}""", ["{}", "{\"n\":{\"n\":{}}}"], ["{\"n\":1}"] },
        { """{"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"minimum":2,"type":"integer"}}}]}""", ["{\"a\":1}", "{\"a\":1,\"b\":2}"], ["{}", "{\"a\":1,\"b\":1}"] },
        { """{"properties":{"a":{"type":"integer","maximum":3}},"anyOf":[{"required":["a"]},{"properties":{"b":{"const":1}},"required":["b"]}]}""", ["{\"a\":1}", "{\"a\":3,\"b\":1}", "{\"b\":1}"], ["{\"a\":4}", "{}", "{\"b\":2}"] },
        { "{}", ["{\"a\":[1,{}]}", "[]", "null", "1.5"], ["", "{", "nul"] },
    };

    public static TheoryData<string, string> Refused => new()
    {
        { """{"not":{}}""", "the keyword 'not' is not supported (at #)" },
        { """{"properties":{"a":{"multipleOf":3}}}""", "the keyword 'multipleOf' is not supported (at #/properties/a)" },
        { """{"$ref":"#"}""", "nothing satisfies the schema" },
        { """{"anyOf":[{"$ref":"#"},{"type":"null"}]}""", "the schema refers to itself with nothing in between" },
        { """{"$ref":"#/nowhere"}""", "the reference '#/nowhere' leads nowhere (at #)" },
        { """{"$ref":"http://example.org/x"}""", "the reference 'http://example.org/x' leads out of the schema (at #)" },
        { """{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}""", "nothing satisfies the schema" },
        { """{"type":"integer","minimum":3,"maximum":2}""", "no whole number is between the bounds (at #)" },
        { """{"type":"string","pattern":"(?=a)"}""", "'pattern' has a group that looks around or has a name at character 2, which is not supported (at #)" },
        { """{"type":"colour"}""", "there is no type 'colour' (at #)" },
        { """{"oneOf":[{"type":"integer"},{"type":"number"}]}""", "branches 0 and 1 may both hold; 'anyOf' allows that (at #/oneOf)" },
        { """{"enum":[]}""", "expected an array that is not empty (at #/enum)" },
        { "3", "expected a schema: an object or true (at #)" },
    };

    [Theory]
    [MemberData(nameof(Schemas))]
    public void ASchemaLetsThroughWhatSatisfiesItAndNothingElse(string schema, string[] good, string[] bad)
    {
        var constraint = AnswerForms.Json(Table, JsonDocument.Parse(schema).RootElement, thinks: false);
        Assert.All(good, text => Assert.True(constraint.Accepts(Encoding.UTF8.GetBytes(text)), $"refuses {text}"));
        Assert.All(bad, text => Assert.False(constraint.Accepts(Encoding.UTF8.GetBytes(text)), $"lets {text} through"));
    }

    [Theory]
    [MemberData(nameof(Refused))]
    public void WhatCannotBeEnforcedIsRefusedByName(string schema, string message) =>
        Assert.Equal(message, Assert.Throws<ConstraintException>(() => AnswerForms.Json(Table, JsonDocument.Parse(schema).RootElement, thinks: false)).Message);

    [Fact]
    public async Task TwoHundredRandomSchemasAreSatisfied()
    {
        for (var seed = 0; seed < 200; seed++)
        {
            var schema = new RandomSchemas(seed).Next().ToJsonString();
            var validator = await JsonSchema.FromJsonAsync(schema, TestContext.Current.CancellationToken);
            foreach (var limit in (int[])[4000, 120])
            {
                var text = Generate(AnswerForms.Json(Table, JsonDocument.Parse(schema).RootElement, thinks: false), seed, limit, out var isComplete);

                // Where even the shortest text is longer than the limit, nothing can be done.
                if (!isComplete && limit == 120)
                    continue;
                Assert.True(isComplete, $"{schema}: {text}");
                var errors = validator.Validate(text);
                Assert.True(errors.Count == 0, $"seed {seed}, {schema}\n{text}\n{string.Join('\n', errors)}");
            }
        }
    }

    [Fact]
    public void ThinkingIsFreeUpToItsEnd()
    {
        var constraint = AnswerForms.Json(Table, null, thinks: true);
        var state = new ConstraintState(constraint, [Tokenizer.EosId!.Value]);
        foreach (var id in Tokenizer.Encode("I } think </think>\n\n{\"a\": [1]}"))
        {
            Assert.False(state.IsComplete);
            var logits = new float[Tokenizer.VocabSize];
            state.Apply(logits, 1000);
            Assert.Equal(0, logits[id]);
            state.Accept(id);
        }

        Assert.True(state.IsComplete);
    }

    [Fact]
    public void AStateThatWasFollowedBeforeCostsNothing()
    {
        var state = new ConstraintState(AnswerForms.Json(Table, JsonDocument.Parse("""{"type":"string"}""").RootElement, thinks: false), [Tokenizer.EosId!.Value]);
        var logits = new float[Tokenizer.VocabSize];
        state.Accept(Tokenizer.TokenToId("\"")!.Value);
        var letter = Tokenizer.TokenToId("x")!.Value;
        for (var i = 0; i < 3; i++)
            Step();
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 100; i++)
            Step();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Step()
        {
            state.Apply(logits, 100000);
            state.Accept(letter);
        }
    }

    // A model that knows nothing: every allowed token is as probable as any other.
    private static string Generate(TokenConstraint constraint, int seed, int limit, out bool isComplete)
    {
        var random = new Random(seed);
        var state = new ConstraintState(constraint, [Tokenizer.EosId!.Value]);
        var ids = new List<int>();
        isComplete = state.IsComplete;
        for (var left = limit; left > 0 && !isComplete; left--)
        {
            var logits = new float[Tokenizer.VocabSize];
            state.Apply(logits, left);
            var allowed = Enumerable.Range(0, logits.Length).Where(id => logits[id] == 0).ToList();
            var id = allowed[random.Next(allowed.Count)];
            state.Accept(id);
            isComplete = id == Tokenizer.EosId || state.IsComplete;
            if (id != Tokenizer.EosId)
                ids.Add(id);
        }

        var bytes = ids.SelectMany(id => Tokenizer.DecodeBytes(id).ToArray()).ToArray();
        isComplete = constraint.Accepts(bytes);
        return Encoding.UTF8.GetString(bytes);
    }
}
