using Hadal.Checkpoints.Chat;
using Hadal.Checkpoints.Tokenization;
using Hadal.Training.Data;
using Hadal.Training.Recipes;
using Hadal.Training.Tokenization;

namespace Hadal.Training.Runs;

/// <summary>The data of a run, opened: tokenizer, batches, validation.</summary>
internal sealed class RunData : IDisposable
{
    private readonly List<IDisposable> open = [];

    private RunData(Tokenizer tokenizer) => Tokenizer = tokenizer;

    public Tokenizer Tokenizer { get; }

    public IBatches Batches { get; private set; } = null!;

    public IReadOnlyList<PackedBatch> Validation { get; private set; } = [];

    /// <summary>Tokens of the data, once through: as they are stored, and as they go into sequences.</summary>
    public long Tokens { get; private set; }

    public long EpochTokens { get; private set; }

    /// <summary>Opens the data of a recipe; what has to be made (stories, a tokenizer) is made in the run's folder, once.</summary>
    public static RunData Open(Recipe recipe, RunFolder folder, int threads, IProgress<string>? told, CancellationToken cancellation)
    {
        var sources = recipe.Data.Sources.Select((s, i) => Made(s, folder, $"stories-{i}", told)).ToList();
        var validation = recipe.Data.Validation is { } held ? Made(held, folder, "stories-validation", told) : null;
        var data = new RunData(OpenTokenizer(recipe, sources, folder, threads, told, cancellation));
        try
        {
            if (sources.Any(s => s.Chats is not null))
                data.OpenChats(recipe, sources, validation, told);
            else
                data.OpenText(recipe, sources, validation, told);
            return data;
        }
        catch
        {
            data.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        foreach (var part in open)
            part.Dispose();
    }

    // Stories become a text file like any other.
    private static SourceRecipe Made(SourceRecipe source, RunFolder folder, string name, IProgress<string>? told)
    {
        if (source.Stories is not { } stories)
            return source;
        Directory.CreateDirectory(folder.Made);
        var path = Path.Combine(folder.Made, $"{name}.jsonl");
        if (!File.Exists(path))
            told?.Report($"making up {stories.Count} stories");
        StoryGrammar.Write(path, stories.Seed, stories.Count);
        return source with { Stories = null, Files = [path] };
    }

    private static Tokenizer OpenTokenizer(Recipe recipe, List<SourceRecipe> sources, RunFolder folder, int threads, IProgress<string>? told, CancellationToken cancellation)
    {
        // The run's own copy, once there is one: what it was is what it stays.
        if (File.Exists(Path.Combine(folder.Tokenizer, "tokenizer.json")))
            return Tokenizer.FromTokenizerJson(folder.Tokenizer);
        Tokenizer tokenizer;
        if (recipe.Tokenizer.TrainVocabSize is { } size)
        {
            told?.Report($"training a tokenizer of {size} tokens");
            var files = sources.SelectMany(s => s.Files ?? throw new InvalidDataException("tokenizer.train_vocab_size: expected sources of files or stories, found shards, which have a tokenizer already")).ToList();
            tokenizer = TokenizerTrainer.Train(TextFiles.Expand(files), new() { VocabSize = size, Threads = threads, Field = sources[0].Field }, null, cancellation).Tokenizer;
        }
        else
        {
            var path = recipe.StartFrom ?? recipe.Tokenizer.Path!;
            tokenizer = Tokenizer.OfModel(path) ?? throw new InvalidDataException($"{path}: expected a tokenizer, found none");
        }

        var beside = folder.Tokenizer + ".partial";
        if (Directory.Exists(beside))
            Directory.Delete(beside, recursive: true);
        tokenizer.Save(beside);
        Directory.Move(beside, folder.Tokenizer);
        return tokenizer;
    }

    private void OpenText(Recipe recipe, List<SourceRecipe> sources, SourceRecipe? validation, IProgress<string>? told)
    {
        var packing = Packing(recipe);
        (Batches, Tokens, EpochTokens) = Text(recipe, sources, packing, told);
        if (validation is null)
            return;
        var held = Documents(validation, told);
        var stream = new CorpusStream([new(held)], Tokenizer, new() { Seed = 0, Shuffle = false });
        Validation = Cut(new PretrainingBatches(stream, packing), recipe, held.Tokens / recipe.Data.SequenceLength);
    }

    // An epoch is one of the conversations; text beside them comes as often as their share asks for.
    private void OpenChats(Recipe recipe, List<SourceRecipe> sources, SourceRecipe? validation, IProgress<string>? told)
    {
        told?.Report("reading conversations");
        var template = ChatTemplates.Choose(Tokenizer);
        var chats = ChatDocuments.Of(ChatFiles.Read(sources.Where(s => s.Chats is not null).SelectMany(s => s.Chats!)), template, Tokenizer);
        var batches = new ChatBatches(chats, Tokenizer, recipe.Data.SequenceLength, recipe.Seed);
        (Tokens, EpochTokens, Batches) = (chats.Tokens, batches.SequencesOfAnEpoch * recipe.Data.SequenceLength, batches);
        if (recipe.Data.TextShare > 0)
        {
            var (text, tokens, _) = Text(recipe, [.. sources.Where(s => s.Chats is null)], Packing(recipe), told);
            (Batches, Tokens, EpochTokens) = (new MixedBatches(batches, text, recipe.Data.TextShare), Tokens + tokens, (long)(EpochTokens / (1 - recipe.Data.TextShare)));
        }

        if (validation is null)
            return;
        var held = new ChatBatches(ChatDocuments.Of(ChatFiles.Read(validation.Chats!), template, Tokenizer), Tokenizer, recipe.Data.SequenceLength, seed: 0, shuffle: false);
        Validation = Cut(held, recipe, held.SequencesOfAnEpoch);
    }

    private (PretrainingBatches Batches, long Tokens, long EpochTokens) Text(Recipe recipe, List<SourceRecipe> sources, PackingOptions packing, IProgress<string>? told)
    {
        var documents = sources.Select(s => new CorpusSource(Documents(s, told), s.Weight)).ToList();
        var tokens = documents.Sum(d => d.Documents.Tokens);
        var corpus = new CorpusOptions { Seed = recipe.Seed, FimRate = recipe.Data.FimRate, PunctuationSplitRate = recipe.Data.PunctuationSplitRate };

        // The tokens around each document, beginning and end, go into sequences too.
        var around = documents.Sum(d => d.Documents.Count) * (Tokenizer.AddBos ? 2 : 1);
        return (new PretrainingBatches(new CorpusStream(documents, Tokenizer, corpus), packing), tokens, tokens + around);
    }

    private static PackingOptions Packing(Recipe recipe) => new() { SequenceLength = recipe.Data.SequenceLength, MaskDocuments = recipe.Data.MaskDocuments };

    private IDocuments Documents(SourceRecipe source, IProgress<string>? told)
    {
        if (source.Shards is not { } shards)
        {
            told?.Report($"tokenising {string.Join(", ", source.Files!)}");
            return DocumentsInMemory.Read(TextFiles.Expand(source.Files!), Tokenizer, source.Field);
        }

        var opened = TokenShards.Open(shards);
        open.Add(opened);
        if (opened.Manifest.TokenizerSha256 != TokenizerHash.Of(Tokenizer))
            throw new InvalidDataException($"{shards}: expected shards made with this run's tokenizer (sha256 {TokenizerHash.Of(Tokenizer)}), found others' ({opened.Manifest.TokenizerSha256})");
        return opened;
    }

    private static List<PackedBatch> Cut(IBatches batches, Recipe recipe, long sequences)
    {
        var left = (int)Math.Clamp(sequences, 1, Math.Max(1, recipe.Data.ValidationTokens / recipe.Data.SequenceLength));
        var cut = new List<PackedBatch>();
        for (; left > 0; left -= cut[^1].Sequences)
            cut.Add(batches.Next(Math.Min(left, recipe.Run.MicroSequences)));
        return cut;
    }
}
