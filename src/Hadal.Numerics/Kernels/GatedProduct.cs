namespace Hadal.Numerics.Kernels;

/// <summary>
/// One of several gated MLPs whose first halves, silu(gate x) * (up x), are computed together. Row i of x is the entry <see cref="FirstRow"/> + i of a list of rows
/// shared by all.
/// </summary>
/// <param name="Gate">[I, K].</param>
/// <param name="Up">[I, K].</param>
/// <param name="Down">[M, I]: what the results are multiplied with afterwards.</param>
/// <param name="FirstRow">First entry in the list of rows.</param>
/// <param name="Tokens">Rows of x, at least one.</param>
public readonly record struct GatedProduct(WeightMatrix Gate, WeightMatrix Up, WeightMatrix Down, int FirstRow, int Tokens)
{
    /// <summary>The products with gate and up of each by themselves: the results of all gates in their order, from value 0 on, and behind them those of all ups.</summary>
    /// <param name="gated">Gated MLPs.</param>
    /// <param name="products">Receives twice as many: gates and ups in turns.</param>
    public static void Split(ReadOnlySpan<GatedProduct> gated, Span<Product> products)
    {
        var (next, ups) = (0, (int)Values(gated));
        for (var i = 0; i < gated.Length; i++)
        {
            var (gate, up, _, first, tokens) = gated[i];
            products[2 * i] = new Product(gate, first, tokens, next);
            products[(2 * i) + 1] = new Product(up, first, tokens, ups + next);
            next += tokens * gate.Rows;
        }
    }

    /// <summary>Results that all have together.</summary>
    public static long Values(ReadOnlySpan<GatedProduct> gated)
    {
        long values = 0;
        foreach (var each in gated)
            values += (long)each.Tokens * each.Gate.Rows;
        return values;
    }
}
