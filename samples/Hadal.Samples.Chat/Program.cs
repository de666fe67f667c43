using Hadal.Inference.Chat;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;

await using var services = new ServiceCollection().AddHadal(path: args is [var path] ? path : "models/hadal-tiny").BuildServiceProvider();
var client = services.GetRequiredService<IChatClient>();
List<ChatMessage> messages = [new(ChatRole.System, "Answer in one sentence."), new(ChatRole.User, "How deep is the hadal zone?")];
var options = new ChatOptions { Temperature = 0.6f, MaxOutputTokens = 100 };
await foreach (var update in client.GetStreamingResponseAsync(messages, options))
{
    foreach (var content in update.Contents)
    {
        if (content is TextReasoningContent thought)
            Console.Write($"({thought.Text})");
        else if (content is TextContent answer)
            Console.Write(answer.Text);
        else if (content is UsageContent { Details: var usage })
            Console.WriteLine($"\n{usage.OutputTokenCount} tokens; {usage.CachedInputTokenCount} of the prompt's {usage.InputTokenCount} were cached");
    }
}
