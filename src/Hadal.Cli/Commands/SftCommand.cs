using System.CommandLine;
using System.Text.Json.Nodes;
using Hadal.Checkpoints;
using Hadal.Cli.Terminals;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal sft</c>: fine-tunes a model on conversations.</summary>
internal static class SftCommand
{
    private const int DefaultSequence = 512;
    private const int DefaultBatch = 16;
    private const double DefaultRate = 1e-4;
    private const double DefaultTextShare = 0.5;

    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "sft",
            "Fine-tune a model on conversations: what the assistant says is learnt, in the model's chat template.",
            "hadal sft --model runs/stories/model --data chats.jsonl",
            "hadal sft --model runs/hadal-tiny/model --data chats.jsonl --text runs/hadal-tiny-data/shards",
            "hadal sft --model path/to/model --data a.jsonl b.jsonl --valid held-out.jsonl --epochs 2 --learning-rate 1e-5 --output runs/chat");
        var model = TypedOptions.Required("--model", "MODEL", "The model folder to begin with; it needs a tokenizer that has a chat template.");
        var data = TextInput.Files("--data", "Conversations, .jsonl (also .zst, .gz): an object a line with messages, or with instruction, input and output, or with a text of lines \"User: …\" and \"Assistant: …\".");
        data.Required = true;
        var valid = TextInput.Files("--valid", "Conversations to measure the loss on, never learnt.");
        var text = TypedOptions.Text("--text", "SHARDS", "Text of pre-training to go on reading beside the conversations, so that it is not forgotten: a folder that 'hadal shards' wrote.");
        var share = TypedOptions.Number("--text-share", "Share of sequences that are text. [default: 0.5 with --text]", x => x is > 0 and < 1, "a number above 0 and below 1");
        var epochs = TypedOptions.Number("--epochs", "How often to go through the data. [default: 2]", x => x is > 0 and <= 1e6, "a number above 0");
        var rate = TypedOptions.Number("--learning-rate", "Learning rate at the beginning; it falls to a fifth along a cosine, as in DeepSeek-V3's fine-tuning. [default: 1e-4]", x => x is > 0 and <= 1, "a number above 0, at most 1");
        var batch = TypedOptions.Integer("--batch", "Sequences of a step. [default: 16]", 1, 1 << 20);
        var length = TypedOptions.Integer("--sequence-length", "Tokens of a sequence; conversations are packed into it, longer ones lose their end. [default: 512, at most the model's context]", 2, 1 << 20);
        var set = new Option<string[]>("--set") { Description = "Change a key of the recipe that these options make; may be given several times.", HelpName = "KEY=VALUE" };
        foreach (var option in new Option[] { model, data, valid, text, share, epochs, rate, batch, length })
            command.Add(option);
        var runs = new TrainingRunOptions(command);
        command.Add(set);
        command.SetAction((result, cancellation) =>
        {
            var path = result.GetRequiredValue(model);
            var name = $"{Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)))}-sft";
            using var checkpoint = Checkpoint.Open(path);
            var sequences = result.GetValue(batch) ?? DefaultBatch;
            var peak = result.GetValue(rate) ?? DefaultRate;
            var recipe = new JsonObject
            {
                ["name"] = name,
                ["start_from"] = path,
                ["data"] = new JsonObject
                {
                    ["sources"] = new JsonArray(new JsonObject { ["chats"] = Strings(result.GetRequiredValue(data)) }),
                    ["sequence_length"] = result.GetValue(length) ?? Math.Min(DefaultSequence, checkpoint.Config.MaxPositionEmbeddings),
                },
                ["schedule"] = new JsonObject
                {
                    ["epochs"] = result.GetValue(epochs) ?? 2,
                    ["learning_rate"] = new JsonObject { ["stages"] = new JsonArray(new JsonObject { ["value"] = peak, ["cosine_to"] = peak / 5 }) },
                    ["sequences"] = sequences,
                    ["bias_update_speed"] = 0,
                    ["mtp_lambda"] = 0.1,
                },
                ["run"] = new JsonObject { ["micro_sequences"] = Math.Min(sequences, 8), ["checkpoint_steps"] = 100, ["validation_steps"] = 50 },
            };
            if (result.GetValue(text) is { } shards)
            {
                recipe["data"]!["sources"]!.AsArray().Add(new JsonObject { ["shards"] = shards });
                recipe["data"]!["text_share"] = result.GetValue(share) ?? DefaultTextShare;
            }

            if (result.GetValue(valid) is { Length: > 0 } held)
                recipe["data"]!["validation"] = new JsonObject { ["chats"] = Strings(held) };
            return Task.FromResult(runs.Run(result, terminal, TrainingRunOptions.Resolve(recipe, result.GetValue(set) ?? []), name, cancellation));
        });
        return command;
    }

    private static JsonArray Strings(string[] values) => new([.. values.Select(v => (JsonNode)v)]);
}
