using System.Numerics;

namespace Hadal.Inference.Constraints;

/// <summary>What an answer may look like: a grammar, over the tokens of a vocabulary. Immutable; any number of requests may have one.</summary>
/// <param name="grammar">A completed grammar.</param>
/// <param name="tokens">The vocabulary.</param>
public sealed class TokenConstraint(Grammar grammar, TokenTable tokens)
{
    /// <summary>The grammar.</summary>
    internal Grammar Grammar { get; } = grammar;

    /// <summary>The vocabulary.</summary>
    internal TokenTable Tokens { get; } = tokens;

    /// <summary>Whether a text is complete under the grammar, for tests and for checking what came from elsewhere.</summary>
    public bool Accepts(ReadOnlySpan<byte> text)
    {
        var automaton = new GrammarAutomaton(Grammar);
        var place = automaton.Start;
        foreach (var b in text)
        {
            place = automaton.Next(place, b);
            if (place == GrammarAutomaton.Dead)
                return false;
        }

        return automaton.Accepts(place);
    }
}

/// <summary>
/// Holds one answer to a <see cref="TokenConstraint"/>: forbids, before each choice, every token after which no complete text could follow, or none within
/// the tokens that are left. What is chosen among the others is distributed as before. For one sequence.
/// </summary>
internal sealed class ConstraintState
{
    private const int MostMasks = 128;

    private readonly TokenTable tokens;
    private readonly GrammarAutomaton automaton;
    private readonly bool usesTokens;
    private readonly IReadOnlyCollection<int> endTokens;
    private readonly Dictionary<int, Mask> masks = [];
    private readonly int[] path;
    private Mask? squeezed;
    private int place;

    /// <param name="constraint">The form.</param>
    /// <param name="endTokens">Tokens that end the answer: allowed where it is complete.</param>
    public ConstraintState(TokenConstraint constraint, IReadOnlyCollection<int> endTokens)
    {
        tokens = constraint.Tokens;
        usesTokens = constraint.Grammar.UsesTokens;
        this.endTokens = endTokens;
        automaton = new GrammarAutomaton(constraint.Grammar);
        place = automaton.Start;
        path = new int[tokens.LongestToken + 1];
    }

    /// <summary>Whether the text is complete and nothing may follow.</summary>
    public bool IsComplete => automaton.Accepts(place) && !automaton.Continues(place);

    /// <summary>Whether tokens were forbidden only because too few were left to complete the text after them.</summary>
    public bool WasCutShort { get; private set; }

    /// <summary>Makes the logits of forbidden tokens minus infinity.</summary>
    /// <param name="logits">[V].</param>
    /// <param name="left">Tokens that may still be generated, this one included.</param>
    public void Apply(Span<float> logits, int left)
    {
        if (!masks.TryGetValue(place, out var mask))
        {
            if (masks.Count >= MostMasks)
                masks.Clear();
            masks.Add(place, mask = Fill(new Mask(logits.Length), int.MaxValue));
        }

        // Every byte has a token, so that a text of n more bytes takes at most n more tokens.
        if (mask.Farthest > left - 1 && automaton.Distance(place) <= left)
        {
            squeezed = Fill(squeezed ?? new Mask(logits.Length), left - 1);
            WasCutShort |= squeezed.Count < mask.Count;
            mask = squeezed;
        }

        mask.Apply(logits);
    }

    /// <summary>Takes the token that was chosen.</summary>
    public void Accept(int token)
    {
        if (endTokens.Contains(token))
            return;
        var next = place;
        if (tokens.Tokenizer.IsControl(token))
        {
            next = automaton.NextToken(place, token);
        }
        else
        {
            foreach (var b in tokens.Tokenizer.DecodeBytes(token))
            {
                next = automaton.Next(next, b);
                if (next == GrammarAutomaton.Dead)
                    break;
            }
        }

        if (next == GrammarAutomaton.Dead)
            throw new InvalidOperationException($"token {token} was chosen although the form of the answer forbids it");
        if (automaton.IsFull)
        {
            masks.Clear();
            next = automaton.Forget(next);
        }

        place = next;
    }

    // Follows all tokens from here; a token that begins like one that led nowhere is not followed again.
    private Mask Fill(Mask mask, int farthest)
    {
        mask.Clear();
        path[0] = place;
        var dead = int.MaxValue;
        for (var i = 0; i < tokens.Count; i++)
        {
            var depth = tokens.Shared(i);
            if (depth >= dead)
                continue;
            dead = int.MaxValue;
            var bytes = tokens.Bytes(i);
            for (; depth < bytes.Length; depth++)
            {
                var next = automaton.Next(path[depth], bytes[depth]);
                if (next == GrammarAutomaton.Dead)
                {
                    dead = depth + 1;
                    break;
                }

                path[depth + 1] = next;
            }

            if (dead == int.MaxValue && automaton.Distance(path[bytes.Length]) is var distance && distance <= farthest)
                mask.Allow(tokens.Id(i), distance);
        }

        if (usesTokens)
        {
            foreach (var id in tokens.Controls)
            {
                if (!endTokens.Contains(id) && automaton.NextToken(place, id) is not GrammarAutomaton.Dead and var next && automaton.Distance(next) <= farthest)
                    mask.Allow(id, automaton.Distance(next));
            }
        }

        if (automaton.Accepts(place))
        {
            foreach (var id in endTokens)
                mask.Allow(id, 0);
        }

        return mask;
    }

    /// <summary>One bit for each token.</summary>
    private sealed class Mask(int size)
    {
        private readonly ulong[] bits = new ulong[(size + 63) / 64];

        /// <summary>Allowed tokens.</summary>
        public int Count { get; private set; }

        /// <summary>Most bytes that any of them leaves to a complete text.</summary>
        public int Farthest { get; private set; }

        public void Clear()
        {
            Array.Clear(bits);
            (Count, Farthest) = (0, 0);
        }

        public void Allow(int id, int distance)
        {
            // An id may be beyond the model's rows.
            if (id >= size || (bits[id >> 6] & (1UL << id)) != 0)
                return;
            bits[id >> 6] |= 1UL << id;
            Count++;
            Farthest = Math.Max(Farthest, distance);
        }

        public void Apply(Span<float> logits)
        {
            for (var word = 0; word < bits.Length; word++)
            {
                var forbidden = ~bits[word];
                if (word == bits.Length - 1 && (size & 63) != 0)
                    forbidden &= (1UL << size) - 1;
                for (; forbidden != 0; forbidden &= forbidden - 1)
                    logits[(word << 6) + BitOperations.TrailingZeroCount(forbidden)] = float.NegativeInfinity;
            }
        }
    }
}
