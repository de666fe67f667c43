using Hadal.Checkpoints.Chat;
using Hadal.Checkpoints.Tokenization;

namespace Hadal.Training.Data;

/// <summary>Conversations as tokens, with those that are learnt: what the assistant says, and the token that ends it.</summary>
public sealed class ChatDocuments
{
    private readonly List<(int[] Tokens, bool[] Learnt)> chats = [];

    /// <summary>How many conversations there are.</summary>
    public int Count => chats.Count;

    /// <summary>Tokens of all of them.</summary>
    public long Tokens => chats.Sum(c => (long)c.Tokens.Length);

    /// <summary>Tokens that are learnt.</summary>
    public long LearntTokens => chats.Sum(c => (long)c.Learnt.Count(l => l));

    /// <summary>The tokens of a conversation, and which of them are learnt.</summary>
    public (int[] Tokens, bool[] Learnt) this[long index] => chats[(int)index];

    /// <summary>Renders conversations with a model's template.</summary>
    /// <exception cref="InvalidDataException">There is none.</exception>
    public static ChatDocuments Of(IEnumerable<IReadOnlyList<ChatMessage>> conversations, ChatTemplate template, Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(conversations);
        ArgumentNullException.ThrowIfNull(template);
        var documents = new ChatDocuments();
        foreach (var messages in conversations)
            documents.Add(messages, template, tokenizer);
        return documents.Count > 0 ? documents : throw new InvalidDataException("conversations: expected at least one, found none");
    }

    private void Add(IReadOnlyList<ChatMessage> messages, ChatTemplate template, Tokenizer tokenizer)
    {
        var whole = template.RenderTokens(tokenizer, messages, new() { AddGenerationPrompt = false });
        var learnt = new bool[whole.Length];
        for (var i = 0; i < messages.Count; i++)
        {
            if (messages[i].Role != ChatRole.Assistant)
                continue;
            var before = template.RenderTokens(tokenizer, [.. messages.Take(i)], new() { AddGenerationPrompt = true });
            var after = template.RenderTokens(tokenizer, [.. messages.Take(i + 1)], new() { AddGenerationPrompt = false });

            // A template may write an earlier answer differently from the last one, without its thinking: such an answer is read, not learnt.
            if (after.Length <= whole.Length && whole.AsSpan(0, after.Length).SequenceEqual(after) && after.AsSpan().StartsWith(before))
                learnt.AsSpan(before.Length..after.Length).Fill(true);
        }

        chats.Add((whole, learnt));
    }
}

/// <summary>
/// Packs whole conversations into sequences, as many as fit one after the other in a random order that is new in every epoch. Conversations do not see each other and positions
/// begin anew in each (DeepSeek-V3 report section 5.1); only the assistant's tokens are targets. One longer than a sequence loses its end.
/// </summary>
public sealed class ChatBatches : IBatches
{
    private const long ForOrder = 1;

    private readonly ChatDocuments chats;
    private readonly int length;
    private readonly long seed;
    private readonly bool shuffle;
    private readonly int pad;
    private long taken;

    /// <summary>Batches from the first conversation of the first epoch on.</summary>
    /// <param name="chats">The conversations.</param>
    /// <param name="tokenizer">Gives the token that fills what is left of a sequence.</param>
    /// <param name="length">Tokens of a sequence (S).</param>
    /// <param name="seed">Decides the order.</param>
    /// <param name="shuffle">Whether there is a random order at all.</param>
    public ChatBatches(ChatDocuments chats, Tokenizer tokenizer, int length, long seed, bool shuffle = true)
    {
        ArgumentNullException.ThrowIfNull(chats);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 2);
        (this.chats, this.length, this.seed, this.shuffle) = (chats, length, seed, shuffle);
        pad = tokenizer.TokenToId("<｜▁pad▁｜>") ?? tokenizer.EosId ?? 0;
    }

    /// <inheritdoc/>
    public BatchPosition Position
    {
        get => new(new([taken], [0]), 0);
        set => taken = value?.Corpus.Documents[0] ?? throw new ArgumentNullException(nameof(value));
    }

    /// <inheritdoc/>
    public double Epochs => (double)taken / chats.Count;

    /// <summary>Sequences that an epoch fills, about: the order decides what fits together.</summary>
    public long SequencesOfAnEpoch
    {
        get
        {
            var (before, rows) = (taken, 0L);
            for (taken = 0; taken < chats.Count; rows++)
                Row();
            taken = before;
            return rows;
        }
    }

    /// <inheritdoc/>
    public PackedBatch Next(int sequences)
    {
        var batch = new BatchBuilder(sequences, length, maskDocuments: true);
        for (var row = 0; row < sequences; row++)
        {
            var column = 0;
            var document = 0;
            foreach (var index in Row())
            {
                var (tokens, learnt) = chats[index];
                var count = Math.Min(tokens.Length, length);
                for (var i = 0; i < count; i++)
                {
                    var scored = i + 1 < tokens.Length && learnt[i + 1];
                    batch.Set(row, column++, tokens[i], scored ? tokens[i + 1] : BatchBuilder.NotScored, document);
                }

                document++;
            }

            while (column < length)
                batch.Set(row, column++, pad, BatchBuilder.NotScored, document);
        }

        return batch.Build();
    }

    /// <summary>The conversations of the next sequence: the next ones, as long as they fit.</summary>
    private List<long> Row()
    {
        var row = new List<long>();
        var left = length;
        while (true)
        {
            var (epoch, place) = Math.DivRem(taken, chats.Count);
            var index = shuffle ? new RandomOrder(chats.Count, seed, ForOrder, epoch)[place] : place;
            var size = chats[index].Tokens.Length;
            if (row.Count > 0 && size > left)
                return row;
            row.Add(index);
            taken++;
            left -= size;
            if (left <= 0)
                return row;
        }
    }
}
