using System.ClientModel;
using System.Text.Json;
using Hadal.Inference.Chat;
using Microsoft.Extensions.AI;
using OpenAI;
using OpenAI.Chat;
using OpenAI.Models;
using ChatFinishReason = OpenAI.Chat.ChatFinishReason;
using ChatMessage = OpenAI.Chat.ChatMessage;
using ChatResponseFormat = OpenAI.Chat.ChatResponseFormat;

namespace Hadal.Server.Tests.Clients;

/// <summary>OpenAI's own library for .NET, and Microsoft.Extensions.AI on top of it, as their users use them.</summary>
public sealed class DotNetClientTests(RandomModelFolder folder)
{
    private const string Schema = """{"type":"object","properties":{"city":{"type":"string","maxLength":12},"days":{"type":"integer","minimum":1,"maximum":9}},"required":["city","days"],"additionalProperties":false}""";

    private static readonly ChatMessage[] Hello = [new UserChatMessage("Hello")];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ChatStreamingLogprobsAndModels()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        var openai = Client(server);
        OpenAIModelCollection models = await openai.GetOpenAIModelClient().GetModelsAsync(Cancellation);
        Assert.Equal("random", Assert.Single(models).Id);
        var chat = openai.GetChatClient("random");
        var options = new ChatCompletionOptions { MaxOutputTokenCount = 12, Temperature = 0, IncludeLogProbabilities = true, TopLogProbabilityCount = 2 };
        ChatCompletion whole = await chat.CompleteChatAsync(Hello, options, Cancellation);
        Assert.InRange(whole.Usage.OutputTokenCount, 1, 12);
        Assert.NotEmpty(whole.ContentTokenLogProbabilities);
        Assert.Equal(2, whole.ContentTokenLogProbabilities[0].TopLogProbabilities.Count);
        var (text, finish, usage) = ("", (ChatFinishReason?)null, (ChatTokenUsage?)null);
        await foreach (var update in chat.CompleteChatStreamingAsync(Hello, options, Cancellation))
        {
            text += string.Concat(update.ContentUpdate.Select(c => c.Text));
            finish = update.FinishReason ?? finish;
            usage = update.Usage ?? usage;
        }

        Assert.Equal((whole.Content[0].Text, whole.FinishReason, whole.Usage.OutputTokenCount), (text, finish!.Value, usage!.OutputTokenCount));
        Assert.True(usage.InputTokenDetails.CachedTokenCount > 0);
    }

    [Fact]
    public async Task ToolsAndSchemas()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        var chat = Client(server).GetChatClient("random");
        var tool = ChatTool.CreateFunctionTool("weather", "The weather.", BinaryData.FromString(Schema), functionSchemaIsStrict: true);
        var options = new ChatCompletionOptions { MaxOutputTokenCount = 300, Tools = { tool }, ToolChoice = ChatToolChoice.CreateFunctionChoice("weather") };
        ChatCompletion called = await chat.CompleteChatAsync(Hello, options, Cancellation);
        Assert.Equal(ChatFinishReason.ToolCalls, called.FinishReason);
        var call = Assert.Single(called.ToolCalls);
        Assert.InRange(call.FunctionArguments.ToObjectFromJson<JsonElement>().GetProperty("days").GetInt32(), 1, 9);

        // Pieces come with an index each; the library puts them together by it.
        var arguments = new SortedDictionary<int, string>();
        await foreach (var update in chat.CompleteChatStreamingAsync(Hello, options, Cancellation))
        {
            foreach (var piece in update.ToolCallUpdates)
                arguments[piece.Index] = arguments.GetValueOrDefault(piece.Index) + piece.FunctionArgumentsUpdate;
        }

        Assert.All(arguments.Values, a => Assert.InRange(JsonDocument.Parse(a).RootElement.GetProperty("days").GetInt32(), 1, 9));
        ChatCompletion answered = await chat.CompleteChatAsync(
            [.. Hello, new AssistantChatMessage(called), new ToolChatMessage(call.Id, "sunny")], new ChatCompletionOptions { MaxOutputTokenCount = 4, Tools = { tool }, ToolChoice = ChatToolChoice.CreateNoneChoice() }, Cancellation);
        Assert.Empty(answered.ToolCalls);
        ChatCompletion formed = await chat.CompleteChatAsync(
            Hello, new ChatCompletionOptions { MaxOutputTokenCount = 300, ResponseFormat = ChatResponseFormat.CreateJsonSchemaFormat("weather", BinaryData.FromString(Schema), jsonSchemaIsStrict: true) }, Cancellation);
        Assert.InRange(JsonDocument.Parse(formed.Content[0].Text).RootElement.GetProperty("days").GetInt32(), 1, 9);
    }

    [Fact]
    public async Task ErrorsHaveTheirStatus()
    {
        await using var server = await RunningServer.OfFolder(folder.Path, o => o with { ApiKeys = ["right"] });
        var wrong = await Assert.ThrowsAsync<ClientResultException>(async () => await Client(server, "wrong").GetChatClient("random").CompleteChatAsync(Hello, cancellationToken: Cancellation));
        Assert.Equal((401, true), (wrong.Status, wrong.Message.Contains("invalid_api_key", StringComparison.Ordinal)));
        var client = Client(server, "right");
        Assert.Equal(404, (await Assert.ThrowsAsync<ClientResultException>(async () => await client.GetChatClient("other").CompleteChatAsync(Hello, cancellationToken: Cancellation))).Status);
        var hot = await Assert.ThrowsAsync<ClientResultException>(async () => await client.GetChatClient("random").CompleteChatAsync(Hello, new ChatCompletionOptions { Temperature = 9 }, Cancellation));
        Assert.Equal((400, true), (hot.Status, hot.Message.Contains("temperature", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task MicrosoftExtensionsAICallsFunctionsAndReadsSchemas()
    {
        var answer = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"北京\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
        await using var scripted = await RunningServer.OfAnswers(new() { ["m"] = (answer, "deepseek-v3.1") });
        var asked = new List<string>();
        var weather = AIFunctionFactory.Create((string city) => Add(asked, city), "weather", "The weather of a city.");
        using var client = Client(scripted).GetChatClient("m").AsIChatClient().AsBuilder().UseFunctionInvocation(configure: c => c.MaximumIterationsPerRequest = 2).Build();
        await client.GetResponseAsync("Weather?", new ChatOptions { Tools = [weather] }, Cancellation);
        Assert.Equal("北京", asked[0]);
        asked.Clear();
        await foreach (var update in client.GetStreamingResponseAsync("Weather?", new ChatOptions { Tools = [weather] }, Cancellation))
            _ = update;
        Assert.Equal("北京", asked[0]);

        await using var server = await RunningServer.OfFolder(folder.Path);
        using var typed = Client(server).GetChatClient("random").AsIChatClient();
        var forecast = await typed.GetResponseAsync<Forecast>("x", new ChatOptions { MaxOutputTokens = 400 }, cancellationToken: Cancellation);
        Assert.Contains(forecast.Result.Sky, (Sky[])[Sky.Clear, Sky.Cloudy]);

        // The same code on the model itself: what HadalChatClient gives and what the wire gives are one answer.
        using var model = HadalModel.Load(folder.Path, new HadalModelOptions { Threads = 1, Engine = new Inference.Engine.EngineOptions { CacheTokens = 1024 } }, cancellation: Cancellation);
        using var direct = model.CreateChatClient();
        var options = new ChatOptions { MaxOutputTokens = 16, Temperature = 0 };
        Assert.Equal((await direct.GetResponseAsync("Hello", options, Cancellation)).Text, (await typed.GetResponseAsync("Hello", options, Cancellation)).Text);

        static string Add(List<string> list, string city)
        {
            list.Add(city);
            return "sunny";
        }
    }

#pragma warning disable OPENAI001 // The library marks its responses client as experimental.
    [Fact]
    public async Task ResponsesAndTheirStreams()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        var responses = Client(server).GetResponsesClient();
        var options = new OpenAI.Responses.CreateResponseOptions("random", [OpenAI.Responses.ResponseItem.CreateUserMessageItem("Hello")]) { MaxOutputTokenCount = 16, Temperature = 0 };
        OpenAI.Responses.ResponseResult whole = await responses.CreateResponseAsync(options, Cancellation);
        var text = "";
        options = new OpenAI.Responses.CreateResponseOptions("random", [OpenAI.Responses.ResponseItem.CreateUserMessageItem("Hello")]) { MaxOutputTokenCount = 16, Temperature = 0, StreamingEnabled = true };
        await foreach (var update in await responses.CreateResponseStreamingAsync(options, Cancellation))
            text += update is OpenAI.Responses.StreamingResponseOutputTextDeltaUpdate delta ? delta.Delta : "";
        Assert.Equal(whole.GetOutputText(), text);
        Assert.InRange(whole.Usage.OutputTokenCount, 1, 16);
    }
#pragma warning restore OPENAI001

    private static OpenAIClient Client(RunningServer server, string key = "none") => new(new ApiKeyCredential(key), new OpenAIClientOptions { Endpoint = server.Api });

    private enum Sky
    {
        Clear,
        Cloudy,
    }

    private sealed record Forecast(Sky Sky, long Degrees);
}
