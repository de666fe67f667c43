using System.Collections.Concurrent;
using System.Diagnostics.Tracing;
using System.Net;

namespace Hadal.Server.Tests;

/// <summary>Sees every address that this process connects to, and every name it looks up.</summary>
internal sealed class ConnectionWatcher : EventListener
{
    public ConcurrentBag<string> Connections { get; } = [];

    protected override void OnEventSourceCreated(EventSource eventSource)
    {
        if (eventSource.Name is "System.Net.Sockets" or "System.Net.NameResolution")
            EnableEvents(eventSource, EventLevel.Informational);
    }

    protected override void OnEventWritten(EventWrittenEventArgs eventData)
    {
        // Addresses are written with brackets and the bytes of the socket's own form: SocketAddress.ToString.
        if (eventData.EventName == "ConnectStart")
            Connections?.Add(Readable($"{eventData.Payload?[0]}"));
        else if (eventData.EventName == "ResolutionStart")
            Connections?.Add($"name {eventData.Payload?[0]}");
    }

    // Family:size:{bytes}: port, for IPv6 flow, then the address.
    private static string Readable(string address)
    {
        var bytes = address[(address.IndexOf('{') + 1)..].TrimEnd('}').Split(',').Select(byte.Parse).ToArray();
        return address.StartsWith("InterNetworkV6:", StringComparison.Ordinal) ? new IPAddress(bytes[6..22]).MapToIPv4().ToString()
            : address.StartsWith("InterNetwork:", StringComparison.Ordinal) ? new IPAddress(bytes[2..6]).ToString() : address;
    }
}
