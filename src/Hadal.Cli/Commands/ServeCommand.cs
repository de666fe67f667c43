using System.CommandLine;
using Hadal.Checkpoints.Chat;
using Hadal.Cli.Terminals;
using Hadal.Inference.Engine;
using Hadal.Inference.Model;
using Hadal.Server;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Hadal.Cli.Commands;

/// <summary><c>hadal serve</c>: models as a service with OpenAI's API, and a chat page.</summary>
internal static class ServeCommand
{
    /// <summary>Describes the command.</summary>
    public static Command Create(Terminal terminal)
    {
        var command = new CommandWithExamples(
            "serve",
            "Serve models with OpenAI's API and a chat page, on this machine only unless told otherwise.",
            "hadal serve",
            "hadal serve --model path/to/model --port 8000",
            "hadal serve --model small=path/to/model.gguf --model large=path/to/other --context 16384",
            "hadal serve --config appsettings.json");
        var models = new Option<string[]>("--model")
        {
            Description = "A model folder or a .gguf file, with NAME= before it for another name than its own; may be given several times. [default: hadal-tiny, which comes with hadal]",
            HelpName = "MODEL",
            AllowMultipleArgumentsPerToken = false,
            DefaultValueFactory = _ => [],
        };
        var config = TypedOptions.Text("--config", "FILE", $"Settings as JSON, section {HadalServerOptions.Section}; flags go before them. [default: {ServerConfiguration.DefaultFile} where there is one]");
        var host = TypedOptions.Text("--host", "ADDRESS", "Address to listen on; * for all. One that others can reach needs keys. [default: 127.0.0.1]");
        var port = TypedOptions.Integer("--port", "Port to listen on; 0 takes a free one. [default: 8080]", 0, ushort.MaxValue);
        var open = TypedOptions.Flag("--allow-open", "Listen on an address that others can reach without asking for keys.");
        var certificate = TypedOptions.Text("--tls-certificate", "FILE", "Certificate in PEM; the service is HTTPS then.");
        var key = TypedOptions.Text("--tls-key", "FILE", "The certificate's key in PEM, where it is not in the same file.");
        var context = TypedOptions.Integer("--context", "Tokens of cache that the requests on a model share, and the most one of them may have. [default: the model's context, at most 16384]", 64);
        var parallel = TypedOptions.Integer("--parallel", "Requests computed together; more wait. [default: 32]", 1, 4096);
        var template = TypedOptions.OneOf<string?>("--chat-template", "The prompt format. [default: the model's own]", [.. ChatTemplates.All.Select(t => (t.Name, (string?)t.Name))]);
        template.HelpName = "NAME";
        var threads = TypedOptions.Integer("--threads", "Threads to compute with; no influence on the result. [default: all processors]", 1, 1024);
        var activations = ModelOptions.ActivationPrecisions(ActivationPrecision.Int8);
        var cache = ModelOptions.CacheTypes();
        var noRepack = ModelOptions.NoRepack();
        var prefixes = TypedOptions.Text("--prefix-cache", "FOLDER", "Keep the prefix cache in this folder from one run to the next, a file for each model, so that conversations are found again. The files hold what was said.");
        foreach (var option in (Option[])[models, config, host, port, open, certificate, key, context, parallel, template, threads, activations, cache, noRepack, prefixes])
            command.Add(option);
        var drafts = new DraftOptions(command);
        command.SetAction(async (result, cancellation) =>
        {
            var settings = ServerConfiguration.Read(result.GetValue(config));
            LocalModelOptions Model(string text)
            {
                var at = text.IndexOf('=', StringComparison.Ordinal);
                var defaults = new LocalModelOptions();
                return defaults with
                {
                    Name = at > 0 ? text[..at] : "",
                    Path = text[(at + 1)..],
                    ChatTemplate = result.GetValue(template),
                    CacheTokens = result.GetValue(context),
                    MaxSequences = result.GetValue(parallel) ?? defaults.MaxSequences,
                    Run = defaults.Run with
                    {
                        Threads = result.GetValue(threads),
                        Repack = !result.GetValue(noRepack),
                        PrefixCacheFolder = result.GetValue(prefixes),
                        Engine = new EngineOptions { Speculation = drafts.Read(result), Forward = new ForwardOptions { Activations = result.GetValue(activations) ?? ActivationPrecision.Int8, Cache = result.GetValue(cache) } },
                    },
                };
            }

            ModelOptions.SayWhatIsMissing(result.GetValue(activations) ?? ActivationPrecision.Int8, terminal);
            var named = result.GetValue(models)!.Select(Model).ToList();
            if (named.Count == 0 && settings.Models.Count == 0 && settings.Upstreams.Count == 0)
                named.Add(Model($"{BundledModel.Name}={BundledModel.Path(terminal)}"));
            settings = settings with
            {
                // The first model is what most clients will use: it is there before they come.
                Models = [.. named.Select((m, i) => m with { Resident = i == 0 }), .. settings.Models],
                Listen = settings.Listen with
                {
                    Host = result.GetValue(host) ?? settings.Listen.Host,
                    Port = result.GetValue(port) ?? settings.Listen.Port,
                    AllowOpen = result.GetValue(open) || settings.Listen.AllowOpen,
                    CertificateFile = result.GetValue(certificate) ?? settings.Listen.CertificateFile,
                    KeyFile = result.GetValue(key) ?? settings.Listen.KeyFile,
                },
            };
            await RunAsync(settings, terminal, cancellation);
            return ExitCode.Success;
        });
        return command;
    }

    private static async Task RunAsync(HadalServerOptions settings, Terminal terminal, CancellationToken cancellation)
    {
        WebApplication app;
        try
        {
            app = HadalServer.Build(settings, builder => builder.Logging.AddProvider(new TerminalLog(terminal, TimeProvider.System)));
        }
        catch (ArgumentException wrong)
        {
            throw new CommandException(wrong.Message, $"set keys in {ServerConfiguration.KeysVariable} (or ApiKeys in the settings), listen on 127.0.0.1, or say --allow-open");
        }

        await using (app)
        {
            await app.StartAsync(cancellation);
            var url = app.Urls.First();
            terminal.Notice($"{string.Join(", ", HadalServer.ModelNames(app))}: chat at {url}, API at {url}/v1; Ctrl-C stops");
            try
            {
                await Task.Delay(Timeout.Infinite, CancellationTokenSource.CreateLinkedTokenSource(cancellation, app.Lifetime.ApplicationStopping).Token);
            }
            catch (OperationCanceledException)
            {
                terminal.Notice("stopping: running requests may finish");
            }

            await app.StopAsync(CancellationToken.None);
        }
    }
}
