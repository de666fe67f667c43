using Hadal.Cli;
using Hadal.Cli.Terminals;

using var interrupts = Interrupts.OfProcess();
return await HadalCli.RunAsync(args, Terminal.OfProcess(), interrupts);
