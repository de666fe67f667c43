using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Hadal.Checkpoints.Config;
using Hadal.Training.Model;
using Hadal.Training.Presets;

namespace Hadal.Training.Tests.Presets;

/// <summary>Counts and tensor lists of every shape that can be trained by name, against text files; no memory is taken for them.</summary>
public sealed partial class ShapeGoldenTests
{
    public static TheoryData<string> Names => [.. Shapes.Names.Where(name => !name.Contains(':')), "deepseek-v3-slice:4"];

    [Theory]
    [MemberData(nameof(Names))]
    public void AShapeHasTheTensorsOfItsGolden(string name)
    {
        var found = Describe(Shapes.Find(name));
        var path = Path.Combine(AppContext.BaseDirectory, "Presets", "Goldens", $"{name.Replace(':', '-')}.txt");
        Assert.Equal(File.Exists(path) ? File.ReadAllText(path) : "no golden", found);
    }

    // Total and activated parameters in billions. Published: V3 671B and 37B (report section 4.2), V2 236B and 21B (report section 3.1.2), V2-Lite 15.7B and 2.4B
    // (appendix B; the embedding is not counted as activated there), 67B and 7B. The ablation model's 228.7B and 20.9B (V3 report section 4.5.1) are met as nearly as
    // whole experts allow.
    [Theory]
    [InlineData("deepseek-v3", "671.0", "37.6")]
    [InlineData("deepseek-228b", "228.8", "21.4")]
    [InlineData("deepseek-v2", "235.7", "21.4")]
    [InlineData("deepseek-v2-lite", "15.7", "2.7")]
    [InlineData("deepseek-llm-67b", "67.4", "67.4")]
    [InlineData("deepseek-llm-7b", "6.9", "6.9")]
    public void PublishedShapesHaveThePublishedSize(string name, string total, string activated)
    {
        var totals = ParameterTotals.Of(Shapes.Find(name));
        Assert.Equal((total, activated), (Billions(totals.Total), Billions(totals.Activated)));

        static string Billions(long count) => (count / 1e9).ToString("F1", CultureInfo.InvariantCulture);
    }

    // A line for each kind of tensor: which layers and experts have it, and its shape.
    private static string Describe(ModelConfig config)
    {
        var totals = ParameterTotals.Of(config);
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"total {totals.Total}\nactivated {totals.Activated}\nmtp {totals.Mtp}\n");
        var tensors = ParameterList.Of(config).Concat(ParameterList.RouterBiases(config).Select(bias => bias.Shape)).ToList();
        text.Append(CultureInfo.InvariantCulture, $"tensors {tensors.Count}\n\n");
        foreach (var kind in tensors.GroupBy(t => $"{Number().Replace(t.Name, ".*.")} [{string.Join(", ", t.Shape)}]"))
        {
            var layers = kind.Select(t => Numbers(t.Name, 0)).OfType<int>().Distinct().Order().ToList();
            var experts = kind.Select(t => Numbers(t.Name, 1)).OfType<int>().Distinct().Order().ToList();
            var all = Math.Max(1, layers.Count) * Math.Max(1, experts.Count);
            Assert.Equal(all, kind.Count());
            text.Append(CultureInfo.InvariantCulture, $"{kind.Key}{Range(" layers", layers)}{Range(" experts", experts)}\n");
        }

        return text.ToString();
    }

    private static int? Numbers(string name, int index) => Number().Matches(name) is { } found && found.Count > index ? int.Parse(found[index].Value.Trim('.'), CultureInfo.InvariantCulture) : null;

    private static string Range(string what, List<int> numbers)
    {
        if (numbers.Count == 0)
            return string.Empty;
        Assert.Equal(numbers.Count - 1, numbers[^1] - numbers[0]);
        return string.Create(CultureInfo.InvariantCulture, $"{what} {numbers[0]}-{numbers[^1]}");
    }

    [GeneratedRegex(@"\.\d+\.")]
    private static partial Regex Number();
}
