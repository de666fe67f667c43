namespace Hadal.Training.Data;

/// <summary>Work on a stream of items by several threads, with the results in the order of the items and few of them waiting.</summary>
internal static class OrderedWork
{
    /// <summary>Applies <paramref name="work"/> to each item. The items are drawn, and the results taken, on the calling thread.</summary>
    /// <param name="items">Drawn as threads become free, one or two ahead of them.</param>
    /// <param name="work">Must not depend on anything but its item.</param>
    /// <param name="threads">How many items are worked on at once.</param>
    /// <param name="cancellation">Checked between items.</param>
    public static IEnumerable<TOut> Run<TIn, TOut>(IEnumerable<TIn> items, Func<TIn, TOut> work, int threads, CancellationToken cancellation)
    {
        using var source = items.GetEnumerator();
        var waiting = new Queue<Task<TOut>>();
        try
        {
            for (var more = true; more || waiting.Count > 0;)
            {
                cancellation.ThrowIfCancellationRequested();
                if (more && waiting.Count <= threads)
                {
                    more = source.MoveNext();
                    if (more)
                    {
                        var item = source.Current;
                        waiting.Enqueue(Task.Run(() => work(item), cancellation));
                    }

                    continue;
                }

                yield return waiting.Dequeue().GetAwaiter().GetResult();
            }
        }
        finally
        {
            // Whoever stops early waits for what is under way: it may use what the caller is about to close.
            foreach (var task in waiting)
                task.ContinueWith(static t => t.Exception, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default).GetAwaiter().GetResult();
        }
    }
}
