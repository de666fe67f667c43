using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;

namespace Hadal.Server.Tests;

/// <summary>Requests that are malformed, oversized, slow or foreign, and how they are answered.</summary>
public sealed class RequestTests(RandomModelFolder folder)
{
    private const string User = "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]";

    public static TheoryData<string, string, string, string> Wrong => new()
    {
        { "v1/chat/completions", "{\"messages\":[]}", "model", "missing_required_parameter" },
        { "v1/chat/completions", "{\"model\":5}", "model", "invalid_type" },
        { "v1/chat/completions", "{\"model\":\"random\",\"messages\":{}}", "messages", "invalid_type" },
        { "v1/chat/completions", "{\"model\":\"random\",\"messages\":[5]}", "messages[0]", "invalid_type" },
        { "v1/chat/completions", "{\"model\":\"random\",\"messages\":[{\"role\":\"user\"}]}", "messages[0].content", "missing_required_parameter" },
        { "v1/chat/completions", "{\"model\":\"random\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}", "messages[0].content[0].text", "missing_required_parameter" },
        { "v1/chat/completions", "{\"model\":\"random\",\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}]}", "messages[0].content", "invalid_value" },
        { "v1/chat/completions", "{\"model\":\"random\",\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"prefix\":true},{\"role\":\"user\",\"content\":\"x\"}]}", "messages[0].prefix", "invalid_value" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"temperature\":3}", "temperature", "decimal_above_max_value" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"temperature\":1e999}", "temperature", "invalid_type" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"n\":1.5}", "n", "invalid_type" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"n\":1000}", "n", "integer_above_max_value" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"stop\":[1]}", "stop[0]", "invalid_type" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"stream\":\"yes\"}", "stream", "invalid_type" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"stream_options\":{\"include_usage\":1}}", "stream_options.include_usage", "invalid_type" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"logit_bias\":{\"a\":1}}", "logit_bias", "invalid_value" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"logit_bias\":{\"1\":101}}", "logit_bias.1", "decimal_above_max_value" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"top_logprobs\":2}", "top_logprobs", "invalid_value" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"response_format\":{}}", "response_format.type", "missing_required_parameter" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"response_format\":{\"type\":\"json_schema\"}}", "response_format.json_schema", "missing_required_parameter" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":{\"contains\":{}}}}}", "response_format.json_schema.schema", "invalid_json_schema" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":{\"not\":{}}}}}", "response_format.json_schema.schema", "invalid_json_schema" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"tools\":[{\"type\":\"web\"}]}", "tools[0].type", "invalid_value" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]}", "tools[0].function.name", "invalid_value" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"tools\":[{\"function\":{\"name\":\"a\",\"strict\":true,\"parameters\":{\"type\":\"object\",\"not\":{}}}}]}", "tools", "invalid_json_schema" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"a\"}}}", "tool_choice", "invalid_value" },
        { "v1/completions", "{\"model\":\"random\"}", "prompt", "missing_required_parameter" },
        { "v1/completions", "{\"model\":\"random\",\"prompt\":[[1,\"a\"]]}", "prompt[0][1]", "invalid_type" },
        { "v1/completions", "{\"model\":\"random\",\"prompt\":[5000]}", "prompt", "invalid_value" },
        { "v1/completions", "{\"model\":\"random\",\"prompt\":[1,2147483647],\"max_tokens\":0,\"echo\":true,\"logprobs\":1}", "prompt", "invalid_value" },
        { "v1/completions", "{\"model\":\"random\",\"prompt\":[[1,2],[3,5000]]}", "prompt", "invalid_value" },
        { "v1/completions", "{\"model\":\"random\",\"prompt\":[-1]}", "prompt[0]", "invalid_type" },
        { "v1/completions", "{\"model\":\"random\",\"prompt\":[99999999999]}", "prompt[0]", "invalid_type" },
        { "v1/completions", "{\"model\":\"random\",\"prompt\":\"a\",\"logit_bias\":{\"5000\":1}}", "logit_bias", "invalid_value" },
        { "v1/completions", "{\"model\":\"random\",\"prompt\":\"a\",\"stream\":true,\"logit_bias\":{\"5000\":1}}", "logit_bias", "invalid_value" },
        { "v1/completions", "{\"model\":\"random\",\"prompt\":\"a\",\"logit_bias\":{\"99999999999\":1}}", "logit_bias", "invalid_value" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"logit_bias\":{\"5000\":1}}", "logit_bias", "invalid_value" },
        { "v1/chat/completions", "{\"model\":\"random\"," + User + ",\"stream\":true,\"logit_bias\":{\"-1\":1}}", "logit_bias", "invalid_value" },
        { "v1/completions", "{\"model\":\"random\",\"prompt\":\"a\",\"suffix\":\"b\",\"echo\":true}", "echo", "invalid_value" },
        { "v1/responses", "{\"model\":\"random\",\"input\":[{\"type\":\"image\"}]}", "input[0].type", "invalid_value" },
        { "v1/responses", "{\"model\":\"random\",\"input\":\"x\",\"previous_response_id\":\"r\"}", "previous_response_id", "unsupported_parameter" },
        { "v1/embeddings", "{\"model\":\"random\",\"input\":\"x\"}", "model", "unsupported_model" },
        { "tokenize", "{}", "prompt", "missing_required_parameter" },
        { "detokenize", "{\"tokens\":[-1]}", "tokens[0]", "invalid_type" },
        { "detokenize", "{\"tokens\":[1,5000]}", "tokens", "invalid_value" },
        { "detokenize", "{\"tokens\":[2147483647]}", "tokens", "invalid_value" },
    };

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task WhatIsWrongIsNamed()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        foreach (var (path, body, param, code) in Wrong.Select(row => row.Data))
        {
            var (status, answer) = await server.Post(path, body);
            var error = answer.GetProperty("error");
            Assert.Equal((400, param, code, body), (status, error.GetProperty("param").GetString(), error.GetProperty("code").GetString(), body));
            Assert.Equal("invalid_request_error", error.GetProperty("type").GetString());
        }
    }

    [Theory]
    [InlineData("""{"type":"object","properties":{"a":{"type":"array","contains":{"type":"integer"}}}}""", "the keyword 'contains' is not supported (at #/properties/a)")]
    [InlineData("""{"type":"object","properties":{"tags":{"type":"array","items":{"type":"string"},"uniqueItems":true}}}""", "'uniqueItems' is not supported but for at most 10 values that 'items' names (enum, const, boolean) (at #/properties/tags)")]
    [InlineData("""{"type":"object","properties":{"a":{"type":"string","not":{"pattern":"x"}}}}""", "the opposite of 'pattern' is not supported (at #/properties/a/not/pattern)")]
    public async Task AKeywordThatCannotBeFollowedIsNamedWithItsPlace(string schema, string message)
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        var (status, answer) = await server.Post("v1/chat/completions", "{\"model\":\"random\"," + User + ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":" + schema + "}}}");
        Assert.Equal((400, $"Invalid schema for 'response_format.json_schema.schema': {message}."), (status, answer.GetProperty("error").GetProperty("message").GetString()));
        (status, answer) = await server.Post("v1/chat/completions", "{\"model\":\"random\"," + User + ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"dive\",\"strict\":true,\"parameters\":" + schema + "}}]}");
        Assert.Equal((400, $"Invalid schema for 'tools': function 'dive': {message}."), (status, answer.GetProperty("error").GetProperty("message").GetString()));
    }

    [Fact]
    public async Task KeysAreAskedForAndOthersAreKept()
    {
        await using var server = await RunningServer.OfFolder(folder.Path, o => o with { ApiKeys = ["first", "second"] });
        async Task<int> Get(string path, string? key)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, path);
            if (key is not null)
                request.Headers.TryAddWithoutValidation("Authorization", key);
            using var response = await server.Client.SendAsync(request, Cancellation);
            if (response.StatusCode == HttpStatusCode.Unauthorized)
                Assert.Contains("\"code\":\"invalid_api_key\"", await response.Content.ReadAsStringAsync(Cancellation));
            return (int)response.StatusCode;
        }

        foreach (var path in (string[])["v1/models", "metrics", "v1/models/random"])
        {
            Assert.Equal((401, 401, 401, 401), (await Get(path, null), await Get(path, "Bearer wrong"), await Get(path, "Bearer "), await Get(path, "Basic first")));
            Assert.Equal((200, 200), (await Get(path, "Bearer first"), await Get(path, "bearer second")));
        }

        foreach (var path in (string[])["health", "ready", ""])
            Assert.Equal(200, await Get(path, null));
        var (status, _) = await server.Post("v1/chat/completions", "{}");
        Assert.Equal(401, status);
    }

    [Fact]
    public void AnOpenAddressNeedsKeys()
    {
        HadalServerOptions At(string host) => new() { Listen = new ServerBinding { Host = host, Port = 0 } };
        Assert.Contains("no key is set", Assert.Throws<ArgumentException>(() => HadalServer.Build(At("*"))).Message);
        Assert.Throws<ArgumentException>(() => HadalServer.Build(At("0.0.0.0")));
        Assert.Throws<ArgumentException>(() => HadalServer.Build(At("::")));
        Assert.Throws<ArgumentException>(() => HadalServer.Build(At("nowhere")));
        HadalServer.Build(At("*") with { ApiKeys = ["k"] });
        HadalServer.Build(new HadalServerOptions { Listen = new ServerBinding { Host = "*", Port = 0, AllowOpen = true } });
        HadalServer.Build(At("localhost"));
    }

    [Fact]
    public async Task BrowsersOfOtherSitesGetNothing()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        using (var request = new HttpRequestMessage(HttpMethod.Get, "v1/models") { Headers = { Host = "evil.example" } })
        using (var response = await server.Client.SendAsync(request, Cancellation))
            Assert.Equal(421, (int)response.StatusCode);
        using (var form = new StringContent("{\"model\":\"random\"," + User + "}", Encoding.UTF8, "text/plain"))
        using (var response = await server.Client.PostAsync(new Uri("v1/chat/completions", UriKind.Relative), form, Cancellation))
            Assert.Equal(415, (int)response.StatusCode);
        using (var request = new HttpRequestMessage(HttpMethod.Options, "v1/chat/completions"))
        {
            request.Headers.Add("Origin", "https://evil.example");
            request.Headers.Add("Access-Control-Request-Method", "POST");
            using var response = await server.Client.SendAsync(request, Cancellation);
            Assert.False(response.Headers.Contains("Access-Control-Allow-Origin"));
        }

        await using var open = await RunningServer.OfFolder(folder.Path, o => o with { CorsOrigins = ["https://friend.example"] });
        using (var request = new HttpRequestMessage(HttpMethod.Get, "v1/models"))
        {
            request.Headers.Add("Origin", "https://friend.example");
            using var response = await open.Client.SendAsync(request, Cancellation);
            Assert.Equal("https://friend.example", response.Headers.GetValues("Access-Control-Allow-Origin").Single());
        }
    }

    [Fact]
    public async Task EveryAnswerHasSecurityHeadersAndThePageIsItsOwn()
    {
        await using var server = await RunningServer.OfFolder(folder.Path);
        foreach (var path in (string[])["", "hadal.js", "hadal.css", "hadal.svg", "v1/models", "nowhere"])
        {
            using var response = await server.Client.GetAsync(new Uri(path, UriKind.Relative), Cancellation);
            Assert.StartsWith("default-src 'none'; script-src 'self'", response.Headers.GetValues("Content-Security-Policy").Single());
            Assert.Equal("nosniff", response.Headers.GetValues("X-Content-Type-Options").Single());
            Assert.False(response.Headers.Contains("Server"));
        }

        var page = await server.Client.GetStringAsync(new Uri("", UriKind.Relative), Cancellation);
        var script = await server.Client.GetStringAsync(new Uri("hadal.js", UriKind.Relative), Cancellation);
        Assert.DoesNotContain("http", page + script, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("innerHTML", script);
        Assert.DoesNotMatch("<script>|style=|onclick", page);
    }

    [Fact]
    public async Task WhatIsTooLargeOrTooSlowIsRefused()
    {
        await using var server = await RunningServer.OfFolder(folder.Path, o => o with { MaxBodyBytes = 2000 });
        var (status, answer) = await server.Post("v1/chat/completions", "{\"model\":\"random\",\"x\":\"" + new string('x', 3000) + "\"," + User + "}");
        Assert.Equal((413, "request_too_large"), (status, answer.GetProperty("error").GetProperty("code").GetString()));

        // A body that is cut, HTTP that is none, headers without end: each has its own end, and the server goes on.
        Assert.Contains("400 Bad Request", await Raw(server, "NONSENSE\r\n\r\n"));
        Assert.Contains("431 Request Header Fields Too Large", await Raw(server, $"GET / HTTP/1.1\r\nHost: localhost\r\nX: {new string('x', 40000)}\r\n\r\n"));
        await Raw(server, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"model\"", andLeave: true);
        Assert.Equal(200, (await server.Post("tokenize", "{\"prompt\":\"x\"}")).Status);
    }

    [Fact]
    public async Task TlsTakesACertificateFromAFile()
    {
        using var key = ECDsa.Create();
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        using var certificate = request.CreateSelfSigned(DateTimeOffset.UnixEpoch, new DateTimeOffset(2100, 1, 1, 0, 0, 0, TimeSpan.Zero));
        var (certificateFile, keyFile) = (Path.Combine(folder.Path, "tls.crt"), Path.Combine(folder.Path, "tls.key"));
        await File.WriteAllTextAsync(certificateFile, certificate.ExportCertificatePem(), Cancellation);
        await File.WriteAllTextAsync(keyFile, key.ExportPkcs8PrivateKeyPem(), Cancellation);
        await using var server = await RunningServer.OfFolder(folder.Path, o => o with { Listen = new ServerBinding { CertificateFile = certificateFile, KeyFile = keyFile } });
        Assert.Equal("https", server.Client.BaseAddress!.Scheme);
        using var handler = new SocketsHttpHandler();
        handler.SslOptions.CertificateChainPolicy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck, CustomTrustStore = { certificate } };
        using var client = new HttpClient(handler) { BaseAddress = server.Client.BaseAddress };
        Assert.Contains("ok", await client.GetStringAsync(new Uri("health", UriKind.Relative), Cancellation));
    }

    private static async Task<string> Raw(RunningServer server, string text, bool andLeave = false)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, server.Client.BaseAddress!.Port, Cancellation);
        var stream = client.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes(text), Cancellation);
        if (andLeave)
            return "";
        using var reader = new StreamReader(stream);
        try
        {
            return await reader.ReadToEndAsync(Cancellation).WaitAsync(TimeSpan.FromSeconds(10), Cancellation);
        }
        catch (IOException)
        {
            return "";
        }
    }
}
