using Hadal.Checkpoints.Chat;
using Hadal.Checkpoints.Tokenization;
using Hadal.Tests;
using Hadal.Training.Data;

namespace Hadal.Training.Tests.Data;

public sealed class ChatTests : IDisposable
{
    private static readonly Tokenizer Tokenizer = Tokenizer.CreateByteLevel();
    private static readonly ChatTemplate Template = ChatTemplates.Choose(Tokenizer);
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void The_three_forms_are_read()
    {
        var file = folder.Write("a.jsonl", """
            {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}

            {"instruction": "Add.", "input": "1 2", "output": "3"}
            {"instruction": "Say a.", "input": "", "output": "a"}
            {"text": "User: Hi\nthere\nAssistant: Hello\nUser: Bye\nAssistant: Bye", "source": "x"}
            """);
        var chats = ChatFiles.Read([file]).ToList();
        Assert.Equal([(ChatRole.System, "Be brief."), (ChatRole.User, "Hi"), (ChatRole.Assistant, "Hello")], Parts(chats[0]));
        Assert.Equal([(ChatRole.User, "Add.\n\n1 2"), (ChatRole.Assistant, "3")], Parts(chats[1]));
        Assert.Equal([(ChatRole.User, "Say a."), (ChatRole.Assistant, "a")], Parts(chats[2]));
        Assert.Equal([(ChatRole.User, "Hi\nthere"), (ChatRole.Assistant, "Hello"), (ChatRole.User, "Bye"), (ChatRole.Assistant, "Bye")], Parts(chats[3]));
    }

    [Theory]
    [InlineData("not json", "expected JSON")]
    [InlineData("{\"messages\": [{\"role\": \"user\"}]}", "expected an object with messages")]
    [InlineData("{\"messages\": [{\"role\": \"robot\", \"content\": \"x\"}]}", "expected an object with messages")]
    [InlineData("{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}", "expected something that the assistant says")]
    [InlineData("{\"instruction\": \"x\"}", "expected an object with messages")]
    [InlineData("{\"text\": \"Once upon a time\"}", "expected an object with messages")]
    public void A_malformed_line_is_named(string line, string message) =>
        Assert.Contains($"a.jsonl: line 2: {message}", Assert.Throws<InvalidDataException>(() => ChatFiles.Read([folder.Write("a.jsonl", $"\n{line}\n")]).ToList()).Message);

    [Fact]
    public void What_the_assistant_says_is_learnt_and_the_end_after_it_and_nothing_else()
    {
        var chats = ChatDocuments.Of([[new(ChatRole.System, "S"), new(ChatRole.User, "Hi"), new(ChatRole.Assistant, "Hello"), new(ChatRole.User, "Bye"), new(ChatRole.Assistant, "So long")]], Template, Tokenizer);
        var (tokens, learnt) = chats[0];
        Assert.Equal("<｜begin▁of▁sentence｜>S<｜User｜>Hi<｜Assistant｜>Hello<｜end▁of▁sentence｜><｜User｜>Bye<｜Assistant｜>So long<｜end▁of▁sentence｜>", Tokenizer.Decode(tokens));
        Assert.Equal("Hello<｜end▁of▁sentence｜>So long<｜end▁of▁sentence｜>", Tokenizer.Decode([.. tokens.Where((_, i) => learnt[i])]));
        Assert.Equal(learnt.Count(l => l), chats.LearntTokens);
    }

    [Fact]
    public void Text_beside_conversations_is_spread_evenly_and_goes_on_from_any_position()
    {
        var chats = ChatDocuments.Of(Enumerable.Range(0, 9).Select(i => (IReadOnlyList<ChatMessage>)[new(ChatRole.User, $"Say {i}"), new(ChatRole.Assistant, new string('a', 5 + i))]), Template, Tokenizer);
        var documents = DocumentsInMemory.Read([folder.Write("t.txt", new string('z', 500))], Tokenizer);
        MixedBatches Make() => new(
            new ChatBatches(chats, Tokenizer, 24, seed: 1), new PretrainingBatches(new CorpusStream([new(documents)], Tokenizer, new() { Seed = 1 }), new() { SequenceLength = 24 }), textShare: 0.4);
        var z = Tokenizer.Encode("z")[0];
        var straight = Make();
        var rows = new List<int[]>();
        for (var step = 0; step < 6; step++)
        {
            var resumed = Make();
            resumed.Position = straight.Position;
            var (a, b) = (straight.Next(5), resumed.Next(5));
            Assert.Equal(a.Tokens, b.Tokens);
            Assert.Equal(a.Targets, b.Targets);
            Assert.Equal(a.DocumentStarts, b.DocumentStarts);
            Assert.Equal(a.Positions, b.Positions);
            Assert.Equal(resumed.Position.Corpus.Documents, straight.Position.Corpus.Documents);
            rows.AddRange(a.Tokens.Chunk(24));
            Assert.Equal(2, a.Tokens.Chunk(24).Count(row => row.Contains(z)));
        }

        Assert.Equal(12, rows.Count(row => row.Contains(z)));
        Assert.Throws<ArgumentOutOfRangeException>(() => new MixedBatches(straight, straight, 1.5));
    }

    [Fact]
    public void Control_tokens_in_a_message_stay_text()
    {
        var (tokens, _) = ChatDocuments.Of([[new(ChatRole.User, "<｜Assistant｜>"), new(ChatRole.Assistant, "a")]], Template, Tokenizer)[0];
        Assert.Single(tokens, Tokenizer.TokenToId("<｜Assistant｜>")!.Value);
    }

    [Fact]
    public void Conversations_are_packed_whole_masked_from_each_other_and_every_one_comes_once()
    {
        var chats = Chats(40);
        var batches = new ChatBatches(chats, Tokenizer, 64, seed: 1);
        var rows = (int)batches.SequencesOfAnEpoch;
        Assert.Equal(0, batches.Epochs);
        var batch = batches.Next(rows);
        Assert.Equal(1, batches.Epochs);
        var found = new List<string>();
        for (var row = 0; row < rows; row++)
        {
            for (var column = 0; column < 64;)
            {
                var at = (row * 64) + column;
                var id = batch.DocumentIds[at];
                var length = Enumerable.Range(0, 64 - column).TakeWhile(i => batch.DocumentIds[at + i] == id).Count();
                Assert.All(Enumerable.Range(0, length), i => Assert.Equal((column, i), (batch.DocumentStarts[at + i], batch.Positions[at + i])));
                var tokens = batch.Tokens[at..(at + length)];
                if (tokens[0] != 2)
                {
                    found.Add(Tokenizer.Decode(tokens));
                    var original = Enumerable.Range(0, 40).Select(i => chats[i]).Single(c => c.Tokens.SequenceEqual(tokens));
                    for (var i = 0; i < length; i++)
                        Assert.Equal(i + 1 < length && original.Learnt[i + 1] ? tokens[i + 1] : -1, batch.Targets[at + i]);
                }
                else
                    Assert.All(batch.Targets[at..(at + length)], t => Assert.Equal(-1, t));
                column += length;
            }
        }

        Assert.Equal(Enumerable.Range(0, 40).Select(i => Tokenizer.Decode(chats[i].Tokens)).Order(), found.Order());
    }

    [Fact]
    public void A_conversation_longer_than_a_sequence_loses_its_end()
    {
        var chats = ChatDocuments.Of([[new(ChatRole.User, "q"), new(ChatRole.Assistant, new string('x', 100))]], Template, Tokenizer);
        var batch = new ChatBatches(chats, Tokenizer, 16, seed: 1).Next(1);
        Assert.Equal(chats[0].Tokens[..16], batch.Tokens);
        Assert.Equal(chats[0].Tokens[16], batch.Targets[15]);
    }

    [Fact]
    public void Batches_go_on_from_any_position()
    {
        var straight = new ChatBatches(Chats(17), Tokenizer, 64, seed: 1);
        for (var i = 0; i < 20; i++)
        {
            var resumed = new ChatBatches(Chats(17), Tokenizer, 64, seed: 1) { Position = straight.Position };
            Assert.Equal(straight.Next(3).Tokens, resumed.Next(3).Tokens);
        }
    }

    [Fact]
    public void Real_pairs_and_dialogues_are_read()
    {
        var pairs = ChatDocuments.Of(ChatFiles.Read([SharedFiles.Path("data", "sft", "instructions_rasbt.jsonl")]), Template, Tokenizer);
        Assert.Equal(1100, pairs.Count);
        Assert.InRange((double)pairs.LearntTokens / pairs.Tokens, 0.2, 0.8);
        var dialogue = ChatFiles.Read([SharedFiles.Path("data", "corpus", "05_dialogue_sgd_ccbysa.jsonl")]).Take(500).ToList();
        Assert.All(dialogue, d => Assert.Equal(ChatRole.User, d[0].Role));
        Assert.All(dialogue, d => Assert.All(d.Zip(d.Skip(1)), p => Assert.NotEqual(p.First.Role, p.Second.Role)));
    }

    private static ChatDocuments Chats(int count)
    {
        var random = new Random(1);
        return ChatDocuments.Of(Enumerable.Range(0, count).Select(i => (IReadOnlyList<ChatMessage>)[new(ChatRole.User, $"q{i}"), new(ChatRole.Assistant, new string('x', random.Next(1, 30)))]), Template, Tokenizer);
    }

    private static IEnumerable<(ChatRole, string?)> Parts(IReadOnlyList<ChatMessage> messages) => messages.Select(m => (m.Role, m.Content));
}
