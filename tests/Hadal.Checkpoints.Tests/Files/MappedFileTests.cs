using System.Globalization;
using Hadal.Checkpoints.Files;

namespace Hadal.Checkpoints.Tests.Files;

public sealed class MappedFileTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(65537)]
    [InlineData((65 << 20) + 3)]
    public void Populating_reads_to_the_end_of_a_file_of_any_length(int length)
    {
        using var folder = new TempFolder();
        using var file = MappedFile.Open(Sparse(folder, length));
        file.Populate();
        if (OperatingSystem.IsLinux())
            Assert.InRange(ResidentBytes(file.Path), (length + 65535) / 65536 * Environment.SystemPageSize, long.MaxValue);
    }

    // A mapping that went away under a thread that reads it would end the process.
    [Fact]
    public async Task A_file_may_be_closed_while_it_is_populated()
    {
        using var folder = new TempFolder();
        var path = Sparse(folder, 1L << 30);
        for (var i = 0; i < 20; i++)
        {
            var file = MappedFile.Open(path);
            var populated = Task.Run(file.Populate, TestContext.Current.CancellationToken);
            await Task.Delay(i, TestContext.Current.CancellationToken);
            file.Dispose();
            try
            {
                await populated;
            }
            catch (ObjectDisposedException)
            {
            }
        }
    }

    // What this process has in its page table of a file: in smaps, the line Rss behind the one that names it.
    private static long ResidentBytes(string path) => File.ReadLines("/proc/self/smaps")
        .SkipWhile(line => !line.EndsWith(path, StringComparison.Ordinal))
        .FirstOrDefault(static line => line.StartsWith("Rss:", StringComparison.Ordinal)) is { } line
        ? long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10
        : 0;

    private static string Sparse(TempFolder folder, long length)
    {
        using var stream = File.Create(folder.File("sparse"));
        stream.SetLength(length);
        return folder.File("sparse");
    }
}
