using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Hadal.Checkpoints;
using Hadal.Checkpoints.Files;
using Hadal.Checkpoints.Safetensors;
using Hadal.Checkpoints.Tokenization;
using Hadal.Numerics.Formats;
using Hadal.Training.Model;

namespace Hadal.Training.Runs;

/// <summary>
/// Writes the checkpoints of a run and reads them again. What training goes on changing is copied first, in memory that is kept; the copy is then written while the next steps are
/// computed: beside its place, read back, compared, and renamed. So a checkpoint that is there is whole.
/// </summary>
internal sealed class CheckpointStore : IDisposable
{
    private readonly TrainingModel model;
    private readonly Tokenizer tokenizer;
    private readonly RunFolder folder;
    private readonly int keep;
    private readonly List<(SafetensorsEntry Entry, byte[] Data)> copies = [];
    private Task writing = Task.CompletedTask;

    public CheckpointStore(TrainingModel model, Tokenizer tokenizer, RunFolder folder, int keep)
    {
        (this.model, this.tokenizer, this.folder, this.keep) = (model, tokenizer, folder, keep);
        foreach (var part in Parts())
            copies.Add((part.Entry, new byte[part.Entry.ByteLength]));
    }

    private delegate void Exchange(Span<byte> copy, bool restore);

    /// <summary>Copies the state and begins to write it. Waits for the checkpoint before, if it is not finished.</summary>
    public void Begin(RunState state)
    {
        Wait();
        var index = 0;
        foreach (var part in Parts())
            part.Exchange(copies[index++].Data, restore: false);

        writing = Task.Run(() => Write(state));
    }

    /// <summary>Waits until what was begun is on disk.</summary>
    /// <exception cref="IOException">It could not be written.</exception>
    /// <exception cref="InvalidDataException">What was read back is not what was written.</exception>
    public void Wait()
    {
        var task = writing;
        writing = Task.CompletedTask;
        task.GetAwaiter().GetResult();
    }

    /// <summary>Puts weights, moments and router biases back as they were.</summary>
    /// <exception cref="InvalidDataException">The checkpoint is damaged or of another model.</exception>
    public RunState Restore(string checkpoint)
    {
        var state = RunFolder.ReadState(checkpoint);
        var path = RunFolder.TensorsOf(checkpoint);
        using var file = SafetensorsFile.Open(path);
        var parts = Parts().ToList();
        foreach (var (entry, _) in parts)
        {
            var tensor = file.Find(entry.Name);
            if (tensor.Dtype != entry.Dtype || !tensor.Shape.SequenceEqual(entry.Shape))
                throw BadFile.Tensor(path, entry.Name, $"expected {entry.Dtype} {BadFile.Shape(entry.Shape)}, found {tensor.Dtype} {BadFile.Shape(tensor.Shape)}");
        }

        if (HashOf(file, parts.Select(p => p.Entry.Name)) is var found && found != state.TensorsSha256)
            throw BadFile.Error(path, $"expected tensors of sha256 {state.TensorsSha256}, found {found}");
        foreach (var (entry, exchange) in parts)
        {
            var bytes = file.Bytes(entry.Name).ToArray();
            exchange(bytes, restore: true);
        }

        model.WeightsChanged();
        return state;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // Whoever leaves early has an error of his own to tell; this one must only not outlive the model.
        try
        {
            Wait();
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
        {
        }
    }

    private void Write(RunState state)
    {
        var beside = folder.Beside(state.Step);
        var byName = copies.ToDictionary(c => c.Entry.Name, c => c.Data);
        ModelWriter.Write(model, name => MemoryMarshal.Cast<byte, float>(byName[name]), beside, WeightFormat.BF16);
        tokenizer.Save(beside);
        var path = RunFolder.TensorsOf(beside);
        NewFile.RequireSpace(path, copies.Sum(c => c.Entry.ByteLength));
        SafetensorsWriter.WriteAll(path, [.. copies.Select(c => (c.Entry, (ReadOnlyMemory<byte>)c.Data))]);
        using (var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256))
        {
            foreach (var (_, data) in copies)
                hash.AppendData(data);
            state = state with { TensorsSha256 = Convert.ToHexStringLower(hash.GetHashAndReset()) };
        }

        using (var file = SafetensorsFile.Open(path))
        {
            if (HashOf(file, copies.Select(c => c.Entry.Name)) is var found && found != state.TensorsSha256)
                throw BadFile.Error(path, $"written with tensors of sha256 {state.TensorsSha256}, read back with {found}");
        }

        using (var written = Checkpoint.Open(beside))
        {
            if (model.Parameters.FirstOrDefault(p => !written.Contains(p.Name)) is { } missing)
                throw BadFile.Tensor(beside, missing.Name, "expected this tensor in the model that was written, found none");
        }

        RunFolder.WriteState(beside, state);
        folder.Complete(state.Step, beside, keep);
    }

    private static string HashOf(SafetensorsFile file, IEnumerable<string> names)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var name in names)
            hash.AppendData(file.Bytes(name));
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>Everything that training changes: weights and two moments of each parameter, and the router biases.</summary>
    private IEnumerable<(SafetensorsEntry Entry, Exchange Exchange)> Parts()
    {
        foreach (var parameter in model.Parameters)
        {
            var moments = parameter.MomentFormat == WeightFormat.BF16 ? SafetensorsDtype.BF16 : SafetensorsDtype.F32;
            long[] shape = [parameter.Count];
            yield return (new($"{parameter.Name}", SafetensorsDtype.F32, shape), (copy, restore) => Swap(MemoryMarshal.AsBytes(parameter.Weight), copy, restore));
            yield return (new($"{parameter.Name}.first_moment", moments, shape), (copy, restore) => Swap(parameter.FirstMoment, copy, restore));
            yield return (new($"{parameter.Name}.second_moment", moments, shape), (copy, restore) => Swap(parameter.SecondMoment, copy, restore));
        }

        foreach (var bias in model.RouterBiases)
            yield return (new(bias.Name, SafetensorsDtype.F32, [bias.Values.Length]), (copy, restore) => Swap(MemoryMarshal.AsBytes(bias.Values.AsSpan()), copy, restore));
    }

    private static void Swap(Span<byte> live, Span<byte> copy, bool restore)
    {
        if (restore)
            copy.CopyTo(live);
        else
            live.CopyTo(copy);
    }
}
