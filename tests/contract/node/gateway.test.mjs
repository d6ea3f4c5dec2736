// OpenAI's Node package through the gateway. GATEWAY_URL is a gateway of `lowcloud serve` on scripted models, OUR_TOKEN a
// token of it; `custom-mine` and `openai` are an upstream of OpenAI's real form.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI, { AuthenticationError, BadRequestError } from "openai";

const LLAMA = "@cf/meta/llama-3.1-8b-instruct";
const ASK = [{ role: "user", content: "Make some robot noises" }];
const SAID = "beep boop whirr";

function open(path, apiKey, headers = {}) {
  return new OpenAI({
    baseURL: `${process.env.GATEWAY_URL}/${path}`, apiKey, defaultHeaders: headers, maxRetries: 0, timeout: 60_000,
  });
}

const ours = open("workers-ai/v1", process.env.OUR_TOKEN);
const guarded = { "cf-aig-authorization": `Bearer ${process.env.OUR_TOKEN}` };

async function spoken(stream) {
  let text = "";
  let usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  return { text, usage };
}

test("our own models answer through workers-ai/v1 with our own token", async () => {
  const { data, response } = await ours.chat.completions.create({ model: LLAMA, messages: ASK }).withResponse();
  assert.equal(data.choices[0].message.content, SAID);
  assert.match(response.headers.get("cf-aig-log-id"), /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  const streamed = await spoken(await ours.chat.completions.create({ model: LLAMA, messages: ASK, stream: true }));
  assert.equal(streamed.text, SAID);
  const embedded = await ours.embeddings.create({ model: "@cf/baai/bge-large-en-v1.5", input: "tea" });
  assert.equal(embedded.data[0].embedding.length, 1024);
  assert.equal((await ours.responses.create({ model: LLAMA, input: "hello" })).output_text, SAID);
});

test("compat answers for our models and for other providers, whole and as a stream", async () => {
  const client = open("compat", "sk-openai", guarded);
  for (const model of [`workers-ai/${LLAMA}`, "openai/gpt-4o", "custom-mine/gpt-4o"]) {
    const whole = await client.chat.completions.create({ model, messages: ASK });
    assert.equal(whole.choices[0].message.content, SAID, model);
    const asked = { model, messages: ASK, stream: true, stream_options: { include_usage: true } };
    const { text, usage } = await spoken(await client.chat.completions.create(asked));
    assert.equal(text, SAID, model);
    assert.ok(usage.completion_tokens > 0, model);
  }
});

test("what the gateway refuses is an error of the package", async () => {
  const bad = open("workers-ai/v1", "sk-bad").chat.completions.create({ model: LLAMA, messages: ASK });
  await assert.rejects(bad, AuthenticationError);
  const unknown = open("compat", "x", guarded).chat.completions.create({ model: "nobody/x", messages: ASK });
  await assert.rejects(unknown, BadRequestError);
});
