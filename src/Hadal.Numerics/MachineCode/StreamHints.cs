using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hadal.Numerics.MachineCode;

/// <summary>
/// What a kernel asks for ahead of the weights it streams, by what the processor does by itself. Zen 3 and Zen 4 read ahead by themselves, and asking for every
/// line of one token's weights costs them more than it brings; Zen 5 reads a quarter to a half faster when it is asked for every line, and for a line of each page
/// before: docs/LOG.md. Others are taken to be as Zen 5 is.
/// </summary>
internal static class StreamHints
{
    /// <summary>How far ahead the first line of a page is asked for, so that the page is looked up in time.</summary>
    public const int PageAhead = 16384;

    /// <summary>How far ahead a line here and there is asked for elsewhere, with the same purpose.</summary>
    public const int RareLineAhead = 32768;

    private const int PageBytes = 4096;
    private const int LineBytes = 64;
    private const int FamilyOfZen3AndZen4 = 0x19;

    /// <summary>Whether kernels ask for every line, and for every page before.</summary>
    public static readonly bool EveryLine = X86Base.IsSupported && Family() != FamilyOfZen3AndZen4;

    /// <summary>Asks for the page that the stream comes to.</summary>
    /// <param name="c">The kernel.</param>
    /// <param name="stream">Where it reads.</param>
    /// <param name="work">A register to spare.</param>
    public static void AskForPage(Assembler c, AssemblerRegister64 stream, AssemblerRegister64 work)
    {
        c.mov(work, stream);
        c.and(work, -PageBytes);
        c.prefetcht1(__byte_ptr[work + PageAhead]);
    }

    /// <summary>The same for a loop that is not assembled.</summary>
    /// <param name="stream">Where it reads.</param>
    public static unsafe void AskForPage(byte* stream) => Sse.Prefetch1((byte*)((nint)stream & -PageBytes) + PageAhead);

    /// <summary>Asks for what no loop has asked for yet: a stream's first lines and pages.</summary>
    /// <param name="stream">Where it begins.</param>
    /// <param name="bytes">How far ahead its loop will ask for lines.</param>
    public static unsafe void AskForStart(byte* stream, int bytes)
    {
        for (var line = 0; line < bytes; line += LineBytes)
            Sse.Prefetch0(stream + line);
        for (var page = PageBytes; page <= PageAhead; page += PageBytes)
            AskForPage(stream + page - PageAhead);
    }

    // The family that CPUID gives, its extension included; other makers' families have other numbers.
    private static int Family()
    {
        var signature = X86Base.CpuId(1, 0).Eax;
        return ((signature >> 8) & 0xF) + ((signature >> 20) & 0xFF);
    }
}
