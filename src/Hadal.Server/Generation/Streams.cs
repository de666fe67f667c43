using System.Threading.Channels;

namespace Hadal.Server.Generation;

/// <summary>Several streams read as one.</summary>
internal static class Streams
{
    private const int Ahead = 64;

    /// <summary>Begins all of them at once, so that what refuses one of them is known before anything is sent. Whoever stops reading ends them all.</summary>
    /// <param name="count">How many.</param>
    /// <param name="begin">Begins one of them; the token ends it.</param>
    /// <param name="cancellation">Ends them.</param>
    public static IAsyncEnumerable<T> Begin<T>(int count, Func<int, CancellationToken, IAsyncEnumerable<T>> begin, CancellationToken cancellation)
    {
        var streams = new List<IAsyncEnumerable<T>>(count);
        var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        try
        {
            for (var i = 0; i < count; i++)
                streams.Add(begin(i, stop.Token));
        }
        catch
        {
            stop.Cancel();
            stop.Dispose();
            throw;
        }

        return Merge(streams, stop);
    }

    private static async IAsyncEnumerable<T> Merge<T>(List<IAsyncEnumerable<T>> streams, CancellationTokenSource stop)
    {
        using var owned = stop;
        var all = Task.CompletedTask;
        try
        {
            if (streams.Count == 1)
            {
                await foreach (var item in streams[0])
                    yield return item;
                yield break;
            }

            var items = Channel.CreateBounded<T>(Ahead);
            all = Task.WhenAll(streams.Select(Pump));
            _ = all.ContinueWith(done => items.Writer.TryComplete(done.Exception?.InnerException), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
            await foreach (var item in items.Reader.ReadAllAsync(stop.Token))
                yield return item;
            await all;

            async Task Pump(IAsyncEnumerable<T> stream)
            {
                await foreach (var item in stream)
                    await items.Writer.WriteAsync(item, stop.Token);
            }
        }
        finally
        {
            await stop.CancelAsync();

            // Each has ended when this has: what they count is known.
            await all.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
