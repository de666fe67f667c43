using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>Vectors of 64 bytes that a kernel reads beside its code.</summary>
internal sealed class ConstantPool(Assembler c)
{
    private readonly List<(Label Label, byte[] Bytes)> entries = [];
    private readonly List<(AssemblerRegisterZMM Register, byte[] Bytes)> kept = [];

    /// <summary>The address of a vector.</summary>
    /// <param name="byteAt">Its bytes by position.</param>
    public AssemblerMemoryOperand Vector(Func<int, int> byteAt)
    {
        var bytes = Bytes(byteAt);
        var index = entries.FindIndex(e => e.Bytes.AsSpan().SequenceEqual(bytes));
        if (index < 0)
        {
            index = entries.Count;
            entries.Add((c.CreateLabel(), bytes));
        }

        return __zmmword_ptr[entries[index].Label];
    }

    /// <summary>The address of a vector of sixteen-bit lanes.</summary>
    public AssemblerMemoryOperand Words(Func<int, int> wordAt) => Vector(i => wordAt(i / 2) >> (8 * (i % 2)));

    /// <summary>The address of a vector of thirty-two-bit lanes.</summary>
    public AssemblerMemoryOperand DoubleWords(Func<int, int> valueAt) => Vector(i => valueAt(i / 4) >> (8 * (i % 4)));

    /// <summary>Loads a vector into a register that nothing else will be put into.</summary>
    public void Keep(AssemblerRegisterZMM register, Func<int, int> byteAt)
    {
        c.vmovdqu32(register, Vector(byteAt));
        kept.Add((register, Bytes(byteAt)));
    }

    /// <summary>The register that a vector is kept in, or null.</summary>
    public AssemblerRegisterZMM? Register(Func<int, int> byteAt)
    {
        var bytes = Bytes(byteAt);
        var index = kept.FindIndex(k => k.Bytes.AsSpan().SequenceEqual(bytes));
        return index < 0 ? null : kept[index].Register;
    }

    /// <summary>Writes the vectors behind the code.</summary>
    public void Emit()
    {
        foreach (var (label, bytes) in entries)
        {
            var at = label;
            c.Label(ref at);
            c.db(bytes);
        }
    }

    private static byte[] Bytes(Func<int, int> byteAt)
    {
        var bytes = new byte[64];
        for (var i = 0; i < bytes.Length; i++)
            bytes[i] = (byte)byteAt(i);
        return bytes;
    }
}
