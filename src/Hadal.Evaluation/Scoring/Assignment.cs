namespace Hadal.Evaluation.Scoring;

/// <summary>The assignment problem: pairs of rows and columns, each used once, with the largest sum. The Hungarian method with potentials, O(n^3).</summary>
internal static class Assignment
{
    /// <summary>The largest sum of scores over pairings of rows with columns.</summary>
    /// <param name="scores">[rows, columns], any shape.</param>
    public static double LargestSum(double[,] scores)
    {
        var n = Math.Max(scores.GetLength(0), scores.GetLength(1));
        if (scores.Length == 0)
            return 0;
        var (u, v, match) = (new double[n + 1], new double[n + 1], new int[n + 1]);
        for (var row = 1; row <= n; row++)
            Augment(row, n, (i, j) => -Score(scores, i - 1, j - 1), u, v, match);
        double sum = 0;
        for (var column = 1; column <= n; column++)
            sum += Score(scores, match[column] - 1, column - 1);
        return sum;
    }

    // Padding to a square changes nothing: its scores are 0.
    private static double Score(double[,] scores, int row, int column) =>
        row < scores.GetLength(0) && column < scores.GetLength(1) ? scores[row, column] : 0;

    // Grows a shortest augmenting path from a row that has no column yet; u and v keep every reduced cost at or above 0.
    private static void Augment(int row, int n, Func<int, int, double> cost, double[] u, double[] v, int[] match)
    {
        var slack = new double[n + 1];
        Array.Fill(slack, double.PositiveInfinity);
        var (from, done) = (new int[n + 1], new bool[n + 1]);
        match[0] = row;
        var column = 0;
        do
        {
            done[column] = true;
            var (current, next, delta) = (match[column], 0, double.PositiveInfinity);
            for (var j = 1; j <= n; j++)
            {
                if (done[j])
                    continue;
                var reduced = cost(current, j) - u[current] - v[j];
                if (reduced < slack[j])
                    (slack[j], from[j]) = (reduced, column);
                if (slack[j] < delta)
                    (delta, next) = (slack[j], j);
            }

            for (var j = 0; j <= n; j++)
            {
                if (done[j])
                {
                    u[match[j]] += delta;
                    v[j] -= delta;
                }
                else
                {
                    slack[j] -= delta;
                }
            }

            column = next;
        }
        while (match[column] != 0);
        for (; column != 0; column = from[column])
            match[column] = match[from[column]];
    }
}
