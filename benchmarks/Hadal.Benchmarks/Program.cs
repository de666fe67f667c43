using BenchmarkDotNet.Running;
using Hadal.Benchmarks.Evaluation;
using Hadal.Benchmarks.Tokenization;

// dotnet run --project benchmarks/Hadal.Benchmarks -c Release -- --filter '*Attention*'
// dotnet run --project benchmarks/Hadal.Benchmarks -c Release -- evaluation MODEL DATA [QUESTIONS]
// dotnet run --project benchmarks/Hadal.Benchmarks -c Release -- tokenizer MODEL TEXTS.jsonl
if (args is ["evaluation", var model, var data, ..])
    await EvaluationSpeed.RunAsync(model, data, args.Length > 3 ? int.Parse(args[3]) : 20);
else if (args is ["tokenizer", var folder, var texts])
    TokenizerSpeed.Run(folder, texts);
else
    BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
