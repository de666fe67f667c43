using System.CommandLine;
using System.Numerics.Tensors;
using Hadal.Checkpoints.Safetensors;
using Hadal.Cli.Terminals;
using Hadal.Inference.Cache;
using Hadal.Inference.Model;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal logits</c>: every logit of a run of tokens, for comparison with other implementations.</summary>
/// <remarks>T tokens, V vocabulary, D hidden.</remarks>
internal static class LogitsCommand
{
    private const int Chunk = 64;

    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "logits",
            "Write the logits of every position to a safetensors file: F32 'logits' [T, V], and 'mtp_logits' [T, V] on request.",
            "hadal logits --model path/to/model --tokens 1,2,3 --output out.safetensors",
            "hadal logits --model path/to/model --tokens-file ids.json --output out.safetensors --mtp --activations fp8 --attention naive");
        var model = new ModelOptions(command, ModelPlace.Option).Arithmetic(command, ActivationPrecision.F32, staysLong: false).CacheType(command).MtpState(command).Running(command);
        var tokens = new TokenInput(command);
        var output = TypedOptions.Required("--output", "FILE", "The safetensors file to write; an older one is replaced.");
        var mtp = TypedOptions.Flag("--mtp", "Also write 'mtp_logits': row i scores the token after the next, given the next one; for the last row, the most probable one.");
        command.Add(output);
        command.Add(mtp);
        command.ExactlyOneOf(tokens.Options);
        command.SetAction((result, cancellation) =>
        {
            var given = tokens.Read(result)!;
            var folder = Path.GetDirectoryName(Path.GetFullPath(result.GetRequiredValue(output)))!;
            if (!Directory.Exists(folder))
                throw new CommandException($"--output: expected a folder at {folder}, found none", "make the folder first");
            using var loaded = model.Load(result, terminal, _ => given.Length, cancellation);
            var ids = TokenInput.Checked(given, loaded.Config.VocabSize);
            if (result.GetValue(mtp) && loaded.Model.MtpModules == 0)
                throw new CommandException("the model has no MTP module, or --drop-mtp left it out", "'hadal inspect' shows whether there is one");
            Write(loaded, ids, result.GetRequiredValue(output), result.GetValue(mtp), model.Forward(result), terminal, cancellation);
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    private static void Write(LoadedModel loaded, int[] ids, string path, bool withMtp, ForwardOptions options, Terminal terminal, CancellationToken cancellation)
    {
        var config = loaded.Config;
        if (ids.Length > config.MaxPositionEmbeddings)
            throw new ContextOverflowException(ids.Length, config.MaxPositionEmbeddings);
        var entries = new List<SafetensorsEntry> { new("logits", SafetensorsDtype.F32, [ids.Length, config.VocabSize]) };
        if (withMtp)
            entries.Add(new SafetensorsEntry("mtp_logits", SafetensorsDtype.F32, [ids.Length, config.VocabSize]));

        // Written beside its place: what an earlier run left there is replaced only by a complete file.
        var beside = path + ".new";
        File.Delete(beside);
        using (var writer = new SafetensorsWriter(beside, entries))
        using (var progress = new ProgressLine(terminal, "computing"))
        {
            Compute(loaded, ids, withMtp, options, writer, progress, cancellation);
            writer.Complete();
        }

        File.Move(beside, path, overwrite: true);
        terminal.Notice($"{path}: {string.Join(", ", entries.Select(e => $"{e.Name} [{string.Join(", ", e.Shape)}]"))}");
    }

    // The file holds all logits before all MTP logits, so the states between the two are kept: [T, D] instead of [T, V].
    private static void Compute(LoadedModel loaded, int[] ids, bool withMtp, ForwardOptions options, SafetensorsWriter writer, ProgressLine progress, CancellationToken cancellation)
    {
        var model = loaded.Model;
        var width = model.Config.HiddenSize;
        using var pool = new CachePool(model.Config, ids.Length, format: options.Cache);
        using var cache = new SequenceCache(pool);
        var context = new ForwardContext(loaded.Threads, options);
        var states = withMtp ? new float[checked(ids.Length * width)] : [];
        var next = 0;
        var passes = withMtp ? 2 : 1;
        ForEachChunk(ids, cache, (batch, start) =>
        {
            cancellation.ThrowIfCancellationRequested();
            var result = model.Forward(batch, context);
            writer.Write<float>(result.Logits);
            if (withMtp)
                (options.MtpInput == MtpInput.AfterFinalNorm ? result.Normed : result.Hidden).CopyTo(states.AsSpan(start * width));
            next = TensorPrimitives.IndexOfMax<float>(result.Logits[^model.Config.VocabSize..]);
            progress.Report((start + batch.TokenCount) / (double)(ids.Length * passes));
        });
        if (!withMtp)
            return;

        // Row i of the module reads the token after position i.
        int[] following = [.. ids.AsSpan(1), next];
        ForEachChunk(following, cache, (batch, start) =>
        {
            cancellation.ThrowIfCancellationRequested();
            var result = model.ForwardMtp(0, batch, states.AsSpan(start * width, batch.TokenCount * width), context);
            writer.Write<float>(result.Logits);
            progress.Report(0.5 + ((start + batch.TokenCount) / (2.0 * ids.Length)));
        });
    }

    private static void ForEachChunk(int[] tokens, SequenceCache cache, Action<ForwardBatch, int> run)
    {
        var batch = new ForwardBatch();
        for (var start = 0; start < tokens.Length; start += Chunk)
        {
            batch.Clear();
            batch.Add(cache, tokens.AsSpan(start, Math.Min(Chunk, tokens.Length - start)), LogitRequest.All);
            run(batch, start);
        }
    }
}
