using BenchmarkDotNet.Running;
using Hadal.Benchmarks.Evaluation;

// dotnet run --project benchmarks/Hadal.Benchmarks -c Release -- --filter '*Attention*'
// dotnet run --project benchmarks/Hadal.Benchmarks -c Release -- evaluation MODEL DATA [QUESTIONS]
if (args is ["evaluation", var model, var data, ..])
    await EvaluationSpeed.RunAsync(model, data, args.Length > 3 ? int.Parse(args[3]) : 20);
else
    BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
