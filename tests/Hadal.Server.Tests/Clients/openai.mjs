// npm's openai: chat, streams, tools, schemas, logprobs, responses, errors. The first argument is the API's base address.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const model = "random";
const messages = [{ role: "user", content: "Hello" }];
const parameters = { type: "object", properties: { city: { type: "string", maxLength: 12 }, days: { type: "integer", minimum: 1, maximum: 9 } }, required: ["city", "days"], additionalProperties: false };
const tools = [{ type: "function", function: { name: "weather", description: "The weather.", parameters, strict: true } }];
const check = value => assert.ok(typeof value.city === "string" && value.days >= 1 && value.days <= 9, JSON.stringify(value));

assert.equal((await client.models.list()).data[0].id, model);

const whole = await client.chat.completions.create({ model, messages, max_tokens: 12, temperature: 0, logprobs: true, top_logprobs: 2 });
assert.equal(whole.choices[0].logprobs.content[0].top_logprobs.length, 2);

let text = "", usage = null;
for await (const chunk of await client.chat.completions.create({ model, messages, max_tokens: 12, temperature: 0, stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, whole.choices[0].message.content);
assert.equal(usage.completion_tokens, whole.usage.completion_tokens);

// The library's own reader of streams puts calls together by their index.
const stream = client.chat.completions.stream({ model, messages, max_tokens: 400, seed: 7, tools, tool_choice: "required" });
const called = await stream.finalChatCompletion();
assert.equal(called.choices[0].finish_reason, "tool_calls");
for (const call of called.choices[0].message.tool_calls) check(JSON.parse(call.function.arguments));

const named = await client.chat.completions.create({ model, messages, max_tokens: 400, seed: 7, tools, tool_choice: { type: "function", function: { name: "weather" } } });
const answer = named.choices[0].message;
await client.chat.completions.create({ model, messages: [...messages, answer, { role: "tool", tool_call_id: answer.tool_calls[0].id, content: "sunny" }], tools, tool_choice: "none", max_tokens: 4 });

const formed = await client.chat.completions.parse({ model, messages, max_tokens: 400, seed: 7, response_format: { type: "json_schema", json_schema: { name: "weather", strict: true, schema: parameters } } });
check(JSON.parse(formed.choices[0].message.content));

const scored = await client.completions.create({ model, prompt: "The deep sea", max_tokens: 0, echo: true, logprobs: 1 });
assert.equal(scored.choices[0].logprobs.token_logprobs[0], null);

const response = await client.responses.create({ model, input: "Hello", max_output_tokens: 16, temperature: 0 });
let said = "";
for await (const event of await client.responses.create({ model, input: "Hello", max_output_tokens: 16, temperature: 0, stream: true })) {
  if (event.type === "response.output_text.delta") said += event.delta;
}
assert.equal(said, response.output_text);

await assert.rejects(client.chat.completions.create({ model, messages, temperature: 9 }), e => e.status === 400 && e.param === "temperature" && e.code === "decimal_above_max_value");
await assert.rejects(client.chat.completions.create({ model: "other", messages }), e => e.status === 404 && e.code === "model_not_found");
console.log("ok");
