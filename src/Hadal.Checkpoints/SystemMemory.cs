using Hadal.Numerics;

namespace Hadal.Checkpoints;

/// <summary>How much memory this process may still take.</summary>
internal static class SystemMemory
{
    /// <summary>
    /// On Linux MemAvailable of /proc/meminfo (proc(5): free memory and what the page cache can give back), or less where a control group sets a limit;
    /// elsewhere what the runtime says.
    /// </summary>
    /// <param name="root">Where the file system begins; another folder only in tests.</param>
    public static long Available(string root = "/")
    {
        if (Field(Path.Combine(root, "proc/meminfo"), "MemAvailable:") is not { } kilobytes)
        {
            var info = GC.GetGCMemoryInfo();
            return Math.Max(0, info.TotalAvailableMemoryBytes - info.MemoryLoadBytes);
        }

        return Math.Min(kilobytes * 1024, ControlGroupHeadroom(root));
    }

    /// <summary>The least that the control groups of this process leave it, walking up from its own (cgroups(7), versions 1 and 2).</summary>
    private static long ControlGroupHeadroom(string root)
    {
        var least = long.MaxValue;
        foreach (var line in SystemFile.Lines(Path.Combine(root, "proc/self/cgroup")))
        {
            // hierarchy:controllers:path
            if (line.Split(':', 3) is not [_, var controllers, var path])
                continue;
            var (mount, limit, used) = controllers.Length == 0
                ? ("sys/fs/cgroup", "memory.max", "memory.current")
                : controllers.Split(',').Contains("memory")
                    ? ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
                    : (string.Empty, string.Empty, string.Empty);
            if (mount.Length == 0)
                continue;

            // In a container the path may be one of the host; what is mounted is then the container's own group.
            for (var group = path.Trim('/'); ; group = group[..Math.Max(0, group.LastIndexOf('/'))])
            {
                var folder = Path.Combine(root, mount, group);
                if (Number(Path.Combine(folder, limit)) is { } most && Number(Path.Combine(folder, used)) is { } taken)
                    least = Math.Min(least, Math.Max(0, most - taken + Reclaimable(folder)));
                if (group.Length == 0)
                    break;
            }
        }

        return least;
    }

    /// <summary>Page cache counted against the group, which it gives back when it needs to.</summary>
    private static long Reclaimable(string folder)
    {
        var statistics = Path.Combine(folder, "memory.stat");
        return (Field(statistics, "inactive_file") ?? 0) + (Field(statistics, "active_file") ?? 0);
    }

    private static long? Number(string path) => SystemFile.Number(SystemFile.Lines(path));

    private static long? Field(string path, string name) => SystemFile.Field(SystemFile.Lines(path), name);
}
