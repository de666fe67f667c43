using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using Hadal.Tests;

namespace Hadal.Numerics.Tests.Formats;

/// <summary>The tensors of fixtures/kernels/fp8_gemm.safetensors.</summary>
internal sealed class KernelGoldens
{
    private readonly byte[] file;
    private readonly JsonElement header;
    private readonly int dataStart;

    public KernelGoldens()
    {
        file = File.ReadAllBytes(SharedFiles.Path("fixtures", "kernels", "fp8_gemm.safetensors"));
        dataStart = 8 + (int)BinaryPrimitives.ReadUInt64LittleEndian(file);
        header = JsonSerializer.Deserialize<JsonElement>(file.AsSpan(8, dataStart - 8));
    }

    public int Dimension(string name, int axis) => header.GetProperty(name).GetProperty("shape")[axis].GetInt32();

    public byte[] Codes(string name)
    {
        var offsets = header.GetProperty(name).GetProperty("data_offsets");
        return file[(dataStart + offsets[0].GetInt32())..(dataStart + offsets[1].GetInt32())];
    }

    public float[] Values(string name) => MemoryMarshal.Cast<byte, float>(Codes(name)).ToArray();
}
