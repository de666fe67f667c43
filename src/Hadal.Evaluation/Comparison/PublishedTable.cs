namespace Hadal.Evaluation.Comparison;

/// <summary>The parts of Table 3.</summary>
public enum BenchmarkGroup
{
    /// <summary>English, language modelling included.</summary>
    English,

    /// <summary>Other languages together.</summary>
    Multilingual,

    /// <summary>Programs.</summary>
    Code,

    /// <summary>Mathematics.</summary>
    Math,

    /// <summary>Chinese.</summary>
    Chinese,
}

/// <summary>
/// Table 3 of the DeepSeek-V3 report (arXiv 2412.19437; README of deepseek-ai/DeepSeek-V3): the base models' scores as their publisher measured them, in its
/// own framework. Reference constants, not measurements of this program.
/// </summary>
public static class PublishedTable
{
    /// <summary>The models that were compared, with activated and total parameters.</summary>
    public static IReadOnlyList<(string Name, long Activated, long Total)> Models { get; } =
    [
        ("DeepSeek-V2-Base", 21_000_000_000, 236_000_000_000), ("Qwen2.5 72B Base", 72_000_000_000, 72_000_000_000),
        ("LLaMA-3.1 405B Base", 405_000_000_000, 405_000_000_000), ("DeepSeek-V3-Base", 37_000_000_000, 671_000_000_000),
    ];

    /// <summary>The rows, in the table's order; scores in the order of <see cref="Models"/>.</summary>
    public static IReadOnlyList<PublishedRow> Rows { get; } =
    [
        new("Pile-test", "BPB", null, BenchmarkGroup.English, [0.606, 0.638, 0.542, 0.548]),
        new("BBH", "EM", 3, BenchmarkGroup.English, [78.8, 79.8, 82.9, 87.5]),
        new("MMLU", "Acc.", 5, BenchmarkGroup.English, [78.4, 85.0, 84.4, 87.1]),
        new("MMLU-Redux", "Acc.", 5, BenchmarkGroup.English, [75.6, 83.2, 81.3, 86.2]),
        new("MMLU-Pro", "Acc.", 5, BenchmarkGroup.English, [51.4, 58.3, 52.8, 64.4]),
        new("DROP", "F1", 3, BenchmarkGroup.English, [80.4, 80.6, 86.0, 89.0]),
        new("ARC-Easy", "Acc.", 25, BenchmarkGroup.English, [97.6, 98.4, 98.4, 98.9]),
        new("ARC-Challenge", "Acc.", 25, BenchmarkGroup.English, [92.2, 94.5, 95.3, 95.3]),
        new("HellaSwag", "Acc.", 10, BenchmarkGroup.English, [87.1, 84.8, 89.2, 88.9]),
        new("PIQA", "Acc.", 0, BenchmarkGroup.English, [83.9, 82.6, 85.9, 84.7]),
        new("WinoGrande", "Acc.", 5, BenchmarkGroup.English, [86.3, 82.3, 85.2, 84.9]),
        new("RACE-Middle", "Acc.", 5, BenchmarkGroup.English, [73.1, 68.1, 74.2, 67.1]),
        new("RACE-High", "Acc.", 5, BenchmarkGroup.English, [52.6, 50.3, 56.8, 51.3]),
        new("TriviaQA", "EM", 5, BenchmarkGroup.English, [80.0, 71.9, 82.7, 82.9]),
        new("NaturalQuestions", "EM", 5, BenchmarkGroup.English, [38.6, 33.2, 41.5, 40.0]),
        new("AGIEval", "Acc.", 0, BenchmarkGroup.English, [57.5, 75.8, 60.6, 79.6]),
        new("HumanEval", "Pass@1", 0, BenchmarkGroup.Code, [43.3, 53.0, 54.9, 65.2]),
        new("MBPP", "Pass@1", 3, BenchmarkGroup.Code, [65.0, 72.6, 68.4, 75.4]),
        new("LiveCodeBench-Base", "Pass@1", 3, BenchmarkGroup.Code, [11.6, 12.9, 15.5, 19.4]),
        new("CRUXEval-I", "Acc.", 2, BenchmarkGroup.Code, [52.5, 59.1, 58.5, 67.3]),
        new("CRUXEval-O", "Acc.", 2, BenchmarkGroup.Code, [49.8, 59.9, 59.9, 69.8]),
        new("GSM8K", "EM", 8, BenchmarkGroup.Math, [81.6, 88.3, 83.5, 89.3]),
        new("MATH", "EM", 4, BenchmarkGroup.Math, [43.4, 54.4, 49.0, 61.6]),
        new("MGSM", "EM", 8, BenchmarkGroup.Math, [63.6, 76.2, 69.9, 79.8]),
        new("CMath", "EM", 3, BenchmarkGroup.Math, [78.7, 84.5, 77.3, 90.7]),
        new("CLUEWSC", "EM", 5, BenchmarkGroup.Chinese, [82.0, 82.5, 83.0, 82.7]),
        new("C-Eval", "Acc.", 5, BenchmarkGroup.Chinese, [81.4, 89.2, 72.5, 90.1]),
        new("CMMLU", "Acc.", 5, BenchmarkGroup.Chinese, [84.0, 89.5, 73.7, 88.8]),
        new("CMRC", "EM", 1, BenchmarkGroup.Chinese, [77.4, 75.8, 76.0, 76.3]),
        new("C3", "Acc.", 0, BenchmarkGroup.Chinese, [77.4, 76.7, 79.7, 78.6]),
        new("CCPM", "Acc.", 0, BenchmarkGroup.Chinese, [93.0, 88.5, 78.6, 92.0]),
        new("MMMLU-non-English", "Acc.", 5, BenchmarkGroup.Multilingual, [64.0, 74.8, 73.8, 79.4]),
    ];
}

/// <summary>A row of Table 3.</summary>
/// <param name="Title">Benchmark.</param>
/// <param name="Metric">Score's name.</param>
/// <param name="Shots">Examples; null where there is no such thing.</param>
/// <param name="Group">Part of the table.</param>
/// <param name="Scores">Scores, in the order of the models.</param>
public sealed record PublishedRow(string Title, string Metric, int? Shots, BenchmarkGroup Group, IReadOnlyList<double> Scores);
