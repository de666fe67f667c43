using Hadal.Server.Models;

namespace Hadal.Server.Requests;

/// <summary>Token ids that clients send, held against the vocabulary of the model that is to read them.</summary>
internal static class TokenIds
{
    /// <summary>Ids of an array.</summary>
    /// <exception cref="RequestRejectedException">One of them is no token of the model.</exception>
    public static int[] Known(int[] ids, string path, ServedModel model)
    {
        var beyond = Array.FindIndex(ids, id => id >= model.Vocabulary);
        return beyond < 0 ? ids : throw new RequestRejectedException($"Invalid '{path}': token id {ids[beyond]} at index {beyond} is outside the vocabulary of {model.Vocabulary}.", path, "invalid_value");
    }

    /// <summary>The keys of <c>logit_bias</c>.</summary>
    /// <exception cref="RequestRejectedException">One of them is no token of the model.</exception>
    public static void CheckBiases(SamplingRequest request, ServedModel model)
    {
        foreach (var id in request.LogitBias.Keys)
        {
            if (id >= model.Vocabulary)
                throw new RequestRejectedException($"Invalid key in 'logit_bias': {id}. The model's token ids are below {model.Vocabulary}.", "logit_bias", "invalid_value");
        }
    }
}
