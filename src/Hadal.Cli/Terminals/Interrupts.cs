using System.Runtime.InteropServices;

namespace Hadal.Cli.Terminals;

/// <summary>
/// Ctrl-C, and SIGTERM, by which service managers and <c>kill</c> ask a process to end. The first Ctrl-C asks the work in hand to stop: the answer being
/// written, where a command has opened a scope, or else the whole command; SIGTERM always means the command. A second one ends the process at once.
/// </summary>
internal sealed class Interrupts : IDisposable
{
    private readonly CancellationTokenSource command = new();
    private readonly Lock gate = new();
    private CancellationTokenSource? scope;
    private readonly List<IDisposable> registrations = [];

    /// <summary>Cancelled when the command is to stop.</summary>
    public CancellationToken Token => command.Token;

    /// <summary>Listens to this process's signals.</summary>
    public static Interrupts OfProcess()
    {
        var interrupts = new Interrupts();
        interrupts.registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGINT, context => context.Cancel = interrupts.Interrupt()));
        interrupts.registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => context.Cancel = interrupts.Terminate()));
        return interrupts;
    }

    /// <summary>Until it is disposed, Ctrl-C cancels the scope and not the command.</summary>
    public Scope Open()
    {
        lock (gate)
        {
            scope = CancellationTokenSource.CreateLinkedTokenSource(command.Token);
            return new Scope(this, scope.Token);
        }
    }

    /// <summary>Does what Ctrl-C does.</summary>
    /// <returns>False when the process should end now.</returns>
    public bool Interrupt()
    {
        lock (gate)
        {
            var target = scope ?? command;
            if (target.IsCancellationRequested)
                return false;
            target.Cancel();
            return true;
        }
    }

    /// <summary>Does what SIGTERM does.</summary>
    /// <returns>False when the process should end now.</returns>
    public bool Terminate()
    {
        lock (gate)
        {
            if (command.IsCancellationRequested)
                return false;
            command.Cancel();
            return true;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        registrations.ForEach(registration => registration.Dispose());
        command.Dispose();
    }

    private void Close()
    {
        lock (gate)
        {
            scope?.Dispose();
            scope = null;
        }
    }

    /// <summary>A stretch of work that Ctrl-C stops by itself.</summary>
    internal readonly struct Scope(Interrupts owner, CancellationToken token) : IDisposable
    {
        /// <summary>Cancelled by Ctrl-C.</summary>
        public CancellationToken Token { get; } = token;

        /// <inheritdoc/>
        public void Dispose() => owner.Close();
    }
}
