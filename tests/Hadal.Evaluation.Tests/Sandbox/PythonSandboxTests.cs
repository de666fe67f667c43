using System.Diagnostics;
using Hadal.Evaluation.Sandbox;

namespace Hadal.Evaluation.Tests.Sandbox;

/// <summary>Hostile programs: each is survived, within its limits, and leaves nothing behind.</summary>
public sealed class PythonSandboxTests
{
    private static readonly SandboxLimits Short = new() { Wall = TimeSpan.FromSeconds(4), CpuSeconds = 2, MemoryBytes = 256 << 20, OutputBytes = 64 << 10 };

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AProgramReadsItsInputAndWritesItsOutput()
    {
        var result = await Run("import sys\nprint(sys.stdin.read().upper()); print('low', file=sys.stderr); sys.exit(3)", "deep");
        Assert.Equal((SandboxOutcome.Exited, 3, "DEEP\n", "low\n"), (result.Outcome, result.ExitCode, result.Output, result.Error));
    }

    [Fact]
    public async Task AForkBombIsStoppedByTheLimitOfProcesses()
    {
        var watch = Stopwatch.StartNew();
        var result = await Run("import os\nn = 0\ntry:\n    while True:\n        if os.fork() == 0:\n            import time; time.sleep(60)\n        n += 1\nexcept OSError:\n    print(n)");
        Assert.InRange(int.Parse(result.Output), 1, 8);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(30));
        var endless = await Run("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass");
        Assert.NotEqual(0, endless.ExitCode);
    }

    [Fact]
    public async Task MemoryIsLimited() => Assert.Contains("MemoryError", (await Run("x = bytearray(1 << 30)")).Error);

    [Fact]
    public async Task EndlessOutputIsCutAndEndsTheProgram()
    {
        var result = await Run("while True: print('x' * 1000)");
        Assert.Equal(SandboxOutcome.OutputLimit, result.Outcome);
        Assert.Equal(Short.OutputBytes, result.Output.Length);
    }

    [Fact]
    public async Task FilesCanNeitherEscapeNorFillTheDisk()
    {
        var outside = Path.Combine(Path.GetTempPath(), $"hadal-escape-{Guid.NewGuid():N}");
        var result = await Run(
            """
            import os
            for path in ("OUTSIDE", "/usr/bin/python3", "/etc/passwd", "/opt/x", "../../../../usr/x", "/proc/sysrq-trigger", "/dev/sda"):
                try:
                    open(path, "w").write("escaped"); print("wrote", path)
                except OSError: pass
            for path in ("/home", "/srv", "/etc/passwd", "/etc/shadow", "/var"):
                if os.path.exists(path): print("sees", path)
            try:
                open("big", "wb").write(b"x" * (20 << 20)); print("big file")
            except OSError: print("too big")
            """.Replace("OUTSIDE", outside, StringComparison.Ordinal));
        Assert.False(File.Exists(outside));
        Assert.DoesNotContain("sees", result.Output);
        Assert.DoesNotContain("wrote /", result.Output.Replace($"wrote {outside}", string.Empty, StringComparison.Ordinal));
        Assert.DoesNotContain("big file", result.Output);
        var filling = await Run("for i in range(100):\n    open(f'f{i}', 'wb').write(b'x' * (4 << 20))");
        Assert.Contains("No space left", filling.Error);
    }

    [Fact]
    public async Task TheNetworkIsNotThere()
    {
        using var listener = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        var port = ((System.Net.IPEndPoint)listener.LocalEndpoint).Port;
        var result = await Run($"import socket\ntry:\n    socket.create_connection(('127.0.0.1', {port}), 2); print('connected')\nexcept OSError as e: print('no')\ntry:\n    socket.getaddrinfo('example.com', 80); print('resolved')\nexcept OSError: print('no')");
        Assert.Equal("no\nno\n", result.Output);
    }

    [Fact]
    public async Task SignalsReachNobodyOutsideAndIgnoringThemDoesNotHelp()
    {
        var result = await Run(
            """
            import os, signal, time
            for s in range(1, 65):
                try: signal.signal(s, signal.SIG_IGN)
                except (OSError, ValueError): pass
            for pid in [-1, 0, 1, os.getppid()] + list(range(2, 400)):
                if pid != os.getpid():
                    try: os.kill(pid, signal.SIGKILL)
                    except OSError: pass
            os.setsid() if os.getpid() != os.getsid(0) else None
            while True: time.sleep(1)
            """);
        Assert.NotEqual(0, result.ExitCode);
    }

    [Fact]
    public async Task WhatAProgramStartsEndsWithIt()
    {
        var name = $"hadal{Guid.NewGuid():N}"[..14];
        var naming = $"import ctypes, os, time\nctypes.CDLL(None).prctl(15, b'{name}', 0, 0, 0)\n";
        var result = await Run(naming + "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(300)\n    os._exit(0)\nprint('gone')");
        Assert.Equal("gone\n", result.Output);
        Assert.Equal(0, Running(name));
        var sleeping = (await Open()).RunAsync(naming + "time.sleep(300)", string.Empty, Short with { Wall = TimeSpan.FromSeconds(8) }, Cancellation);
        for (var i = 0; i < 400 && Running(name) == 0 && !sleeping.IsCompleted; i++)
            await Task.Delay(20, Cancellation);
        Assert.Equal(1, Running(name));
        Assert.Equal(SandboxOutcome.TimeLimit, (await sleeping).Outcome);
        Assert.Equal(0, Running(name));
    }

    [Fact]
    public async Task EndlessComputingIsStoppedByProcessorTime()
    {
        var result = await Run("while True: pass");
        Assert.NotEqual(0, result.ExitCode);
    }

    [Fact]
    public async Task PrivilegesAreGone()
    {
        var result = await Run(
            """
            import os, ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            print(libc.mount(b"none", b"/program", b"tmpfs", 0, None), libc.mount(b"none", b"/usr", None, 32 | 4096, None))
            print(open("/proc/self/status").read().split("CapEff:")[1].split()[0] if os.path.exists("/proc/self/status") else "0" * 16)
            try: os.setuid(0); print("root" if os.geteuid() == 0 and os.access("/usr/bin", os.W_OK) else "no")
            except OSError: print("no")
            """);
        Assert.Equal("-1 -1\n0000000000000000\nno\n", result.Output);
    }

    [Fact]
    public async Task LeavingBeforeTheTestsIsNoPass()
    {
        var sandbox = await Open();
        async Task<double> Check(string program) => (await PythonCheck.RunAsync(sandbox, program, string.Empty, Cancellation)).Metrics["pass@1"];
        Assert.Equal(1, await Check("assert 1 + 1 == 2"));
        Assert.Equal(0, await Check("assert 1 + 1 == 3"));
        Assert.Equal(0, await Check("import sys; sys.exit(0)\nassert False"));
        Assert.Equal(0, await Check("import os; os._exit(0)"));
        Assert.Equal(0, await Check("def broken(:"));
    }

    private static async Task<PythonSandbox> Open()
    {
        try
        {
            return await PythonSandbox.OpenAsync(Cancellation);
        }
        catch (SandboxUnavailableException e)
        {
            Assert.Skip($"no sandbox on this machine: {e.Message}");
            throw;
        }
    }

    private static async Task<SandboxResult> Run(string program, string input = "") => await (await Open()).RunAsync(program, input, Short, Cancellation);

    // Processes that carry the name, seen from outside the sandbox.
    private static int Running(string name) => Directory.EnumerateDirectories("/proc").Count(folder =>
    {
        try
        {
            return File.ReadAllText(Path.Combine(folder, "comm")).TrimEnd() == name;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    });
}
