// Cloudflare's own TypeScript SDK as a client of the native API. SCRIPTED_URL is the root of a server that takes any token
// and whose model says what node_project.py scripts; GUARDED_URL that of one that knows the token sk-good.
import assert from "node:assert/strict";
import { test } from "node:test";
import Cloudflare, { AuthenticationError, BadRequestError } from "cloudflare";

const ACCOUNT = "0123456789abcdef0123456789abcdef";
const LLAMA = "@cf/meta/llama-3.1-8b-instruct";
const BGE = "@cf/baai/bge-large-en-v1.5";
const NOISES = { account_id: ACCOUNT, prompt: "Make some robot noises" };

const open = (root, options = {}) =>
  new Cloudflare({ baseURL: `${root}/client/v4`, apiToken: "sk-any", maxRetries: 0, timeout: 30_000, ...options });
const client = open(process.env.SCRIPTED_URL);

async function collect(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

async function refused(call, kind) {
  const error = await call.then(() => assert.fail("answered"), (reason) => reason);
  assert.ok(error instanceof kind, `${error?.constructor?.name}: ${error?.message}`);
  return [error.status, error.errors.map(({ code }) => code)];
}

test("a run gives the result alone, without its envelope", async () => {
  const run = await client.ai.run(LLAMA, NOISES);
  assert.equal(run.response, "beep boop whirr");
  assert.equal(run.usage.total_tokens, run.usage.prompt_tokens + run.usage.completion_tokens);
});

test("embeddings, and a history of the classic form, are runs like any other", async () => {
  const vectors = await client.ai.run(BGE, { account_id: ACCOUNT, text: ["I love matcha", "Ich mag Matcha"] });
  assert.deepEqual(vectors.shape, [2, 1024]);
  assert.deepEqual(vectors.data.map((vector) => vector.length), [1024, 1024]);
  const messages = [
    { role: "user", content: "What is the weather?" },
    { role: "assistant", content: "", tool_calls: [{ name: "get_weather", arguments: { city: "Oslo" } }] },
    { role: "tool", name: "get_weather", content: "4 degrees" },
  ];
  const run = await client.ai.run(LLAMA, { account_id: ACCOUNT, messages });
  assert.equal(run.response, "The tool says 4 degrees");
});

test("a streamed run comes through asResponse as the events that it is", async () => {
  const response = await client.ai.run(LLAMA, { ...NOISES, stream: true }).asResponse();
  assert.match(response.headers.get("content-type"), /^text\/event-stream/);
  const events = (await response.text()).split("\n\n").filter(Boolean).map((event) => event.replace(/^data: /, ""));
  assert.equal(events.pop(), "[DONE]");
  const chunks = events.map((event) => JSON.parse(event));
  assert.equal(chunks.map((chunk) => chunk.response).join(""), "beep boop whirr");
  assert.deepEqual(chunks.filter((chunk) => chunk.usage).map((chunk) => chunk.finish_reason), ["stop"]);
});

test("models come page by page to the last, whatever the size of a page", async () => {
  const paged = await collect(client.ai.models.list({ account_id: ACCOUNT, per_page: 20 }));
  const whole = await client.ai.models.list({ account_id: ACCOUNT, per_page: 1000 });
  assert.ok(paged.length > 60);
  assert.deepEqual(paged.map(({ name }) => name), whole.result.map(({ name }) => name));
  assert.equal(whole.result_info.count, paged.length);
});

test("models are searched by every parameter of the SDK", async () => {
  const search = { author: "baai", task: "Text Embeddings", search: "LARGE", source: 1, hide_experimental: true };
  const found = await collect(client.ai.models.list({ account_id: ACCOUNT, ...search, include_deprecated: true }));
  assert.deepEqual(found.map(({ name }) => name), [BGE]);
  const market = await collect(client.ai.models.list({ account_id: ACCOUNT, format: "openrouter", search: LLAMA }));
  assert.ok(market.every(({ id, pricing }) => id && pricing));
});

test("a model's schema says what it takes and gives", async () => {
  const schema = await client.ai.models.schema.get({ account_id: ACCOUNT, model: LLAMA });
  assert.deepEqual(schema.input.oneOf.map((branch) => branch.required), [["prompt"], ["messages"]]);
  assert.ok(schema.output);
  const unknown = client.ai.models.schema.get({ account_id: ACCOUNT, model: "@cf/no/such" });
  assert.deepEqual(await refused(unknown, BadRequestError), [400, [5007]]);
});

test("authors and tasks are lists", async () => {
  const authors = await collect(client.ai.authors.list({ account_id: ACCOUNT }));
  const tasks = await collect(client.ai.tasks.list({ account_id: ACCOUNT }));
  assert.ok(authors.some(({ name }) => name === "meta"));
  assert.ok(tasks.some(({ name }) => name === "Text Generation"));
});

test("a token is verified for its user and for its account, and the older pair of headers is a token too", async () => {
  for (const good of [{ apiToken: "sk-good" }, { apiToken: null, apiKey: "sk-good", apiEmail: "ada@example.com" }]) {
    const guarded = open(process.env.GUARDED_URL, good);
    assert.equal((await guarded.user.tokens.verify()).status, "active");
    assert.equal((await guarded.accounts.tokens.verify({ account_id: ACCOUNT })).status, "active");
    assert.ok((await guarded.ai.run(LLAMA, NOISES)).response);
  }
  const unknown = open(process.env.GUARDED_URL, { apiToken: "sk-unknown" });
  assert.deepEqual(await refused(unknown.user.tokens.verify(), AuthenticationError), [401, [1000]]);
  assert.deepEqual(await refused(unknown.ai.run(LLAMA, NOISES), AuthenticationError), [401, [10000]]);
});

test("an answer and an error bear the id of their request", async () => {
  const { response } = await client.ai.run(LLAMA, NOISES).withResponse();
  assert.ok(response.headers.get("cf-ai-req-id"));
  const error = await client.ai.run(LLAMA, { ...NOISES, top_k: 51 }).catch((reason) => reason);
  const [{ code, message }] = error.errors;
  assert.equal(code, 5006);
  assert.ok(message.startsWith("AiError: Bad input: Error: top_k: ") && message.endsWith(`(${error.headers.get("cf-ai-req-id")})`));
});
