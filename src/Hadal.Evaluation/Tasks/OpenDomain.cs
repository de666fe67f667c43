using Hadal.Evaluation.Models;

namespace Hadal.Evaluation.Tasks;

/// <summary>The form that TriviaQA and NaturalQuestions share: questions and answers, a line each, without any text to look them up in.</summary>
internal static class OpenDomain
{
    private const int MostTokens = 32;
    private static readonly string[] LineStop = ["\n"];

    // What lm-evaluation-harness stops at: a line's end, a sentence's, a list's.
    private static readonly string[] LmEvalStops = ["\n", ".", ","];

    /// <summary>The prompt of DeepSeek-V2 report, Tables 30 and 34.</summary>
    public static GenerationInput DeepSeek(IEnumerable<(string Question, string Answer)> shots, string question) =>
        new($"Answer these questions:\n{string.Concat(shots.Select(s => $"Q: {s.Question}\nA: {s.Answer}\n"))}Q: {question}\nA:", LineStop, MostTokens);

    /// <summary>A prompt of lm-evaluation-harness.</summary>
    public static GenerationInput LmEval(string header, string before, string cue, string between, IEnumerable<(string Question, string Answer)> shots, string question) =>
        new($"{header}{string.Concat(shots.Select(s => $"{before}{s.Question}?\n{cue} {s.Answer}{between}"))}{before}{question}?\n{cue}", LmEvalStops, MostTokens);
}
