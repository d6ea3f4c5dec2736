// OpenAI's own Node package as a client of `lowcloud dev` with the bundled models. BASE_URL is the server's root.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI, { APIUserAbortError, BadRequestError, NotFoundError } from "openai";

const CHAT = "@local/smollm2-135m-instruct";
const EMBEDDING = "@local/all-minilm-l6-v2";
const ACCOUNT = "0123456789abcdef0123456789abcdef";
const ASK = [{ role: "user", content: "Make some robot noises" }];

function open(base, options = {}) {
  return new OpenAI({ baseURL: `${process.env.BASE_URL}${base}`, apiKey: "anything in dev", maxRetries: 0, timeout: 120_000, ...options });
}

const client = open("/v1");
const length = (vector) => Math.hypot(...vector);

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function refused(call, kind) {
  const error = await call.then(() => assert.fail("answered"), (reason) => reason);
  assert.ok(error instanceof kind, `${error?.constructor?.name}: ${error?.message}`);
  return error;
}

test("a chat completion has an answer, a finish reason, usage and the weights that answered", async () => {
  const reply = await client.chat.completions.create({ model: CHAT, messages: ASK, max_tokens: 16, temperature: 0 });
  assert.equal(reply.object, "chat.completion");
  assert.equal(reply.model, CHAT);
  assert.ok(reply.system_fingerprint);
  const [choice] = reply.choices;
  assert.equal(choice.message.role, "assistant");
  assert.ok(choice.message.content.length > 0);
  assert.equal(choice.message.refusal, null);
  assert.ok(["stop", "length"].includes(choice.finish_reason));
  assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
});

test("the account's base answers like the short one", async () => {
  const ask = { model: CHAT, messages: ASK, max_tokens: 8, temperature: 0 };
  const short = await client.chat.completions.create(ask);
  const long = await open(`/client/v4/accounts/${ACCOUNT}/ai/v1`).chat.completions.create(ask);
  assert.equal(long.choices[0].message.content, short.choices[0].message.content);
});

test("a stream has the role first, one finish a choice, and usage last when asked for", async () => {
  const ask = { model: CHAT, messages: ASK, max_tokens: 16, temperature: 0 };
  const chunks = await collect(await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } }));
  const choices = chunks.flatMap((chunk) => chunk.choices);
  assert.equal(choices[0].delta.role, "assistant");
  assert.ok(choices.every((choice) => choice.index === 0));
  assert.equal(choices.filter((choice) => choice.finish_reason !== null).length, 1);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.completion_tokens > 0);
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  const whole = await client.chat.completions.create(ask);
  assert.equal(choices.map((choice) => choice.delta.content ?? "").join(""), whole.choices[0].message.content);
});

test("the stream helper folds a stream into the answer that a plain call gives", async () => {
  const ask = { model: CHAT, messages: ASK, max_tokens: 16, seed: 7 };
  const folded = await client.chat.completions.stream(ask).finalChatCompletion();
  const whole = await client.chat.completions.create(ask);
  assert.equal(folded.choices[0].message.content, whole.choices[0].message.content);
  assert.equal(folded.choices[0].finish_reason, whole.choices[0].finish_reason);
});

test("a stream that the client aborts ends, and the next call is answered", async () => {
  const stream = await client.chat.completions.create({ model: CHAT, messages: ASK, max_tokens: 2000, stream: true });
  let seen = 0;
  for await (const _ of stream) if (++seen === 3) stream.controller.abort();
  assert.ok(seen >= 3 && seen < 2000);
  const reply = await client.chat.completions.create({ model: CHAT, messages: ASK, max_tokens: 4 });
  assert.equal(reply.choices.length, 1);
});

test("a call that the client aborts is an abort, not an answer", async () => {
  const signal = AbortSignal.timeout(300);
  const ask = { model: CHAT, messages: ASK, max_tokens: 4000, ignore_eos: true };
  await refused(client.chat.completions.create(ask, { signal }), APIUserAbortError);
});

test("choices and log-probabilities come as asked", async () => {
  const ask = { model: CHAT, messages: ASK, max_tokens: 6, temperature: 0, n: 2, logprobs: true, top_logprobs: 3 };
  const reply = await client.chat.completions.create(ask);
  assert.deepEqual(reply.choices.map((choice) => choice.index), [0, 1]);
  for (const { logprobs, message } of reply.choices) {
    assert.equal(logprobs.content.map((token) => token.token).join(""), message.content);
    assert.ok(logprobs.content.every((token) => token.logprob <= 0 && token.top_logprobs.length === 3));
  }
});

test("embeddings travel as base64 by default and equal those sent as numbers", async () => {
  const asked = [];
  const watching = open("/v1", { fetch: (url, init) => (asked.push(JSON.parse(init.body)), fetch(url, init)) });
  const input = ["I love matcha", "Ich mag Matcha"];
  const packed = await watching.embeddings.create({ model: EMBEDDING, input });
  assert.equal(asked[0].encoding_format, "base64");
  const plain = await client.embeddings.create({ model: EMBEDDING, input, encoding_format: "float" });
  assert.deepEqual(packed.data.map((item) => item.index), [0, 1]);
  packed.data.forEach(({ embedding }, index) => {
    assert.equal(embedding.length, 384);
    assert.ok(Math.abs(length(embedding) - 1) < 1e-3);
    embedding.forEach((value, place) => assert.ok(Math.abs(value - plain.data[index].embedding[place]) < 1e-6));
  });
  assert.equal(packed.usage.prompt_tokens, packed.usage.total_tokens);
});

test("an embedding stand-in has the dimension of the model asked for and says so in a header", async () => {
  const call = client.embeddings.create({ model: "@cf/baai/bge-large-en-v1.5", input: "I love matcha" });
  const { data, response } = await call.withResponse();
  assert.equal(data.model, "@cf/baai/bge-large-en-v1.5");
  assert.equal(data.data[0].embedding.length, 1024);
  assert.equal(response.headers.get("lowcloud-stand-in"), EMBEDDING);
});

test("a chat stand-in keeps the id asked for and says so in a header", async () => {
  const ask = { model: "@cf/meta/llama-3.1-8b-instruct", messages: ASK, max_tokens: 4 };
  const { data, response } = await client.chat.completions.create(ask).withResponse();
  assert.equal(data.model, "@cf/meta/llama-3.1-8b-instruct");
  assert.equal(response.headers.get("lowcloud-stand-in"), CHAT);
});

test("models are listed, and retrieved by ids with slashes", async () => {
  const ids = (await collect(client.models.list())).map((model) => model.id);
  for (const id of [CHAT, EMBEDDING, "@cf/meta/llama-3.1-8b-instruct"]) {
    assert.ok(ids.includes(id), id);
    const model = await client.models.retrieve(id);
    assert.equal(model.id, id);
    assert.equal(model.object, "model");
  }
});

test("an unknown model is a NotFoundError that names the field and near names", async () => {
  const error = await refused(client.chat.completions.create({ model: "@local/smollm2", messages: ASK }), NotFoundError);
  assert.deepEqual([error.status, error.code, error.param], [404, "model_not_found", "model"]);
  assert.match(error.message, /smollm2-135m-instruct/);
  const looked = await refused(client.models.retrieve("@cf/nobody/nothing"), NotFoundError);
  assert.equal(looked.code, "model_not_found");
});

test("a bad request is a BadRequestError that names the field", async () => {
  const ask = { model: CHAT, messages: ASK };
  for (const [field, value] of [["max_tokens", 0], ["temperature", "hot"], ["n", 0], ["top_logprobs", 21]]) {
    const error = await refused(client.chat.completions.create({ ...ask, logprobs: true, [field]: value }), BadRequestError);
    assert.deepEqual([error.status, error.param], [400, field]);
    assert.equal(error.type, "invalid_request_error");
  }
});

test("what comes later is refused by name", async () => {
  const audio = { modalities: ["text", "audio"], audio: { voice: "alloy", format: "wav" } };
  const error = await refused(client.chat.completions.create({ model: CHAT, messages: ASK, ...audio }), BadRequestError);
  assert.equal(error.code, "unsupported_parameter");
  assert.match(error.param, /^(modalities|audio)/);
  await refused(client.images.generate({ model: CHAT, prompt: "a robot" }), NotFoundError);
});

test("a prompt longer than the context is a 400 with both counts, streamed or not", async () => {
  const messages = [{ role: "user", content: "word ".repeat(20_000) }];
  for (const stream of [false, true]) {
    const error = await refused(client.chat.completions.create({ model: CHAT, messages, stream }), BadRequestError);
    assert.equal(error.code, "context_length_exceeded");
    assert.match(error.message, /8,?192/);
    assert.match(error.message, /2\d,?\d{3}/);
  }
});
