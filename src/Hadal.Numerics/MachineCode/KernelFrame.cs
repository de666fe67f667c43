using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// The frame of an assembled kernel <c>void kernel(void* a, void* b, void* c, void* d)</c>: arguments in rdi, rsi, rdx and rcx whatever the calling
/// convention, every general register but rsp free to use, vector registers saved where the convention wants it.
/// </summary>
internal static class KernelFrame
{
    private static readonly AssemblerRegister64[] Saved = [rbx, rbp, r12, r13, r14, r15];
    private static readonly AssemblerRegisterXMM[] SavedOnWindows = [xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];

    /// <summary>All vector registers by number.</summary>
    public static AssemblerRegisterZMM Zmm(int number) => ZmmRegisters[number];

    /// <inheritdoc cref="Zmm"/>
    public static AssemblerRegisterYMM Ymm(int number) => YmmRegisters[number];

    /// <inheritdoc cref="Zmm"/>
    public static AssemblerRegisterXMM Xmm(int number) => XmmRegisters[number];

    /// <summary>Saves registers and moves the arguments.</summary>
    public static void Enter(Assembler c)
    {
        foreach (var register in Saved)
            c.push(register);
        if (!OperatingSystem.IsWindows())
            return;
        c.push(rdi);
        c.push(rsi);
        c.sub(rsp, (SavedOnWindows.Length * 16) + 8);
        for (var i = 0; i < SavedOnWindows.Length; i++)
            c.vmovdqu(__xmmword_ptr[rsp + (i * 16)], SavedOnWindows[i]);
        c.mov(rdi, rcx);
        c.mov(rsi, rdx);
        c.mov(rdx, r8);
        c.mov(rcx, r9);
    }

    /// <summary>Restores registers and returns.</summary>
    public static void Leave(Assembler c)
    {
        c.vzeroupper();
        if (OperatingSystem.IsWindows())
        {
            for (var i = 0; i < SavedOnWindows.Length; i++)
                c.vmovdqu(SavedOnWindows[i], __xmmword_ptr[rsp + (i * 16)]);
            c.add(rsp, (SavedOnWindows.Length * 16) + 8);
            c.pop(rsi);
            c.pop(rdi);
        }

        foreach (var register in Saved.Reverse())
            c.pop(register);
        c.ret();
    }

    /// <summary>The code, made callable.</summary>
    /// <exception cref="System.ComponentModel.Win32Exception">The system refuses executable memory.</exception>
    public static nint Publish(Assembler c)
    {
        using var code = new MemoryStream();
        c.Assemble(new StreamCodeWriter(code), 0);
        return ExecutableMemory.Publish(code.ToArray());
    }

    private static readonly AssemblerRegisterZMM[] ZmmRegisters =
    [
        zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13, zmm14, zmm15,
        zmm16, zmm17, zmm18, zmm19, zmm20, zmm21, zmm22, zmm23, zmm24, zmm25, zmm26, zmm27, zmm28, zmm29, zmm30, zmm31,
    ];

    private static readonly AssemblerRegisterYMM[] YmmRegisters =
    [
        ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11, ymm12, ymm13, ymm14, ymm15,
        ymm16, ymm17, ymm18, ymm19, ymm20, ymm21, ymm22, ymm23, ymm24, ymm25, ymm26, ymm27, ymm28, ymm29, ymm30, ymm31,
    ];

    private static readonly AssemblerRegisterXMM[] XmmRegisters =
    [
        xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15,
        xmm16, xmm17, xmm18, xmm19, xmm20, xmm21, xmm22, xmm23, xmm24, xmm25, xmm26, xmm27, xmm28, xmm29, xmm30, xmm31,
    ];
}
