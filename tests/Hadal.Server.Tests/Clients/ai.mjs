// npm's ai with @ai-sdk/openai-compatible: text, streams, tools, objects, errors. The first argument is the API's base address.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, Output, streamText, tool } from "ai";

const provider = createOpenAICompatible({ name: "hadal", baseURL: process.argv[2], includeUsage: true, supportsStructuredOutputs: true });
const model = provider("random");
const schema = jsonSchema({ type: "object", properties: { city: { type: "string", maxLength: 12 }, days: { type: "integer", minimum: 1, maximum: 9 } }, required: ["city", "days"], additionalProperties: false });
const check = value => assert.ok(typeof value.city === "string" && value.days >= 1 && value.days <= 9, JSON.stringify(value));

const whole = await generateText({ model, prompt: "Hello", maxOutputTokens: 12, temperature: 0 });
assert.ok(whole.usage.outputTokens > 0 && whole.usage.outputTokens <= 12);

const stream = streamText({ model, prompt: "Hello", maxOutputTokens: 12, temperature: 0 });
let text = "";
for await (const piece of stream.textStream) text += piece;
assert.equal(text, whole.text);
assert.equal((await stream.usage).outputTokens, whole.usage.outputTokens);

const asked = [];
const tools = { weather: tool({ description: "The weather.", inputSchema: schema, execute: async input => { asked.push(input); return "sunny"; } }) };
await generateText({ model, prompt: "Weather?", tools, toolChoice: { type: "tool", toolName: "weather" }, maxOutputTokens: 400 });
const calling = streamText({ model, prompt: "Weather?", tools, toolChoice: { type: "tool", toolName: "weather" }, maxOutputTokens: 400 });
const kinds = new Set();
for await (const part of calling.fullStream) kinds.add(part.type);
assert.ok(kinds.has("tool-input-delta") && kinds.has("tool-call") && kinds.has("tool-result"), [...kinds].join());
assert.ok(asked.length >= 2);
asked.forEach(check);
const required = await generateText({ model, prompt: "Weather?", tools: { weather: tool({ inputSchema: schema }) }, toolChoice: "required", maxOutputTokens: 400 });
assert.ok(required.toolCalls.length >= 1);
required.toolCalls.forEach(call => check(call.input));

check((await generateText({ model, prompt: "Weather as JSON", output: Output.object({ schema }), maxOutputTokens: 400 })).output);

await assert.rejects(generateText({ model: provider("other"), prompt: "x", maxRetries: 0 }), e => e.statusCode === 404 && e.message.includes("does not exist"));
console.log("ok");
