using System.Globalization;

namespace Hadal.Numerics;

/// <summary>
/// Huge pages that the administrator of a Linux system has set aside (<c>sysctl vm.nr_hugepages</c>) or lets programs take (<c>vm.nr_overcommit_hugepages</c>; the kernel's
/// Documentation/admin-guide/mm/hugetlbpage.rst). The system neither moves, splits, ages nor looks over them, as it may the large pages that it gives out by itself: what that is worth
/// stands in docs/PERFORMANCE.md.
/// </summary>
public static class HugePages
{
    /// <summary>Bytes of those that were set aside, are free and not promised to anybody; 0 where there are none.</summary>
    public static long FreeBytes => FreeIn(Lines("/proc/meminfo"));

    /// <summary>Bytes of those that may be made of ordinary memory when they are asked for; 0 where there are none.</summary>
    public static long OvercommitBytes => OvercommitIn(Lines("/proc/meminfo"), Lines("/proc/sys/vm/nr_overcommit_hugepages"));

    /// <summary>Bytes of those that this process has, which its working set does not count.</summary>
    public static long OwnBytes => Kilobytes(Lines("/proc/self/status"), "HugetlbPages:") * 1024;

    /// <summary>Bytes of a page of the usual size; 0 where there are none.</summary>
    public static long PageBytes => Kilobytes(Lines("/proc/meminfo"), "Hugepagesize:") * 1024;

    /// <summary><see cref="FreeBytes"/> as /proc/meminfo says it.</summary>
    /// <param name="meminfo">Its lines.</param>
    internal static long FreeIn(string[] meminfo) =>
        Math.Max(0, Kilobytes(meminfo, "HugePages_Free:") - Kilobytes(meminfo, "HugePages_Rsvd:")) * Kilobytes(meminfo, "Hugepagesize:") * 1024;

    /// <summary><see cref="OvercommitBytes"/> as the system says it.</summary>
    /// <param name="meminfo">Lines of /proc/meminfo.</param>
    /// <param name="pages">The line of /proc/sys/vm/nr_overcommit_hugepages.</param>
    internal static long OvercommitIn(string[] meminfo, string[] pages) =>
        Math.Max(0, Kilobytes(pages, string.Empty) - Kilobytes(meminfo, "HugePages_Surp:")) * Kilobytes(meminfo, "Hugepagesize:") * 1024;

    // The number behind a name, in kB but for counts of pages; 0 where it is missing.
    private static long Kilobytes(string[] lines, string name) =>
        Array.Find(lines, line => line.StartsWith(name, StringComparison.Ordinal))?[name.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) is [var number, ..]
            && long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var value)
            ? value
            : 0;

    private static string[] Lines(string path)
    {
        try
        {
            return OperatingSystem.IsLinux() ? File.ReadAllLines(path) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
