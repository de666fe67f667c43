// A plain chat on the server's own API: what a reader of this page learns works from any other client as well.
const $ = id => document.getElementById(id);
const log = $("log"), text = $("text"), send = $("send"), status = $("status"), model = $("model");
let messages = [];
let running = null;

function headers() {
  const key = sessionStorage.getItem("hadal-key");
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers() });
  if (response.status === 401) {
    $("keys").showModal();
    await new Promise(done => $("keys").addEventListener("close", done, { once: true }));
    sessionStorage.setItem("hadal-key", $("key").value);
    return ask(path, options);
  }
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw new Error(body?.error?.message ?? `status ${response.status}`);
  }
  return response;
}

function bubble(role) {
  const element = document.createElement("div");
  element.className = `message ${role}`;
  log.append(element);
  return element;
}

function part(parent, className) {
  const element = document.createElement("div");
  if (className) element.className = className;
  parent.append(element);
  return element;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const blocks = held.split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter(line => line.startsWith("data: ")).map(line => line.slice(6)).join("\n");
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

async function answer() {
  const element = bubble("assistant");
  const pinned = () => log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  let thought = null, said = null, content = "", usage = null, first = 0;
  const started = performance.now();
  running = new AbortController();
  send.textContent = "Stop";
  try {
    const body = { model: model.value, messages, stream: true, stream_options: { include_usage: true }, thinking: { type: $("thinking").checked ? "enabled" : "disabled" } };
    const response = await ask("v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal: running.signal });
    for await (const chunk of events(response)) {
      if (chunk.error) throw new Error(chunk.error.message);
      usage = chunk.usage ?? usage;
      const delta = chunk.choices?.[0]?.delta;
      if (!delta) continue;
      const follow = pinned();
      if (delta.reasoning_content) (thought ??= part(element, "thought")).append(delta.reasoning_content);
      if (delta.content) {
        (said ??= part(element)).append(delta.content);
        content += delta.content;
      }
      if (!first && (delta.content || delta.reasoning_content)) first = performance.now();
      if (follow) log.scrollTop = log.scrollHeight;
    }
    if (usage) {
      const seconds = (performance.now() - (first || started)) / 1000;
      status.textContent = `${usage.completion_tokens} tokens, ${(usage.completion_tokens / Math.max(seconds, .001)).toFixed(1)} a second; ${usage.prompt_cache_hit_tokens} of the prompt's ${usage.prompt_tokens} were cached`;
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      element.classList.add("error");
      part(element).append(error.message);
    }
  } finally {
    running = null;
    send.textContent = "Send";
  }
  messages.push({ role: "assistant", content });
}

$("form").addEventListener("submit", event => {
  event.preventDefault();
  if (running) return running.abort();
  const said = text.value.trim();
  if (!said || !model.value) return;
  text.value = "";
  messages.push({ role: "user", content: said });
  bubble("user").append(said);
  log.scrollTop = log.scrollHeight;
  answer();
});

text.addEventListener("keydown", event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!running) $("form").requestSubmit();
  }
});

$("new").addEventListener("click", () => {
  running?.abort();
  messages = [];
  log.replaceChildren();
  status.textContent = "";
  text.focus();
});

try {
  const list = await (await ask("v1/models")).json();
  for (const { id } of list.data) model.append(new Option(id, id));
} catch (error) {
  status.textContent = `The models cannot be read: ${error.message}`;
}
