using Microsoft.Extensions.Logging;

namespace Hadal.Cli.Terminals;

/// <summary>The log of a server on a terminal: one dimmed line for each event on standard error, the exception behind what failed.</summary>
internal sealed class TerminalLog(Terminal terminal, TimeProvider time) : ILoggerProvider
{
    private readonly Lock gate = new();

    /// <inheritdoc/>
    public ILogger CreateLogger(string categoryName) => new Category(this);

    /// <inheritdoc/>
    public void Dispose()
    {
        // The terminal stays open.
    }

    private void Write(LogLevel level, string message, Exception? exception)
    {
        var kind = level >= LogLevel.Error ? "error: " : level == LogLevel.Warning ? "warning: " : "";
        lock (gate)
            terminal.Notice($"{time.GetLocalNow():HH:mm:ss} {kind}{message.ReplaceLineEndings(" ")}{(exception is null ? "" : $"\n{exception}")}");
    }

    private sealed class Category(TerminalLog log) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel))
                log.Write(logLevel, formatter(state, exception), exception);
        }
    }
}
