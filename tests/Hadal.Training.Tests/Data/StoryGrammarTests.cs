using Hadal.Training.Data;

namespace Hadal.Training.Tests.Data;

public sealed class StoryGrammarTests
{
    [Fact]
    public void A_story_is_always_the_same_and_no_two_are()
    {
        var stories = Enumerable.Range(0, 2000).Select(i => StoryGrammar.Story(1, i)).ToList();
        Assert.Equal(stories, Enumerable.Range(0, 2000).Select(i => StoryGrammar.Story(1, i)));
        Assert.Equal(2000, stories.Distinct().Count());
        Assert.NotEqual(stories[0], StoryGrammar.Story(2, 0));
    }

    [Fact]
    public void A_story_reads_as_one()
    {
        foreach (var story in Enumerable.Range(0, 500).Select(i => StoryGrammar.Story(3, i)))
        {
            Assert.Equal(4, story.Split("\n\n").Length);
            Assert.Matches("^(One|Late|In|On) [a-z ]+ an? [a-z]+ [a-z]+ named [A-Z][a-z]+ was walking ", story);
            Assert.DoesNotMatch(@"\ba [aeiou]|\ban [^aeiou]|  ", story);
            Assert.Equal(0, story.Count(c => c == '"') % 2);

            // Who it is about comes back at the end, and so does what was lost.
            var hero = story.Split("named ")[1].Split(' ')[0];
            Assert.Contains($"said {hero}. \"Now I know", story);
        }
    }

    [Fact]
    public void A_file_of_stories_is_read_as_documents()
    {
        using var folder = new TempFolder();
        StoryGrammar.Write(folder.File("s.jsonl"), 1, 50);
        Assert.Equal(Enumerable.Range(0, 50).Select(i => StoryGrammar.Story(1, i)), TextFiles.Documents(folder.File("s.jsonl")).Select(d => System.Text.Encoding.UTF8.GetString(d.Utf8.Span)));
    }
}
