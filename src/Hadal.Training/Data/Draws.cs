namespace Hadal.Training.Data;

/// <summary>
/// Random numbers that depend on where they are used and on nothing before: a generator (SplitMix64, Steele et al. 2014) seeded by a hash of the seed and of what the numbers
/// are for. So a run can go on from any position.
/// </summary>
internal struct Draws
{
    private ulong state;

    /// <summary>Numbers for one purpose.</summary>
    public Draws(params ReadOnlySpan<long> purpose)
    {
        foreach (var part in purpose)
            state = Mix(state ^ Mix((ulong)part + 0x9E3779B97F4A7C15));
    }

    /// <summary>The next 64 bits.</summary>
    public ulong Next()
    {
        state += 0x9E3779B97F4A7C15;
        return Mix(state);
    }

    /// <summary>From 0 up to 1.</summary>
    public double NextDouble() => (Next() >> 11) * (1.0 / (1L << 53));

    /// <summary>From 0 to <paramref name="count"/> − 1. The bias of at most count / 2^64 is of no account.</summary>
    public long Below(long count) => (long)Math.BigMul(Next(), (ulong)count, out _);

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}

/// <summary>A random order of 0 … n−1 of which any place can be asked for: a Feistel network on the bits of n, walked until the value is below n.</summary>
internal readonly struct RandomOrder
{
    private const int Rounds = 6;
    private readonly long count;
    private readonly int halfBits;
    private readonly long[] seed;

    /// <summary>The order of a purpose.</summary>
    public RandomOrder(long count, params long[] seed)
    {
        this.count = count;
        this.seed = seed;
        halfBits = 1;
        while (1L << (2 * halfBits) < count)
            halfBits++;
    }

    /// <summary>What stands at a place.</summary>
    public long this[long place]
    {
        get
        {
            var mask = (1UL << halfBits) - 1;
            var value = (ulong)place;
            do
            {
                var (left, right) = (value >> halfBits, value & mask);
                for (var round = 0; round < Rounds; round++)
                {
                    var draw = new Draws([.. seed, round, (long)right]).Next();
                    (left, right) = (right, left ^ (draw & mask));
                }

                value = (left << halfBits) | right;
            }
            while (value >= (ulong)count);
            return (long)value;
        }
    }
}
