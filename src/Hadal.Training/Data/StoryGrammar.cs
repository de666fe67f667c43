using System.Text;
using System.Text.Json;

namespace Hadal.Training.Data;

/// <summary>
/// Makes up little stories, so that a first model can be trained without looking for text: somebody wants something, something is in the way, somebody helps. Every story
/// holds together (who, where, what, why), which is what a small model can be seen to learn. Story i of a seed is always the same.
/// </summary>
public static class StoryGrammar
{
    private static readonly (string Kind, string Sound)[] Animals =
    [
        ("fox", "barked"), ("owl", "hooted"), ("frog", "croaked"), ("crab", "clicked"), ("seal", "honked"), ("hare", "squeaked"), ("mole", "mumbled"), ("heron", "called"), ("otter", "whistled"), ("snail", "whispered"),
    ];

    private static readonly string[] Names = ["Mila", "Otto", "Pip", "Runa", "Tam", "Wren", "Bo", "Ines", "Juno", "Kip", "Lark", "Nils", "Oona", "Petra", "Quill", "Sol"];
    private static readonly string[] Moods = ["curious", "shy", "brave", "sleepy", "cheerful", "stubborn", "gentle", "clever"];

    private static readonly (string Place, string Way)[] Places =
    [
        ("by the sea", "along the beach"), ("in the forest", "between the tall trees"), ("on the hill", "up the windy path"), ("at the lake", "through the reeds"), ("in the old mill", "over the creaking stairs"),
        ("near the harbour", "past the sleeping boats"), ("in the valley", "over the stone bridge"),
    ];

    private static readonly (string Thing, string Colour)[] Things =
    [
        ("lantern", "yellow"), ("kite", "red"), ("shell", "white"), ("boat", "blue"), ("drum", "brown"), ("feather", "grey"), ("bell", "golden"), ("map", "old"), ("key", "silver"), ("scarf", "green"),
    ];

    private static readonly string[] Losses = ["fell into the water", "rolled under a heavy stone", "hung high in a tree", "was carried off by the wind", "sank into the soft mud", "lay behind a locked gate"];
    private static readonly string[] Weathers = ["The sun was warm and the sky was clear.", "It was raining softly.", "A thick fog lay over everything.", "The wind blew hard from the north.", "Snow had fallen in the night.", "The first stars were out."];
    private static readonly string[] Times = ["One morning", "One evening", "One day", "Late one night", "In early spring", "On the last day of summer"];
    private static readonly string[] Lessons = ["asking for help is not hard at all", "two can do what one cannot", "a small friend can be a great help", "it is good to try once more", "there is always time to be kind"];
    private static readonly string[] Endings = ["They shared some bread and went home together.", "That night they both slept very well.", "From that day on they were friends.", "And when they met again, they laughed about it."];

    /// <summary>One story.</summary>
    /// <param name="seed">Which stories.</param>
    /// <param name="index">Which of them.</param>
    public static string Story(int seed, long index)
    {
        var draws = new Draws(seed, index);
        var hero = Pick(Animals, ref draws);
        var helper = Pick(Animals, ref draws);
        while (helper.Kind == hero.Kind)
            helper = Pick(Animals, ref draws);
        var name = Pick(Names, ref draws);
        var other = Pick(Names, ref draws);
        while (other == name)
            other = Pick(Names, ref draws);
        var (mood, otherMood) = (Pick(Moods, ref draws), Pick(Moods, ref draws));
        var (place, way) = Pick(Places, ref draws);
        var (thing, colour) = Pick(Things, ref draws);
        var loss = Pick(Losses, ref draws);
        var number = 2 + (int)draws.Below(4);
        var words = new[] { "two", "three", "four", "five" };

        var text = new StringBuilder();
        text.Append($"{Pick(Times, ref draws)} {Article(mood)} {mood} {hero.Kind} named {name} was walking {way}. {Pick(Weathers, ref draws)} ");
        text.Append(draws.Below(2) == 0
            ? $"{name} lived {place} and owned {Article(colour)} {colour} {thing}.\n\n"
            : $"{name} carried {Article(colour)} {colour} {thing}, the finest thing {place}.\n\n");
        text.Append($"But then the {thing} {loss}! \"Oh no,\" {hero.Sound} {name}. \"My {colour} {thing}! What shall I do?\" ");
        text.Append(draws.Below(2) == 0
            ? $"{name} tried {words[number - 2]} times to get it back, but it was no use.\n\n"
            : $"{name} sat down and thought about it for {words[number - 2]} hours.\n\n");
        text.Append($"Soon {Article(otherMood)} {otherMood} {helper.Kind} came by. \"Why are you so sad?\" {helper.Sound} the {helper.Kind}, whose name was {other}. ");
        text.Append($"\"Because my {thing} {loss},\" said {name}. \"I will help you,\" said {other}. {How(loss, other)} ");
        text.Append($"And there it was: the {colour} {thing}!\n\n");
        text.Append($"\"Thank you, {other},\" said {name}. \"Now I know that {Pick(Lessons, ref draws)}.\" {Pick(Endings, ref draws)}\n");
        return text.ToString();
    }

    /// <summary>Writes stories as a .jsonl file, beside its place and then renamed; leaves a file alone that is there.</summary>
    public static void Write(string path, int seed, int count)
    {
        if (File.Exists(path))
            return;
        var beside = path + ".partial";
        using (var writer = new StreamWriter(beside))
        {
            for (var i = 0; i < count; i++)
                writer.Write($"{{\"text\":{JsonSerializer.Serialize(Story(seed, i))}}}\n");
        }

        File.Move(beside, path, overwrite: true);
    }

    // The way out fits the trouble.
    private static string How(string loss, string helper) => loss switch
    {
        "fell into the water" => $"{helper} dived in without a splash.",
        "rolled under a heavy stone" => $"{helper} pushed the stone aside with a long stick.",
        "hung high in a tree" => $"{helper} climbed up, branch by branch.",
        "was carried off by the wind" => $"{helper} ran after the wind as fast as an arrow.",
        "sank into the soft mud" => $"{helper} dug with both paws.",
        _ => $"{helper} knew a little hole in the gate.",
    };

    private static string Article(string word) => "aeiou".Contains(word[0]) ? "an" : "a";

    private static T Pick<T>(T[] from, ref Draws draws) => from[draws.Below(from.Length)];
}
