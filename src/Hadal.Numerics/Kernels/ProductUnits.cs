namespace Hadal.Numerics.Kernels;

/// <summary>The rows of several products as items of one job, <see cref="Rows"/> of a product each: a walk over those that a worker has taken.</summary>
/// <param name="products">The products.</param>
/// <param name="count">How many.</param>
/// <param name="start">First item.</param>
/// <param name="end">One past the last.</param>
internal unsafe ref struct ProductUnits(Product* products, int count, int start, int end)
{
    /// <summary>Rows of an item.</summary>
    public const int Rows = 16;

    private int at = start;
    private int index;
    private int first;

    /// <summary>Items of all products.</summary>
    public static int Count(ReadOnlySpan<Product> products)
    {
        var units = 0;
        foreach (ref readonly var product in products)
            units += Count(product);
        return units;
    }

    /// <summary>Goes on to the next product that has some of the items.</summary>
    /// <param name="product">The product.</param>
    /// <param name="row">The first of its rows.</param>
    /// <param name="stop">One past the last.</param>
    /// <returns>Whether there is one.</returns>
    public bool Next(out Product product, out int row, out int stop)
    {
        (product, row, stop) = (default, 0, 0);
        while (index < count && at < end)
        {
            product = products[index++];
            var from = first;
            first += Count(product);
            if (at >= first)
                continue;
            (row, stop) = ((at - from) * Rows, Math.Min((Math.Min(end, first) - from) * Rows, product.Weight.Rows));
            at = first;
            return true;
        }

        return false;
    }

    private static int Count(in Product product) => (product.Weight.Rows + Rows - 1) / Rows;
}
