using System.ComponentModel;
using System.Runtime.InteropServices;

namespace Hadal.Numerics.MachineCode;

/// <summary>A piece of machine code, written once and then executable but no longer writable; never freed, since anybody may hold its address.</summary>
internal static unsafe partial class ExecutableMemory
{
    private const int PageBytes = 4096;
    private const int ReadWrite = 3;
    private const int ReadExecute = 5;
    private const int PrivateAnonymous = 0x22;
    private const uint CommitReserve = 0x3000;
    private const uint PageReadWrite = 0x04;
    private const uint PageExecuteRead = 0x20;

    /// <summary>Makes code callable.</summary>
    /// <exception cref="Win32Exception">The system refuses executable memory.</exception>
    public static nint Publish(ReadOnlySpan<byte> code)
    {
        var length = (nuint)((code.Length + PageBytes - 1) / PageBytes * PageBytes);
        if (OperatingSystem.IsWindows())
        {
            var page = VirtualAlloc(0, length, CommitReserve, PageReadWrite);
            if (page == 0)
                throw new Win32Exception();
            code.CopyTo(new Span<byte>((void*)page, code.Length));
            if (!VirtualProtect(page, length, PageExecuteRead, out _) || !FlushInstructionCache(-1, page, length))
                throw new Win32Exception();
            return page;
        }

        var memory = Map(0, length, ReadWrite, PrivateAnonymous, -1, 0);
        if (memory == -1)
            throw new Win32Exception();
        code.CopyTo(new Span<byte>((void*)memory, code.Length));
        if (Protect(memory, length, ReadExecute) != 0)
            throw new Win32Exception();
        return memory;
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Map(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int Protect(nint address, nuint length, int protection);

    [LibraryImport("kernel32", SetLastError = true)]
    private static partial nint VirtualAlloc(nint address, nuint length, uint type, uint protection);

    [LibraryImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool VirtualProtect(nint address, nuint length, uint protection, out uint previous);

    [LibraryImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool FlushInstructionCache(nint process, nint address, nuint length);
}
