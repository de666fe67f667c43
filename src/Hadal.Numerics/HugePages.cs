namespace Hadal.Numerics;

/// <summary>
/// Huge pages that the administrator of a Linux system has set aside (<c>sysctl vm.nr_hugepages</c>) or lets programs take (<c>vm.nr_overcommit_hugepages</c>; the kernel's
/// Documentation/admin-guide/mm/hugetlbpage.rst). The system neither moves, splits, ages nor looks over them, as it may the large pages that it gives out by itself: what that is worth
/// stands in docs/PERFORMANCE.md.
/// </summary>
public static class HugePages
{
    /// <summary>Bytes of those that were set aside, are free and not promised to anybody; 0 where there are none.</summary>
    public static long FreeBytes => FreeIn(Memory());

    /// <summary>Bytes of those that may be made of ordinary memory when they are asked for; 0 where there are none.</summary>
    public static long OvercommitBytes => OvercommitIn(Memory(), SystemFile.Lines("/proc/sys/vm/nr_overcommit_hugepages"));

    /// <summary>Bytes of those that this process has, which its working set does not count.</summary>
    public static long OwnBytes => Field(SystemFile.Lines("/proc/self/status"), "HugetlbPages:") * 1024;

    /// <summary>Bytes of a page of the usual size; 0 where there are none.</summary>
    public static long PageBytes => PageIn(Memory());

    /// <summary><see cref="FreeBytes"/> as the system says it.</summary>
    /// <param name="meminfo">Lines of /proc/meminfo.</param>
    internal static long FreeIn(string[] meminfo) => Math.Max(0, Field(meminfo, "HugePages_Free:") - Field(meminfo, "HugePages_Rsvd:")) * PageIn(meminfo);

    /// <summary><see cref="OvercommitBytes"/> as the system says it.</summary>
    /// <param name="meminfo">Lines of /proc/meminfo.</param>
    /// <param name="pages">The line of /proc/sys/vm/nr_overcommit_hugepages.</param>
    internal static long OvercommitIn(string[] meminfo, string[] pages) => Math.Max(0, (SystemFile.Number(pages) ?? 0) - Field(meminfo, "HugePages_Surp:")) * PageIn(meminfo);

    private static string[] Memory() => SystemFile.Lines("/proc/meminfo");

    private static long PageIn(string[] meminfo) => Field(meminfo, "Hugepagesize:") * 1024;

    private static long Field(string[] lines, string name) => SystemFile.Field(lines, name) ?? 0;
}
