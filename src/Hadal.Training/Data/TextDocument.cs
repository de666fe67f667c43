namespace Hadal.Training.Data;

/// <summary>One document of a corpus.</summary>
/// <param name="File">The file it is from.</param>
/// <param name="Number">Its line or row there, from 1; 1 for a file that is one document.</param>
/// <param name="Utf8">Its text, well-formed UTF-8. The memory is the document's own.</param>
public readonly record struct TextDocument(string File, long Number, ReadOnlyMemory<byte> Utf8);

/// <summary>Documents that are worked on together, about a megabyte of them.</summary>
/// <param name="Documents">In the order of the files.</param>
/// <param name="FileBytesRead">Bytes of all files, as they lie on disk, read up to here: for progress.</param>
internal sealed record DocumentBlock(IReadOnlyList<TextDocument> Documents, long FileBytesRead);
