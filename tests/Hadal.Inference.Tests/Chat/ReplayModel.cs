using Hadal.Checkpoints.Config;
using Hadal.Checkpoints.Tokenization;
using Hadal.Inference.Model;
using Hadal.Inference.Tests.Engine;

namespace Hadal.Inference.Tests.Chat;

/// <summary>A model that answers every prompt with one text, whatever the temperature, and keeps the prompts it was asked.</summary>
internal sealed class ReplayModel : ILanguageModel
{
    private readonly int[] answer;
    private readonly Dictionary<object, int> said = [];
    private float[] logits = [];

    public ReplayModel(Tokenizer tokenizer, string answer)
    {
        Tokenizer = tokenizer;
        this.answer = [.. tokenizer.Encode(answer, addBos: false), tokenizer.EosId!.Value];
        Config = new ScriptedModel(0).Config with { VocabSize = tokenizer.VocabSize, EosTokenIds = [] };
    }

    public Tokenizer Tokenizer { get; }

    public List<string> Prompts { get; } = [];

    public ModelConfig Config { get; }

    public int MtpModules => 0;

    public ForwardResult Forward(ForwardBatch batch, ForwardContext context)
    {
        batch.Place(null);
        logits = new float[batch.LogitRows.Count * Config.VocabSize];
        var row = 0;
        foreach (var segment in batch.Segments)
        {
            segment.Cache.Reserve(segment.First, segment.First + segment.Count);
            var tokens = batch.Tokens.Slice(segment.Start, segment.Count);
            var isFirst = !said.TryGetValue(segment.Cache, out var last);
            if (isFirst)
                Prompts.Add(Tokenizer.Decode(tokens.ToArray()));
            if (row >= batch.LogitRows.Count || batch.LogitRows[row] != segment.Start + segment.Count - 1)
                continue;
            var next = isFirst ? 0 : last + 1;
            said[segment.Cache] = next;
            logits[(row * Config.VocabSize) + answer[Math.Min(next, answer.Length - 1)]] = 1000;
            row++;
        }

        batch.Advance();
        var state = new float[batch.TokenCount * Config.HiddenSize];
        return new ForwardResult(logits, state, state);
    }

    public ForwardResult ForwardMtp(int module, ForwardBatch batch, ReadOnlySpan<float> state, ForwardContext context) => throw new NotSupportedException();
}
