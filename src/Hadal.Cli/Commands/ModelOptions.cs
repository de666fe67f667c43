using System.CommandLine;
using Hadal.Checkpoints.Config;
using Hadal.Cli.Terminals;
using Hadal.Inference.Model;
using Hadal.Numerics.Formats;
using Hadal.Numerics.Kernels;

namespace Hadal.Cli.Commands;

/// <summary>Where a model is named on the command line.</summary>
internal enum ModelPlace
{
    /// <summary>The first argument.</summary>
    Argument,

    /// <summary>The option <c>--model</c>.</summary>
    Option,

    /// <summary>The option <c>--model</c>, and the model that comes with hadal without it.</summary>
    OptionOrBundled,
}

/// <summary>The model of a command, and the options that say how it is run.</summary>
internal sealed class ModelOptions
{
    private const string Repacking =
        "weights of integer types are copied at load into an order that is multiplied faster, on processors with AVX2, if there is memory for it, and others into huge pages where the system has enough; no influence on the result.";

    private const string Where = "A model folder (config.json and *.safetensors) or a .gguf file.";

    private readonly Argument<string> argument = new("MODEL") { Description = Where };
    private readonly Option<string?> option = TypedOptions.Text("--model", "MODEL", Where);
    private readonly Option<int?> threads = TypedOptions.Integer("--threads", "Threads to compute with; no influence on the result. [default: all processors]", 1, 1024);
    private readonly Option<bool> dropMtp = TypedOptions.Flag("--drop-mtp", "Leave the multi-token prediction modules out; the main model is the same bit for bit.");

    private readonly Option<AttentionForm> attention = TypedOptions.Choice(
        "--attention", "Form of latent attention.", ("absorb", AttentionForm.Absorb), ("naive", AttentionForm.Naive));

    private readonly Option<CacheFormat> cacheType = CacheTypes();

    private readonly Option<MtpInput> mtpInput = TypedOptions.Choice(
        "--mtp-input", "State that the MTP module reads.", ("after-norm", MtpInput.AfterFinalNorm), ("before-norm", MtpInput.BeforeFinalNorm));

    private readonly Option<bool> repack = Repack();
    private readonly Option<bool> noRepack = NoRepack();
    private readonly ModelPlace place;
    private Option<ActivationPrecision?>? activations;
    private ActivationPrecision usualActivations;
    private bool repacksUnasked;

    /// <summary>The options of a command that reads a model's files but does not run it.</summary>
    public ModelOptions(Command command, ModelPlace place)
    {
        this.place = place;
        if (place == ModelPlace.Argument)
        {
            argument.Validators.Add(UsageErrors.RefuseOptionNames);
            command.Add(argument);
            return;
        }

        option.Required = place == ModelPlace.Option;
        if (place == ModelPlace.OptionOrBundled)
            option.Description = $"{Where} [default: hadal-tiny, which comes with hadal]";
        command.Add(option);
    }

    /// <summary>Adds the number of threads.</summary>
    public ModelOptions Threading(Command command)
    {
        command.Add(threads);
        return this;
    }

    /// <summary>Adds what concerns models that are run.</summary>
    public ModelOptions Running(Command command)
    {
        Threading(command);
        command.Add(dropMtp);
        return this;
    }

    /// <summary>Adds the choices of arithmetic.</summary>
    /// <param name="command">What they are added to.</param>
    /// <param name="usual">Precision of activations where none is asked for.</param>
    /// <param name="staysLong">Whether the command computes for so long that repacking weights at load pays without being asked for.</param>
    public ModelOptions Arithmetic(Command command, ActivationPrecision usual = ActivationPrecision.Int8, bool staysLong = true)
    {
        (activations, usualActivations, repacksUnasked) = (ActivationPrecisions(usual), usual, staysLong);
        command.Add(attention);
        command.Add(activations);
        command.Add(staysLong ? noRepack : repack);
        return this;
    }

    /// <summary>Adds the choice of how the cache is stored.</summary>
    public ModelOptions CacheType(Command command)
    {
        command.Add(cacheType);
        return this;
    }

    /// <summary>Adds the choice of the MTP module's input.</summary>
    public ModelOptions MtpState(Command command)
    {
        command.Add(mtpInput);
        return this;
    }

    /// <summary>The path that was named.</summary>
    public string Path(ParseResult result, Terminal terminal) =>
        place == ModelPlace.Argument ? result.GetRequiredValue(argument) : result.GetValue(option) ?? BundledModel.Path(terminal);

    /// <summary>Opens the model to be run.</summary>
    /// <param name="result">The command line.</param>
    /// <param name="terminal">Where notices go.</param>
    /// <param name="cacheTokens">Tokens of cache to reckon with, given the model's context.</param>
    /// <param name="cancellation">Ends the work early.</param>
    public LoadedModel Load(ParseResult result, Terminal terminal, Func<ModelConfig, int> cacheTokens, CancellationToken cancellation) =>
        Load(Path(result, terminal), result, terminal, cacheTokens, cancellation);

    /// <summary>Opens the model, its path already known.</summary>
    public LoadedModel Load(string path, ParseResult result, Terminal terminal, Func<ModelConfig, int> cacheTokens, CancellationToken cancellation)
    {
        SayWhatIsMissing(Forward(result).Activations, terminal);
        var repacks = Forward(result).HasIntegerActivations && (repacksUnasked ? !result.GetValue(noRepack) : result.GetValue(repack));
        return LoadedModel.Open(path, cacheTokens, result.GetValue(cacheType), result.GetValue(threads), result.GetValue(dropMtp), terminal, repacks, cancellation);
    }

    /// <summary>Says where this processor computes with more precision, and slower, than was asked for.</summary>
    public static void SayWhatIsMissing(ActivationPrecision asked, Terminal terminal)
    {
        if (asked == ActivationPrecision.BF16 && !BfloatMatMul.Has(WeightFormat.F8_E4M3))
            terminal.Notice($"this processor has no bfloat16 products with {(BfloatMatMul.Has(WeightFormat.BF16) ? "FP8" : "BF16 and FP8")} weights: they are multiplied with fp32 activations");
    }

    /// <summary>The threads that were asked for, or null for all processors.</summary>
    public int? Threads(ParseResult result) => result.GetValue(threads);

    /// <summary>The arithmetic that was asked for.</summary>
    public ForwardOptions Forward(ParseResult result) => new()
    {
        Attention = result.GetValue(attention),
        Activations = (activations is null ? null : result.GetValue(activations)) ?? usualActivations,
        Cache = result.GetValue(cacheType),
        MtpInput = result.GetValue(mtpInput),
    };

    /// <summary>The option that says what linear layers multiply with.</summary>
    /// <param name="usual">What is taken without it.</param>
    public static Option<ActivationPrecision?> ActivationPrecisions(ActivationPrecision usual) => TypedOptions.OneOf<ActivationPrecision?>(
        "--activations",
        "Precision of activations: int8 for weights of GGUF's integer types, several times as fast; other weights are multiplied in fp32; bf16 is int8, and bfloat16 for BF16 and FP8 weights where the processor multiplies it, up to twice as fast as fp32; fp8 is W8A8 for FP8 models, as DeepSeek's GPU code computes it. "
        + $"[default: {(usual == ActivationPrecision.Int8 ? "int8" : "fp32")}]",
        ("int8", ActivationPrecision.Int8), ("fp32", ActivationPrecision.F32), ("bf16", ActivationPrecision.BF16), ("fp8", ActivationPrecision.Fp8));

    /// <summary>The option that leaves weights in the order of the file.</summary>
    public static Option<bool> NoRepack() => TypedOptions.Flag(
        "--no-repack", $"Use weights as they lie in the file. Without it, {Repacking}");

    private static Option<bool> Repack() => TypedOptions.Flag("--repack", $"Before the first token, {Repacking} Pays for long answers.");

    /// <summary>The option that says how the cache is stored.</summary>
    public static Option<CacheFormat> CacheTypes() => TypedOptions.Choice(
        "--cache-type", "How attention's cache is stored: bf16 halves it, q8 (8-bit integers with a scale for each 64 values) halves that again. With both, attention is multiplied in bfloat16 on processors that do so by themselves: long prompts take less time.",
        ("f32", CacheFormat.F32), ("bf16", CacheFormat.BF16), ("q8", CacheFormat.Q8));
}
