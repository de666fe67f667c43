namespace Hadal.Numerics.Kernels;

/// <summary>
/// One of several matrix products that are computed together, such as those of all experts that a batch uses: y[i, m] = sum_k x[row i, k] W[m, k], where row i is
/// the entry <see cref="FirstRow"/> + i of a list of rows shared by all products, and the result [Tokens, M] begins at value <see cref="Output"/> of the shared output.
/// </summary>
/// <param name="Weight">W [M, K].</param>
/// <param name="FirstRow">First entry in the list of rows.</param>
/// <param name="Tokens">Rows of x, at least one.</param>
/// <param name="Output">Where the results go.</param>
public readonly record struct Product(WeightMatrix Weight, int FirstRow, int Tokens, int Output)
{
    /// <summary>Checks that the products have one K and that rows and results lie within what they are given.</summary>
    /// <param name="products">At least one.</param>
    /// <param name="rows">The list of rows; empty when it is 0, 1, 2 and so on.</param>
    /// <param name="available">Rows of x.</param>
    /// <param name="outputs">Values of y.</param>
    /// <exception cref="ArgumentException">They do not.</exception>
    internal static void Check(ReadOnlySpan<Product> products, ReadOnlySpan<int> rows, int available, int outputs)
    {
        if (products.IsEmpty)
            throw new ArgumentException("there is no product", nameof(products));
        var cols = products[0].Weight.Cols;
        foreach (var (weight, first, tokens, output) in products)
        {
            if (weight.IsEmpty || weight.Cols != cols)
                throw new ArgumentException($"products taken together have one K, but the matrices are [{products[0].Weight.Rows}, {cols}] and [{weight.Rows}, {weight.Cols}]");
            if (tokens <= 0 || first < 0 || first + (long)tokens > (rows.IsEmpty ? available : rows.Length) || output < 0 || output + ((long)tokens * weight.Rows) > outputs)
                throw new ArgumentException($"{tokens} rows from {first} on, results of W [{weight.Rows}, {weight.Cols}] from {output} on: there are {available} rows of x, {rows.Length} in the list and {outputs} values of y");
        }

        CheckRows(rows, available);
    }

    /// <summary>Checks that the entries of a list are rows of x.</summary>
    /// <param name="rows">The list.</param>
    /// <param name="available">Rows of x.</param>
    /// <exception cref="ArgumentException">One is not.</exception>
    internal static void CheckRows(ReadOnlySpan<int> rows, int available)
    {
        foreach (var row in rows)
        {
            if ((uint)row >= (uint)available)
                throw new ArgumentException($"row {row} of {available}", nameof(rows));
        }
    }
}
