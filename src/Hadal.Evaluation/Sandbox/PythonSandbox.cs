using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Hadal.Evaluation.Sandbox;

/// <summary>
/// Runs Python programs that nobody has read: each as a process of its own in fresh namespaces of Linux (mounts, processes, network, IPC, host name) with a
/// file system in memory that holds the system's programs read-only and nothing of its user's, without privileges or network, under limits of time, memory,
/// processes and output, and ended as a whole. Needs python3 and util-linux. Safe for use from several threads.
/// </summary>
/// <remarks>
/// The first process of a process namespace takes all others with it when it ends, and it is told to end with the process that started it: nothing survives
/// the call, whatever signals the program plays with.
/// </remarks>
public sealed class PythonSandbox
{
    // A user id of its own for each program counts its processes apart from everybody's (RLIMIT_NPROC counts by user).
    private const int FirstUser = 1_900_000_000;
    private const int Users = 1_000_000;

    // The shell stays, as the first process of its namespace, until the program ends. Arguments: mount point, folder with the program, Python's prefix, user id or "-", limits, command.
    private const string Setup =
        """
        set -e
        root=$1 stage=$2 prefix=$3 user=$4 disk=$5; shift 5
        mount -t tmpfs -o "size=$disk,nr_inodes=4096,mode=0755,nosuid,nodev" sandbox "$root"
        share() {
          if [ -L "$1" ]; then cp -P "$1" "$root$1"; return; fi
          [ -e "$1" ] || return 0
          if [ -d "$1" ]; then mkdir -p "$root$1"; else mkdir -p "$root$(dirname "$1")"; : > "$root$1"; fi
          mount --bind "$1" "$root$1"
          mount -o remount,bind,ro,nosuid "$root$1"
        }
        for path in /usr /bin /sbin /lib /lib32 /lib64 /etc/ld.so.cache; do share "$path"; done
        case $prefix in /usr|/usr/*) ;; *) share "$prefix" ;; esac
        mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root/program"
        mount -t proc -o nosuid,nodev,noexec proc "$root/proc" 2>/dev/null || :
        for device in null zero urandom; do : > "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
        cp "$stage"/* "$root/program/"
        chmod 1777 "$root/tmp"; chmod 0777 "$root/program"; chmod 0644 "$root/program"/*
        if [ "$user" = - ]; then set -- --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
        else set -- --reuid="$user" --regid="$user" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"; fi
        echo ready >&2
        code=0
        chroot "$root" /usr/bin/setpriv "$@" || code=$?
        exit "$code"
        """;

    private readonly string python;
    private readonly string prefix;
    private readonly bool isRoot;

    private PythonSandbox(string python, string prefix, bool isRoot, string description)
    {
        this.python = python;
        this.prefix = prefix;
        this.isRoot = isRoot;
        Description = description;
    }

    /// <summary>What was found: which Python, and what isolates it.</summary>
    public string Description { get; }

    /// <summary>Looks for Python and tries whether the sandbox keeps what it promises: a program runs, and neither reaches the network nor writes to the system.</summary>
    /// <param name="cancellation">Ends the trial.</param>
    /// <exception cref="SandboxUnavailableException">It cannot be had here; the message says what is missing.</exception>
    public static async Task<PythonSandbox> OpenAsync(CancellationToken cancellation = default)
    {
        if (!OperatingSystem.IsLinux())
            throw new SandboxUnavailableException("programs are run in namespaces of Linux, and this is another system");
        foreach (var tool in (string[])["unshare", "setpriv", "prlimit", "mount", "chroot"])
        {
            if (FindOnPath(tool) is null)
                throw new SandboxUnavailableException($"'{tool}' (util-linux, coreutils) is not on PATH");
        }

        var found = FindOnPath("python3") ?? throw new SandboxUnavailableException("python3 is not on PATH");
        var (executable, prefix, version) = await AskAsync(found, cancellation);
        var privileged = Environment.IsPrivilegedProcess;
        var sandbox = new PythonSandbox(executable, prefix, privileged, $"Python {version}; no network, read-only system, {(privileged ? "a user id of its own" : "a user namespace")}");
        var trial = await sandbox.RunAsync(Trial, string.Empty, new SandboxLimits { Wall = TimeSpan.FromSeconds(20) }, cancellation);
        return trial.ExitCode == 0 && trial.Output.Trim() == "isolated"
            ? sandbox
            : throw new SandboxUnavailableException($"namespaces cannot be had here, or do not isolate: {(trial.Output.Trim() is { Length: > 0 } flaw ? flaw : trial.Summary)}");
    }

    /// <summary>Runs a program.</summary>
    /// <param name="source">Python.</param>
    /// <param name="input">Its standard input.</param>
    /// <param name="limits">What it may use; null for the defaults.</param>
    /// <param name="cancellation">Ends it.</param>
    public async Task<SandboxResult> RunAsync(string source, string input, SandboxLimits? limits = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(input);
        limits ??= new SandboxLimits();
        var folder = Directory.CreateTempSubdirectory("hadal-sandbox-");
        try
        {
            var (root, stage) = (folder.CreateSubdirectory("root").FullName, folder.CreateSubdirectory("stage").FullName);

            // Half a surrogate pair, which a model may write, is no UTF-8 and becomes U+FFFD.
            await File.WriteAllTextAsync(Path.Combine(stage, "main.py"), source, cancellation);
            using var process = Process.Start(Command(root, stage, limits))!;
            return await WatchAsync(process, input, limits, cancellation);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private const string Trial =
        """
        import os, socket
        try:
            s = socket.socket(); s.settimeout(2); s.connect(("192.0.2.1", 9)); print("the network is reachable"); raise SystemExit
        except OSError as error:
            if isinstance(error, TimeoutError): print("the network is reachable"); raise SystemExit
        for path in ("/usr/hadal-trial", "/bin/hadal-trial"):
            try:
                open(path, "w"); print("the system is writable"); raise SystemExit
            except OSError:
                pass
        if os.path.exists("/home") or os.getpid() > 100: print("the machine is visible"); raise SystemExit
        print("isolated")
        """;

    private ProcessStartInfo Command(string root, string stage, SandboxLimits limits)
    {
        var start = new ProcessStartInfo("unshare") { UseShellExecute = false, RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = "/" };
        start.Environment.Clear();
        start.Environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin";
        List<string> arguments = isRoot ? [] : ["--user", "--map-root-user"];
        arguments.AddRange(["--net", "--pid", "--fork", "--kill-child=KILL", "--mount", "--ipc", "--uts", "sh", "-c", Setup, "sandbox", root, stage, prefix]);
        arguments.Add(isRoot ? Number(FirstUser + RandomNumberGenerator.GetInt32(Users)) : "-");
        arguments.Add(Number(limits.DiskBytes));
        arguments.AddRange(["/usr/bin/prlimit", $"--as={Number(limits.MemoryBytes)}", $"--cpu={Number(limits.CpuSeconds)}", $"--fsize={Number(limits.FileBytes)}",
            $"--nproc={Number(limits.Processes)}", "--nofile=64", "--core=0", "--"]);
        arguments.AddRange(["/usr/bin/env", "-i", "-C", "/program", "PATH=/usr/bin:/bin", "HOME=/program", "LANG=C.UTF-8", "PYTHONHASHSEED=0", "OPENBLAS_NUM_THREADS=1", python, "-I", "-B", "main.py"]);
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        return start;
    }

    private static async Task<SandboxResult> WatchAsync(Process process, string input, SandboxLimits limits, CancellationToken cancellation)
    {
        using var wall = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        wall.CancelAfter(limits.Wall);
        var overflow = false;
        var feeding = FeedAsync(process, input);
        var output = ReadAsync(process.StandardOutput.BaseStream, limits.OutputBytes, Overflow);
        var error = ReadAsync(process.StandardError.BaseStream, limits.OutputBytes, Overflow);
        var timedOut = false;
        try
        {
            await process.WaitForExitAsync(wall.Token);
        }
        catch (OperationCanceledException)
        {
            timedOut = !overflow;
            process.Kill();
            await process.WaitForExitAsync(CancellationToken.None);
        }

        // The pipes are closed: whoever could hold them has ended with the namespace.
        await Task.WhenAll(feeding, output, error);
        cancellation.ThrowIfCancellationRequested();
        var errors = Encoding.UTF8.GetString(await error);
        var started = errors.IndexOf("ready\n", StringComparison.Ordinal);
        var outcome = overflow ? SandboxOutcome.OutputLimit : timedOut ? SandboxOutcome.TimeLimit : SandboxOutcome.Exited;
        return new SandboxResult(outcome, process.ExitCode, Encoding.UTF8.GetString(await output), started < 0 ? errors : errors[(started + "ready\n".Length)..]);

        void Overflow()
        {
            overflow = true;
            wall.Cancel();
        }
    }

    private static async Task FeedAsync(Process process, string input)
    {
        try
        {
            await process.StandardInput.WriteAsync(input);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // The program ended, or does not read.
        }
    }

    private static async Task<byte[]> ReadAsync(Stream stream, int limit, Action overflow)
    {
        var kept = new MemoryStream();
        var buffer = new byte[8192];
        int count;
        while ((count = await stream.ReadAsync(buffer)) > 0)
        {
            kept.Write(buffer, 0, Math.Min(count, limit - (int)kept.Length));
            if (kept.Length >= limit)
            {
                overflow();
                break;
            }
        }

        // What comes until the end is read and dropped, so that nobody waits for room in a pipe.
        while (count > 0)
            count = await stream.ReadAsync(buffer);
        return kept.ToArray();
    }

    // Shims and links lead to the interpreter only when it is asked; sys.base_prefix has its library.
    private static async Task<(string Executable, string Prefix, string Version)> AskAsync(string python, CancellationToken cancellation)
    {
        var start = new ProcessStartInfo(python) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in (string[])["-I", "-c", "import os, sys, platform; print(os.path.realpath(sys.executable)); print(sys.base_prefix); print(platform.python_version())"])
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        var lines = (await process.StandardOutput.ReadToEndAsync(cancellation)).Split('\n', StringSplitOptions.TrimEntries);
        await process.WaitForExitAsync(cancellation);
        return process.ExitCode == 0 && lines.Length >= 3 ? (lines[0], lines[1], lines[2]) : throw new SandboxUnavailableException($"{python} does not run");
    }

    private static string? FindOnPath(string program) =>
        $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin".Split(':', StringSplitOptions.RemoveEmptyEntries).Select(f => Path.Combine(f, program)).FirstOrDefault(File.Exists);

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);
}
