using BenchmarkDotNet.Running;

// dotnet run --project benchmarks/Hadal.Benchmarks -c Release -- --filter '*Attention*'
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
