// The Vercel AI SDK with @ai-sdk/openai, whose default is the Responses API. SCRIPTED_URL is the root of a server whose
// model says what node_project.py scripts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const LLAMA = "@cf/meta/llama-3.1-8b-instruct";
const NOISES = "Make some robot noises";
const ROUTE = "/v1/responses";

const sent = [];
function noted(url, init) {
  sent.push({ path: new URL(url).pathname, body: JSON.parse(init.body) });
  return fetch(url, init);
}
const openai = createOpenAI({ baseURL: `${process.env.SCRIPTED_URL}/v1`, apiKey: "any", fetch: noted });
const ask = (options) => ({ model: openai(LLAMA), maxRetries: 0, ...options });

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

test("the default model of @ai-sdk/openai asks for a response and has its text and usage", async () => {
  const { text, finishReason, usage, warnings } = await generateText(ask({ prompt: NOISES, temperature: 0.1, maxOutputTokens: 64 }));
  assert.deepEqual([text, finishReason, warnings], ["beep boop whirr", "stop", []]);
  assert.deepEqual([usage.inputTokens > 0, usage.outputTokens], [true, 3]);
  assert.deepEqual([sent.at(-1).path, sent.at(-1).body.max_output_tokens], [ROUTE, 64]);
});

test("streamText of @ai-sdk/openai streams, and an answer that its bound cuts ends with length", async () => {
  const stream = streamText(ask({ prompt: NOISES }));
  const pieces = [];
  for await (const piece of stream.textStream) pieces.push(piece);
  assert.deepEqual(pieces, ["beep", " boop", " whirr"]);
  assert.deepEqual([await stream.finishReason, (await stream.usage).outputTokens], ["stop", 3]);
  const cut = streamText(ask({ prompt: NOISES, maxOutputTokens: 2 }));
  assert.deepEqual([await cut.text, await cut.finishReason], ["beep boop", "length"]);
});

test("a tool loop of @ai-sdk/openai sends the call and its output back, whole and streamed", async () => {
  for (const run of [generateText, streamText]) {
    const { calls, tools } = weather();
    const done = await run(ask({ prompt: "What is the weather in Oslo?", tools, stopWhen: stepCountIs(3) }));
    assert.equal(await done.text, 'The tool says {"city":"Oslo","degrees":4}');
    assert.deepEqual(calls, [{ city: "Oslo", unit: "celsius" }]);
    assert.deepEqual((await done.steps).map(({ finishReason }) => finishReason), ["tool-calls", "stop"]);
    assert.equal(sent.at(-1).body.input.at(-1).type, "function_call_output");
  }
});

test("several calls of @ai-sdk/openai are told apart, and their outputs go back in order", async () => {
  const { calls, tools } = weather();
  const stream = streamText(ask({ prompt: "What is the weather in two cities?", tools, stopWhen: stepCountIs(3) }));
  assert.match(await stream.text, /Oslo.*Rome/s);
  assert.deepEqual(calls.map(({ city }) => city), ["Oslo", "Rome"]);
  const [asked] = await stream.steps;
  assert.deepEqual([asked.text, asked.finishReason], ["Let me look.", "tool-calls"]);
  assert.equal(new Set(asked.toolCalls.map(({ toolCallId }) => toolCallId)).size, 2);
});

test("generateObject of @ai-sdk/openai gives the object that its schema bounds", async () => {
  const { object } = await generateObject(ask({ schema: Person, prompt: "Invent a person." }));
  assert.deepEqual(object, ADA);
  assert.deepEqual([sent.at(-1).path, sent.at(-1).body.text.format.strict], [ROUTE, true]);
});

test("an error of the server is an APICallError of @ai-sdk/openai, with its status and field", async () => {
  const asked = generateText(ask({ prompt: NOISES, topP: 7 }));
  const error = await asked.then(() => assert.fail("answered"), (reason) => reason);
  assert.ok(APICallError.isInstance(error), String(error));
  assert.equal(error.statusCode, 400);
  assert.equal(JSON.parse(error.responseBody).error.param, "top_p");
});
