using System.CommandLine;
using Hadal.Cli.Terminals;
using Hadal.Training.Recipes;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal train</c>: a training run as a recipe describes it.</summary>
internal static class TrainCommand
{
    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "train",
            "Train a model as a recipe says, into a model folder. An interrupted run goes on when the same command is given again.",
            "hadal train --recipe recipes/stories.jsonc",
            "hadal train --recipe recipes/hadal-tiny.jsonc --set schedule.tokens=20e6 --set run.micro_sequences=4 --output runs/short");
        var recipe = TypedOptions.Required("--recipe", "FILE", "What to train, on what, how: JSON with comments; docs/TRAINING.md lists the keys.");
        var set = new Option<string[]>("--set") { Description = "Change a key of the recipe; may be given several times.", HelpName = "KEY=VALUE" };
        var runs = new RunOptions(command);
        command.Add(recipe);
        command.Add(set);
        command.SetAction((result, cancellation) =>
        {
            var path = result.GetRequiredValue(recipe);
            var settings = result.GetValue(set) ?? [];
            var name = RecipeReader.Read(path, settings).Name;
            return Task.FromResult(runs.Run(result, terminal, RecipeReader.Resolve(path, settings), name, cancellation));
        });
        return command;
    }
}
