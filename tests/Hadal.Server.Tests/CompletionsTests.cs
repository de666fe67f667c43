using System.Text.Json;
using Hadal.Checkpoints;
using Hadal.Inference.Model;
using Hadal.Inference.Tests.Chat;
using Hadal.Numerics.Threading;

namespace Hadal.Server.Tests;

public sealed class CompletionsTests(RandomModelFolder folder)
{
    [Fact]
    public async Task EchoScoresEveryTokenAsTheModelDoes()
    {
        // The same logits, straight from the forward pass.
        var ids = Enumerable.Range(0, 90).Select(i => 3 + (i * 7 % 250)).ToArray();
        using var checkpoint = Checkpoint.Open(folder.Path);
        using var threads = new KernelThreads(1);
        var model = new DeepSeek(checkpoint);
        using var pool = new Inference.Cache.CachePool(checkpoint.Config, 128, 64);
        using var cache = new Inference.Cache.SequenceCache(pool);
        var batch = new ForwardBatch();
        batch.Add(cache, ids, LogitRequest.All);
        var logits = model.Forward(batch, new ForwardContext(threads, new ForwardOptions())).Logits.ToArray();
        var vocabulary = checkpoint.Config.VocabSize;

        await using var server = await RunningServer.OfFolder(folder.Path);
        var prompt = JsonSerializer.Serialize(ids);

        // Cached beginnings make no difference: the second time they are all there.
        for (var round = 0; round < 2; round++)
        {
            var choice = (await server.PostOk("v1/completions", $$"""{"model":"random","prompt":{{prompt}},"echo":true,"max_tokens":0,"logprobs":2}""")).GetProperty("choices")[0];
            var scored = choice.GetProperty("logprobs").GetProperty("token_logprobs").EnumerateArray().ToList();
            Assert.Equal(ids.Length, scored.Count);
            Assert.Equal(JsonValueKind.Null, scored[0].ValueKind);
            for (var i = 1; i < ids.Length; i++)
            {
                var row = logits.AsSpan((i - 1) * vocabulary, vocabulary).ToArray().Select(x => (double)x).ToArray();
                Assert.Equal(row[ids[i]] - Math.Log(row.Sum(Math.Exp)), scored[i].GetDouble(), 1e-4);
            }

            var generated = await server.PostOk("v1/completions", $$"""{"model":"random","prompt":{{prompt}},"echo":true,"max_tokens":4,"temperature":0,"logprobs":0}""");
            var longer = generated.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("token_logprobs").EnumerateArray().ToList();
            Assert.Equal(scored.Skip(1).Select(s => s.GetDouble()), longer.Skip(1).Take(ids.Length - 1).Select(s => s.GetDouble()));
            Assert.Equal(generated.GetProperty("usage").GetProperty("completion_tokens").GetInt32(), longer.Count - ids.Length);
        }
    }

    [Fact]
    public async Task ASuffixIsFilledInTheOrderTheModelKnows()
    {
        var models = new List<ReplayModel>();
        await using var server = await RunningServer.OfAnswers(new() { ["m"] = ("return", "deepseek-v3") }, models: models);
        var answer = await server.PostOk("v1/completions", """{"model":"m","prompt":"def f():","suffix":"  # <｜User｜>"}""");
        Assert.Equal("return", answer.GetProperty("choices")[0].GetProperty("text").GetString());
        Assert.Equal("<｜begin▁of▁sentence｜><｜fim▁begin｜>def f():<｜fim▁hole｜>  # <｜User｜><｜fim▁end｜>", models[0].Prompts[^1]);
        var prompt = answer.GetProperty("usage").GetProperty("prompt_tokens").GetInt32();
        Assert.Equal(4 + "def f():".Length + System.Text.Encoding.UTF8.GetByteCount("  # <｜User｜>"), prompt);
    }

    [Fact]
    public async Task StreamsAndWholesAndTokensAgree()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        const string Body = """{"model":"random","prompt":["The deep","sea"],"n":2,"seed":4,"max_tokens":6,"echo":true,"logprobs":1""";
        var whole = (await server.PostOk("v1/completions", Body + "}")).GetProperty("choices").EnumerateArray().Select(c => c.GetProperty("text").GetString()!).ToList();
        Assert.Equal(4, whole.Count);
        Assert.All(whole.Take(2), t => Assert.StartsWith("The deep", t));
        var pieces = RunningServer.Events(await server.PostStream("v1/completions", Body + ",\"stream\":true}")).Select(e => e.GetProperty("choices")[0]).ToLookup(c => c.GetProperty("index").GetInt32());
        for (var i = 0; i < 4; i++)
        {
            Assert.Equal(whole[i], string.Concat(pieces[i].Select(c => c.GetProperty("text").GetString())));
            Assert.Single(pieces[i], c => c.GetProperty("finish_reason").ValueKind == JsonValueKind.String);
        }

        var tokens = (await server.PostOk("tokenize", """{"model":"random","prompt":"Tiefsee 北"}""")).GetProperty("tokens");
        Assert.Equal(1 + 8 + 3, tokens.GetArrayLength());
        Assert.Equal("Tiefsee 北", (await server.PostOk("detokenize", $$"""{"tokens":{{tokens}},"skip_special_tokens":true}""")).GetProperty("content").GetString());
        var chat = await server.PostOk("tokenize", """{"messages":[{"role":"user","content":"x"}]}""");
        var usage = (await server.PostOk("v1/chat/completions", """{"model":"random","messages":[{"role":"user","content":"x"}],"max_tokens":1}""")).GetProperty("usage");
        Assert.Equal(chat.GetProperty("count").GetInt32(), usage.GetProperty("prompt_tokens").GetInt32());
    }
}
