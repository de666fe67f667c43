using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Numerics.Tests;

/// <summary>What <see cref="InstructionSetTests"/> switches off is off; elsewhere there is nothing to see.</summary>
public sealed class InstructionSetKnobTests
{
    [Fact]
    public void WhatIsSwitchedOffIsOff()
    {
        if (IsOff("DOTNET_EnableAVX512"))
            Assert.False(Vector512.IsHardwareAccelerated || Avx512F.IsSupported);
        if (IsOff("DOTNET_EnableAVX2"))
            Assert.False(Avx2.IsSupported || Fma.IsSupported);
        if (IsOff("DOTNET_EnableHWIntrinsic"))
            Assert.False(Vector256.IsHardwareAccelerated || Sse41.IsSupported);

        static bool IsOff(string knob) => Environment.GetEnvironmentVariable(knob) == "0";
    }
}
