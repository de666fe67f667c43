// One program, two places for the model: a server somewhere, through OpenAI's library, or this process, through Hadal. Only the line that makes the client differs.
// Usage: SwapIn [MODEL-FOLDER]          the model of this folder, in this process
//        SwapIn http://host/v1 NAME     the model NAME of a server with OpenAI's API (hadal serve, or a cloud's); its key is in OPENAI_API_KEY
using System.ClientModel;
using Hadal.Inference.Chat;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using OpenAI;

var services = new ServiceCollection();
if (args is [var url, var name])
    services.AddSingleton(_ => new OpenAIClient(Key(), new OpenAIClientOptions { Endpoint = new Uri(url) }).GetChatClient(name).AsIChatClient());
else
    services.AddHadal(path: args is [var path] ? path : "models/hadal-tiny");
await using var provider = services.BuildServiceProvider();
var client = provider.GetRequiredService<IChatClient>();
await foreach (var update in client.GetStreamingResponseAsync("How deep is the hadal zone?", new ChatOptions { MaxOutputTokens = 32, Temperature = 0 }))
    Console.Write(update.Text);
Console.WriteLine();

static ApiKeyCredential Key() => new(Environment.GetEnvironmentVariable("OPENAI_API_KEY") is { Length: > 0 } key ? key : "none");
