using System.CommandLine;
using Hadal.Inference.Speculation;

namespace Hadal.Cli.Commands;

/// <summary>The options of speculative decoding.</summary>
internal sealed class DraftOptions
{
    private const int MostDrafts = 16;

    private readonly Option<int?> draft = TypedOptions.Integer("--draft", "Tokens to draft for each step and verify together; the output is the same, often sooner. 0 drafts none. [default: 0]", 0, MostDrafts);
    private readonly Option<DraftSource> source = TypedOptions.Choice(
        "--draft-from", "Where drafts come from: the model's multi-token prediction module, what followed the same tokens before, or whichever of them there is.",
        ("auto", DraftSource.Auto), ("mtp", DraftSource.Mtp), ("lookup", DraftSource.PromptLookup));

    /// <summary>Adds them to a command.</summary>
    public DraftOptions(Command command)
    {
        command.Add(draft);
        command.Add(source);
    }

    /// <summary>What they say; null without drafts.</summary>
    public SpeculationOptions? Read(ParseResult result) =>
        result.GetValue(draft) is > 0 and { } count ? new SpeculationOptions { DraftTokens = count, Source = result.GetValue(source) } : null;
}
