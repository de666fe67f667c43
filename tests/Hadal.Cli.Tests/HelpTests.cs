using System.CommandLine;
using Hadal.Cli.Terminals;

namespace Hadal.Cli.Tests;

/// <summary>Help is there for every command, and ends with something to copy.</summary>
public sealed class HelpTests
{
    /// <summary>The names of the public commands.</summary>
    public static TheoryData<string> Commands
    {
        get
        {
            using var interrupts = new Interrupts();
            var silent = new Terminal(TextReader.Null, TextWriter.Null, TextWriter.Null, false, false, false);
            return [.. HadalCli.Tree(silent, interrupts).Root.Subcommands.Select(c => c.Name)];
        }
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public async Task EveryCommandHasADescriptionAndAnExample(string command)
    {
        var help = (await CommandLineRun.Hadal(command, "--help")).AssertSucceeded();
        Assert.StartsWith("Description:\n  ", help.Out);
        Assert.Matches($"Examples?:\n  hadal {command}( .*)?\n", help.Out);
        Assert.Empty(help.Error);
    }

    [Fact]
    public async Task TheRootsHelpIsThisText()
    {
        const string Expected = """
            Description:
              Trains, evaluates, quantises, serves and runs DeepSeek models on the CPU, and proves that the numbers are right.

            Usage:
              hadal [command] [options]

            Options:
              --verbose       Show where an error happened.
              -?, -h, --help  Show help and usage information
              --version       Show version information

            Commands:
              serve             Serve models with OpenAI's API and a chat page, on this machine only unless told otherwise.
              conform <URL>     Ask any server with OpenAI's API what its clients expect of it, and print a table of cases.
              load <URL>        Put a mixed load on a server with OpenAI's API, and say how long its clients wait.
              chat              Talk to a model in the terminal. Messages may also come on standard input, one a line.
              generate          Continue a prompt. The text streams to standard output as it comes.
              inspect <MODEL>   Show what a model is: architecture, parameters, tensors, types, and the memory it takes.
              verify <MODEL>    Check a model's numbers on this machine: against expected.safetensors where it lies beside the 
                                model, against itself otherwise. Exit code 1 where a check does not hold.
              logits            Write the logits of every position to a safetensors file: F32 'logits' [T, V], and 'mtp_logits' [T, 
                                V] on request.
              tokenize          Turn text into token ids: one JSON array a line. With --decode, turn ids back into text.
              render            Show the prompt that the model's chat template makes of a conversation.
              quantize <MODEL>  Write a model as DeepSeek's FP8 folder or as a GGUF file that llama.cpp loads, with a report of the 
                                rounding errors.
              bench             Measure prefill and decoding against the memory bandwidth found in the same run; --shape needs no 
                                download, only memory.
              tokenizer         Make tokenizers.
              shards            Turn text into token shards to train on. An interrupted run goes on when the same command is given 
                                again.
              train             Train a model as a recipe says, into a model folder. An interrupted run goes on when the same 
                                command is given again.
              sft               Fine-tune a model on conversations: what the assistant says is learnt, in the model's chat template.
              eval              Evaluate a model on the benchmarks of Table 3 of the DeepSeek-V3 report: perplexity of options, 
                                parsed generations, code run in a sandbox, bits per byte.

            Examples:
              hadal serve
              hadal chat
              hadal verify path/to/model
              hadal inspect path/to/model
              hadal generate --model path/to/model --prompt "The deep sea" --max-new-tokens 32

            """;
        var help = (await CommandLineRun.Hadal("--help")).AssertSucceeded();
        Assert.Equal(Lines(Expected), Lines(help.Out));
    }

    [Fact]
    public async Task TheVersionIsANumber() => Assert.Matches(@"^\d+\.\d+\.\d+\n$", (await CommandLineRun.Hadal("--version")).AssertSucceeded().Out);

    private static IEnumerable<string> Lines(string text) => text.ReplaceLineEndings("\n").TrimEnd('\n').Split('\n').Select(l => l.TrimEnd());
}
