namespace Hadal.Evaluation.Tasks;

/// <summary>Every benchmark, in the order of Table 3 of the DeepSeek-V3 report.</summary>
public static class Benchmarks
{
    /// <summary>The benchmarks.</summary>
    public static IReadOnlyList<EvaluationTask> All { get; } =
    [
        new BitsPerByte(), new BigBenchHard(), new Mmlu(), new MmluRedux(), new MmluPro(), new Drop(), new Arc("Easy"), new Arc("Challenge"), new HellaSwag(), new Piqa(),
        new WinoGrande(), new Race("middle"), new Race("high"), new TriviaQa(), new NaturalQuestions(), new AgiEval(), new HumanEval(), new Mbpp(), new LiveCodeBench(),
        new CruxEval(input: true), new CruxEval(input: false), new Gsm8k(), new Competition(), new Mgsm(), new CMath(), new CluewscTask(), new CEval(), new Cmmlu(), new Cmrc(),
        new C3(), new Ccpm(), new Mmmlu(),
    ];

    /// <summary>The benchmark of that name.</summary>
    /// <exception cref="ArgumentException">There is none; the message lists all.</exception>
    public static EvaluationTask Find(string name) =>
        All.FirstOrDefault(t => t.Info.Name == name) ?? throw new ArgumentException($"there is no task '{name}'; there are {string.Join(", ", All.Select(t => t.Info.Name))}", nameof(name));
}
