// workers-ai-provider of the Vercel AI SDK as a client of the native API, by a fetch that rewrites the host. SCRIPTED_URL is
// the root of a server whose model says what node_project.py scripts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { APICallError, embed, embedMany, generateText, Output, rerank, RetryError, stepCountIs, streamText, tool } from "ai";
import { createWorkersAI } from "workers-ai-provider";
import { z } from "zod";

const ACCOUNT = "0123456789abcdef0123456789abcdef";
const LLAMA = "@cf/meta/llama-3.1-8b-instruct";
const GPT_OSS = "@cf/openai/gpt-oss-20b";
const BGE = "@cf/baai/bge-large-en-v1.5";
const NOISES = "Make some robot noises";

const sent = [];
function here(url, init) {
  sent.push(JSON.parse(init.body));
  return fetch(url.replace("https://api.cloudflare.com", process.env.SCRIPTED_URL), init);
}
const workersai = createWorkersAI({ accountId: ACCOUNT, apiKey: "sk-any", fetch: here });
const BOTH = [LLAMA, GPT_OSS]; // the classic shape, and that of chat completions
const ask = (model, options) => ({ model: workersai(model), maxRetries: 0, ...options });

const Person = z.object({
  name: z.string(),
  age: z.number().int(),
  mood: z.enum(["glad", "sad"]),
  nickname: z.string().nullable(),
  places: z.array(z.object({ city: z.string(), years: z.number().int() })),
});
const ADA = { name: "Ada", age: 36, mood: "glad", nickname: null, places: [{ city: "São Paulo", years: 3 }] };

// A tool that keeps what it was called with.
function weather() {
  const calls = [];
  const get_weather = tool({
    description: "The weather of a city.",
    inputSchema: z.object({ city: z.string(), unit: z.enum(["celsius", "fahrenheit"]) }),
    execute: async (place) => (calls.push(place), { city: place.city, degrees: 4 }),
  });
  return { calls, tools: { get_weather } };
}

test("generateText has the text, why it ended and what it used", async () => {
  for (const model of BOTH) {
    const { text, finishReason, usage, warnings } = await generateText(ask(model, { prompt: NOISES }));
    assert.equal(text, "beep boop whirr");
    assert.equal(finishReason, "stop");
    assert.deepEqual([usage.inputTokens > 0, usage.outputTokens], [true, 3]);
    assert.deepEqual(warnings, []);
  }
});

test("settings reach the model, and an answer that they cut ends with length", async () => {
  for (const model of BOTH) {
    const options = { prompt: NOISES, maxOutputTokens: 2, temperature: 0.1, topP: 0.9, seed: 7, instructions: "Be brief." };
    const { text, finishReason } = await generateText(ask(model, options));
    assert.deepEqual([text, finishReason], ["beep boop", "length"]);
    const { messages, max_tokens, temperature, top_p } = sent.at(-1);
    assert.deepEqual([messages[0].role, max_tokens, temperature, top_p], ["system", 2, 0.1, 0.9]);
  }
});

test("streamText streams, and ends with the same as a whole answer", async () => {
  for (const model of BOTH) {
    const stream = streamText(ask(model, { prompt: NOISES }));
    const pieces = [];
    for await (const piece of stream.textStream) pieces.push(piece);
    assert.deepEqual(pieces, ["beep", " boop", " whirr"]);
    assert.equal(await stream.finishReason, "stop");
    assert.equal((await stream.usage).outputTokens, 3);
  }
  assert.equal(sent.at(-1).stream, true, "it was not asked again without a stream");
});

test("the reasoning of a newer model is its reasoning, whole and streamed", async () => {
  const prompt = `${NOISES}, and think`;
  const whole = await generateText(ask(GPT_OSS, { prompt }));
  assert.deepEqual([whole.reasoningText, whole.text], ["Robots beep.", "beep boop whirr"]);
  const stream = streamText(ask(GPT_OSS, { prompt }));
  assert.equal(await stream.text, "beep boop whirr");
  assert.equal(await stream.reasoningText, "Robots beep.");
});

test("a tool is called, its result goes back, and the model says what it was", async () => {
  for (const model of BOTH) {
    const { calls, tools } = weather();
    const options = { prompt: "What is the weather in Oslo?", tools, stopWhen: stepCountIs(3) };
    const { text, steps } = await generateText(ask(model, options));
    assert.deepEqual(calls, [{ city: "Oslo", unit: "celsius" }]);
    assert.equal(text, 'The tool says {"city":"Oslo","degrees":4}');
    assert.deepEqual(steps.map(({ finishReason }) => finishReason), ["tool-calls", "stop"]);
  }
});

test("several streamed calls are told apart, and their results go back in order", async () => {
  for (const model of BOTH) {
    const { calls, tools } = weather();
    const options = { prompt: "What is the weather in two cities?", tools, stopWhen: stepCountIs(3), toolChoice: "auto" };
    const stream = streamText(ask(model, options));
    const text = await stream.text;
    assert.deepEqual(calls.map(({ city }) => city), ["Oslo", "Rome"]);
    assert.match(text, /Oslo.*Rome/s);
    const [asked] = await stream.steps;
    assert.deepEqual([asked.text, asked.finishReason], ["Let me look.", "tool-calls"]);
    assert.equal(new Set(asked.toolCalls.map(({ toolCallId }) => toolCallId)).size, 2);
  }
});

test("a tool can be demanded and named, whole and streamed", async () => {
  for (const model of BOTH) {
    for (const toolChoice of ["required", { type: "tool", toolName: "get_weather" }]) {
      const options = { prompt: "The weather of Oslo.", tools: weather().tools, toolChoice };
      const { toolCalls } = await generateText(ask(model, options));
      assert.deepEqual(toolCalls.map(({ input }) => input.city), ["Oslo"]);
      const streamed = await streamText(ask(model, options)).toolCalls;
      assert.deepEqual(streamed.map(({ input }) => input.city), ["Oslo"]);
    }
  }
});

test("structured output is the object, whole and streamed", async () => {
  for (const model of BOTH) {
    const options = { prompt: "Invent a person.", output: Output.object({ schema: Person, name: "person" }) };
    const { output } = await generateText(ask(model, options));
    assert.deepEqual(output, ADA);
    const { type, json_schema } = sent.at(-1).response_format;
    assert.deepEqual([type, json_schema.title], ["json_schema", "person"]);
    assert.deepEqual(await streamText(ask(model, options)).output, ADA);
  }
});

test("an image reaches a model that sees", async () => {
  const image = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
  const content = [{ type: "text", text: `${NOISES} of this` }, { type: "file", data: image, mediaType: "image/png" }];
  for (const model of BOTH) {
    const { text } = await generateText(ask(model, { messages: [{ role: "user", content }] }));
    assert.equal(text, "beep boop whirr");
  }
});

test("texts are embedded in their order", async () => {
  const model = workersai.textEmbedding(BGE);
  const { embeddings } = await embedMany({ model, values: ["I love matcha", "Ich mag Matcha"] });
  assert.deepEqual(embeddings.map((vector) => vector.length), [1024, 1024]);
  const { embedding } = await embed({ model, value: "Ich mag Matcha" });
  assert.deepEqual(embedding, embeddings[1]);
});

test("documents are ranked, the best first, as texts and as objects", async () => {
  const model = workersai.reranking("@cf/baai/bge-reranker-base");
  const query = "green tea";
  const { ranking } = await rerank({ model, query, documents: ["black coffee", "green tea", "black tea"], topN: 2 });
  assert.deepEqual(ranking.map(({ originalIndex }) => originalIndex), [1, 2]);
  const objects = await rerank({ model, query, documents: [{ of: "coffee" }, { of: "green tea" }] });
  assert.deepEqual(objects.rerankedDocuments[0], { of: "green tea" });
});

test("an error has its status and its number, and says whether it is worth a retry", async () => {
  const bad = await generateText(ask(LLAMA, { prompt: NOISES, temperature: 9 })).catch((reason) => reason);
  assert.ok(APICallError.isInstance(bad), String(bad));
  assert.deepEqual([bad.statusCode, bad.isRetryable, JSON.parse(bad.responseBody).errors[0].code], [400, false, 5006]);
  const broken = await generateText(ask(LLAMA, { prompt: "Please break", maxRetries: 1 })).catch((reason) => reason);
  assert.ok(RetryError.isInstance(broken), String(broken));
  assert.deepEqual(broken.errors.map(({ statusCode }) => statusCode), [500, 500]);
});

test("a stream that breaks is an error, not an answer", async () => {
  for (const model of BOTH) {
    const stream = streamText(ask(model, { prompt: "Please break" }));
    assert.equal(await stream.text, "");
    assert.deepEqual([await stream.finishReason, await stream.rawFinishReason], ["error", "stream-truncated"]);
  }
});
