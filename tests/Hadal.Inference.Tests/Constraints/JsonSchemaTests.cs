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
        { """{"type":"integer","multipleOf":7}""", ["0", "7", "-14", "49", "700", "999999999999994"], ["1", "-0", "07", "8", "7.0", "-15"] },
        { """{"type":"integer","multipleOf":5,"minimum":3,"exclusiveMaximum":100}""", ["5", "10", "95"], ["0", "100", "3", "-5"] },
        { """{"type":"integer","multipleOf":0.5}""", ["1", "-3", "10"], ["0.5", "1.0"] },
        { """{"type":"number","multipleOf":0.25}""", ["0", "0.25", "1.50", "-3.75", "12"], ["0.2", "0.30", "1.255", "-0.26"] },
        { """{"type":"number","multipleOf":0.01,"minimum":0.5,"maximum":2}""", ["0.50", "2", "1.99", "2.00", "1"], ["0.49", "2.01", "0", "3"] },
        { """{"type":"number","multipleOf":2.5,"exclusiveMinimum":-5}""", ["5", "2.5", "10.0", "-2.5", "0"], ["1.5", "2", "-5", "-5.0", "-7.5"] },
        { """{"type":"number","exclusiveMaximum":0}""", ["-1", "-0.5"], ["-0", "0", "-0.0"] },
        { """{"type":"array","items":{"enum":["a","b",1]},"uniqueItems":true}""", ["[]", "[\"a\"]", "[\"b\", \"a\"]", "[1,\"a\",\"b\"]"], ["[\"a\",\"a\"]", "[\"a\",\"b\",\"a\"]", "[2]"] },
        { """{"items":{"type":"boolean"},"uniqueItems":true,"minItems":2}""", ["[true,false]", "[false, true]"], ["[true]", "[true,true]", "[]"] },
        { """{"type":"array","items":{"type":"string"},"uniqueItems":true,"maxItems":1}""", ["[]", "[\"x\"]"], ["[\"x\",\"y\"]"] },
        { """{"type":"string","not":{"enum":["a","北"]}}""", ["\"b\"", "\"\"", "\"ab\"", "\"北京\"", "\"\\n\""], ["\"a\"", "\"北\"", "\"\\u0061\""] },
        { """{"type":["string","number","null"],"not":{"type":["string","null"]}}""", ["1", "1.5"], ["\"x\"", "null"] },
        { """{"type":"integer","minimum":0,"maximum":9,"not":{"const":4}}""", ["3", "5", "0", "9"], ["4", "10"] },
        { """{"type":"number","not":{"enum":[0,1.5]}}""", ["0.1", "1.4999", "-1", "2"], ["0", "1.5", "-0", "1.50", "0.0"] },
        { """{"type":["boolean","null"],"not":{"enum":[true,null]}}""", ["false"], ["true", "null"] },
        { """{"not":{"enum":["a",3]}}""", ["\"b\"", "4", "{}", "[3]", "null"], ["\"a\"", "3"] },
        { """{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"not":{"required":["a","b"]}}""", ["{}", "{\"a\":1}", "{\"b\":1}"], ["{\"a\":1,\"b\":1}"] },
        { """{"enum":[1,"a",null,[2]],"not":{"anyOf":[{"type":"null"},{"type":"array"}]}}""", ["1", "\"a\""], ["null", "[2]"] },
        { """{"type":"string","not":{"maxLength":2}}""", ["\"abc\""], ["\"ab\"", "\"\""] },
        { """{"type":"integer","not":{"allOf":[{"minimum":3},{"maximum":5}]}}""", ["2", "6"], ["3", "4", "5"] },
        { """{"type":"object","patternProperties":{"^n_":{"type":"integer"},"^s_":{"type":"string"}}}""", ["{}", "{\"n_a\":1}", "{\"n_\":1, \"s_x\":\"y\"}"], ["{\"x\":1}", "{\"n_a\":\"x\"}", "{\"\\u006e_a\":\"x\"}", "{\"s_\":1}"] },
        { """{"patternProperties":{"^n_":{"type":"integer"}},"additionalProperties":{"type":"boolean"}}""", ["{\"x\":true,\"n_a\":1}", "{\"n\":false}"], ["{\"x\":1}", "{\"n_a\":true}"] },
        { """{"properties":{"n_max":{"maximum":5,"type":"integer"}},"patternProperties":{"^n_":{"minimum":2,"type":"integer"}},"required":["n_max"]}""", ["{\"n_max\":3}", "{\"n_max\":5,\"n_x\":9}"], ["{\"n_max\":1}", "{\"n_max\":6}", "{}", "{\"n_max\":3,\"n_x\":1}"] },
        { """{"patternProperties":{"a":{"type":"integer"},"b":{"minimum":5,"type":"integer"}}}""", ["{\"a\":1,\"b\":5,\"ab\":7}"], ["{\"ab\":1}", "{\"b\":1}", "{\"a\":\"x\"}"] },
        { """{"patternProperties":{"^x":false,"^[a-z]$":{"type":"null"}},"additionalProperties":true}""", ["{\"a\":null,\"9\":1}"], ["{\"x\":null}", "{\"xy\":1}", "{\"a\":1}"] },
        { """{"type":"object","properties":{"kind":{"enum":["circle","square"]},"r":{"type":"integer"},"side":{"type":"integer"}},"required":["kind"],"if":{"properties":{"kind":{"const":"circle"}}},"then":{"required":["r"]},"else":{"required":["side"]}}""", ["{\"kind\":\"circle\",\"r\":1}", "{\"kind\":\"square\",\"side\":2}", "{\"kind\":\"circle\",\"r\":1,\"side\":2}"], ["{\"kind\":\"circle\"}", "{\"kind\":\"square\",\"r\":1}", "{\"kind\":\"circle\",\"side\":1}"] },
        { """{"type":"integer","if":{"minimum":10},"then":{"multipleOf":10},"else":{"maximum":5}}""", ["3", "10", "50", "-7"], ["7", "15", "9"] },
        { """{"type":"integer","oneOf":[{"minimum":0},{"maximum":10}]}""", ["-5", "11"], ["0", "5", "10"] },
        { """{"oneOf":[{"required":["a"]},{"required":["b"]}],"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}}}""", ["{\"a\":1}", "{\"b\":1}"], ["{}", "{\"a\":1,\"b\":1}"] },
        { """{"oneOf":[{"type":"string","maxLength":3},{"type":"string","minLength":3}]}""", ["\"ab\"", "\"abcd\""], ["\"abc\""] },
        { """{"oneOf":[{"enum":[1,2]},{"enum":[2,3]}]}""", ["1", "3"], ["2"] },
        { """{"type":"string","pattern":"^[a-z]+$","minLength":2,"maxLength":4}""", ["\"ab\"", "\"abcd\""], ["\"a\"", "\"abcde\"", "\"AB\""] },
        { """{"type":"string","pattern":"x","maxLength":3}""", ["\"x\"", "\"axb\"", "\"北x\""], ["\"abc\"", "\"axbc\""] },
        { """{"type":"string","pattern":"^\\S*$","minLength":3}""", ["\"abc\"", "\"a\\\"b\\\\\""], ["\"ab\"", "\"a b c\""] },
        { """{"type":"string","format":"email","maxLength":8}""", ["\"a@b.co\""], ["\"abc@def.com\"", "\"a\""] },
        { """{"type":"string","format":"email","minLength":1,"maxLength":254}""", ["\"a@b.co\""], ["\"a\""] },
        { """{"type":"string","pattern":"^[A-Z]+(-[A-Z0-9]+)*$","minLength":3,"maxLength":64}""", ["\"ABC\"", "\"A-9\""], ["\"AB\"", "\"A--9\""] },
        { """{"enum":["a","bbb",3],"maxLength":1}""", ["\"a\"", "3"], ["\"bbb\""] },
        { """{"allOf":[{"additionalProperties":{"type":"integer"}},{"properties":{"k":{"minimum":3}},"required":["k"]}]}""", ["{\"k\":3}"], ["{\"k\":\"x\"}", "{\"k\":1}"] },
        { "{}", ["{\"a\":[1,{}]}", "[]", "null", "1.5"], ["", "{", "nul"] },
    };

    public static TheoryData<string, string> Refused => new()
    {
        { """{"not":{}}""", "nothing satisfies the schema (at #/not)" },
        { """{"properties":{"a":{"contains":{}}}}""", "the keyword 'contains' is not supported (at #/properties/a)" },
        { """{"properties":{"a":{"type":"array","items":{"type":"string"},"uniqueItems":true}}}""", "'uniqueItems' is not supported but for at most 10 values that 'items' names (enum, const, boolean) (at #/properties/a)" },
        { """{"properties":{"a":{"not":{"pattern":"x"}}}}""", "the opposite of 'pattern' is not supported (at #/properties/a/not/pattern)" },
        { """{"if":{"required":["a"]},"then":{"properties":{"b":{"items":{"propertyNames":{}}}}}}""", "the keyword 'propertyNames' is not supported (at #/then/properties/b/items)" },
        { """{"anyOf":[{"type":"null"},{"$ref":"#/$defs/x"}],"$defs":{"x":{"minProperties":1},"y":{"maxProperties":1}}}""", "the keyword 'minProperties' is not supported (at #/$defs/x)" },
        { """{"type":"object","allOf":[{"$ref":"#/$defs/x"},{"required":["a"]}],"$defs":{"x":{"minProperties":1}}}""", "the keyword 'minProperties' is not supported (at #/$defs/x)" },
        { """{"if":{"items":{"type":"string"}}}""", "the opposite of 'items' is not supported (at #/if/items)" },
        { """{"type":"number","multipleOf":3.14159}""", "'multipleOf' with more than 9 decimals, or above 4096 in units of its last one, is not supported (at #)" },
        { """{"type":"integer","multipleOf":0}""", "expected 'multipleOf' to be a number above 0 (at #)" },
        { """{"type":"integer","multipleOf":100,"minimum":1,"maximum":99}""", "no number is between the bounds (at #)" },
        { """{"type":"string","pattern":"^a+$","not":{"enum":["aa"]},"minLength":2,"maxLength":2}""", "no string satisfies 'pattern' and what stands beside it (at #)" },
        { """{"const":1,"minimum":2}""", "no value that is named satisfies the rest (at #)" },
        { """{"enum":["a"],"contains":{}}""", "the keyword 'contains' is not supported (at #)" },
        { """{"patternProperties":{"(":{}}}""", "'pattern' has a '(' without ')' at character 1, which is not supported (at #/patternProperties)" },
        { """{"$ref":"#"}""", "nothing satisfies the schema" },
        { """{"anyOf":[{"$ref":"#"},{"type":"null"}]}""", "the schema refers to itself with nothing in between" },
        { """{"$ref":"#/nowhere"}""", "the reference '#/nowhere' leads nowhere (at #)" },
        { """{"$ref":"http://example.org/x"}""", "the reference 'http://example.org/x' leads out of the schema (at #)" },
        { """{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}""", "nothing satisfies the schema" },
        { """{"type":"integer","minimum":3,"maximum":2}""", "no number is between the bounds (at #)" },
        { """{"type":"string","pattern":"(?=a)"}""", "'pattern' has a group that looks around or has a name at character 2, which is not supported (at #)" },
        { """{"type":"colour"}""", "there is no type 'colour' (at #)" },
        { """{"oneOf":[{"type":"integer"},{"type":"number"}]}""", "branches 0 and 1 of 'oneOf' may both hold ('anyOf' allows that), and the opposite of 'integer' is not supported (at #/oneOf/0/type) (at #/oneOf)" },
        { """{"enum":[]}""", "expected an array that is not empty (at #/enum)" },
        { "3", "expected a schema: an object or true (at #)" },
        { "false", "nothing satisfies the schema (at #)" },
        { """{"$ref":5}""", "expected '$ref' to be a string (at #)" },
        { """{"properties":{"a":{"type":[5]}}}""", "expected 'type' to be a string or an array of strings (at #/properties/a)" },
        { """{"required":[5]}""", "expected 'required' to be an array of strings (at #)" },
        { """{"pattern":[]}""", "expected 'pattern' to be a string (at #)" },
        { """{"properties":[]}""", "expected 'properties' to be an object (at #)" },
        { """{"items":[{}]}""", "expected 'items' to be a schema: an object, true or false (at #)" },
        { """{"oneOf":{}}""", "expected 'oneOf' to be an array (at #)" },
        { """{"not":7}""", "expected 'not' to be a schema: an object, true or false (at #)" },
        { """{"minimum":"3"}""", "expected 'minimum' to be a number (at #)" },
        { """{"enum":[3],"minLength":"x"}""", "expected 'minLength' to be a whole number (at #)" },
        { """{"enum":[3],"minimum":1e300}""", "expected 'minimum' and what it is compared with to be numbers of at most 28 digits (at #/minimum)" },
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
            var validator = await JsonSchema.FromJsonAsync(RandomSchemas.ForValidator(schema), TestContext.Current.CancellationToken);
            var root = JsonDocument.Parse(schema).RootElement;
            foreach (var limit in (int[])[4000, 120])
            {
                var text = Generate(AnswerForms.Json(Table, JsonDocument.Parse(schema).RootElement, thinks: false), seed, limit, out var isComplete);

                // Where even the shortest text is longer than the limit, nothing can be done.
                if (!isComplete && limit == 120)
                    continue;
                Assert.True(isComplete, $"{schema}: {text}");
                var errors = validator.Validate(text);
                Assert.True(errors.Count == 0, $"seed {seed}, {schema}\n{text}\n{string.Join('\n', errors)}");
                Assert.True(new SchemaMatch((pointer, _) => root.GetProperty("definitions").GetProperty(pointer.Split('/')[^1])).Holds(root, JsonDocument.Parse(text).RootElement, "#"), $"seed {seed}, {schema}\n{text}");
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
