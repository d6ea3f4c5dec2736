// The helpers of OpenAI's Node package for tools and schemas. SCRIPTED_URL is the root of a server whose model says what
// test_node_sdk.py scripts; BASE_URL that of `lowcloud dev` with the bundled model, which says what it likes within bounds.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI, { BadRequestError } from "openai";
import { LengthFinishReasonError } from "openai/core/error";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const CHAT = "@local/smollm2-135m-instruct";
const WEATHER = [{ role: "user", content: "What is the weather in Oslo?" }];
const PERSON = [{ role: "user", content: "Invent a person. Answer with JSON." }];
const REAL = { model: CHAT, temperature: 0 };
const SCRIPTED = { model: CHAT };

const client = (root) => new OpenAI({ baseURL: `${root}/v1`, apiKey: "any", maxRetries: 0, timeout: 120_000 });
const real = client(process.env.BASE_URL);
const scripted = client(process.env.SCRIPTED_URL);

const Person = z.object({
  name: z.string().max(20),
  age: z.number().int().min(0).max(120),
  mood: z.enum(["glad", "sad"]),
  nickname: z.string().max(10).nullable(),
  places: z.array(z.object({ city: z.string().max(12), years: z.number().int().min(0).max(99) })).max(2),
});
const Place = z.object({ city: z.string().max(20), unit: z.enum(["celsius", "fahrenheit"]) });

// A tool that keeps what it was called with.
function weather() {
  const calls = [];
  const tell = (place) => (calls.push(place), { city: place.city, degrees: 4 });
  const tool = zodFunction({ name: "get_weather", description: "The weather of a city.", parameters: Place, function: tell });
  return { calls, tool };
}

test("zodResponseFormat and parse give the object that the model wrote", async () => {
  const ask = { ...SCRIPTED, messages: PERSON, response_format: zodResponseFormat(Person, "person") };
  const [choice] = (await scripted.chat.completions.parse(ask)).choices;
  const places = [{ city: "São Paulo", years: 3 }];
  assert.deepEqual(choice.message.parsed, { name: "Ada", age: 36, mood: "glad", nickname: null, places });
  assert.equal(choice.finish_reason, "stop");
});

test("the real model keeps a zod schema of nested, nullable and listed parts at any temperature", async () => {
  const ask = { model: CHAT, messages: PERSON, response_format: zodResponseFormat(Person, "person"), seed: 5 };
  for (const temperature of [0, 1]) {
    const [choice] = (await real.chat.completions.parse({ ...ask, temperature })).choices;
    assert.equal(choice.finish_reason, "stop");
    assert.deepEqual(Person.parse(JSON.parse(choice.message.content)), choice.message.parsed);
  }
});

test("an answer that the length cuts is an error of parse, not half an object", async () => {
  const ask = { ...REAL, messages: PERSON, response_format: zodResponseFormat(Person, "person"), max_tokens: 4 };
  await assert.rejects(real.chat.completions.parse(ask), LengthFinishReasonError);
});

test("a zod schema that can't be enforced is a BadRequestError that names the keyword", async () => {
  const Odd = z.object({ code: z.string().regex(/^(?!a)b/) });
  const ask = { ...REAL, messages: PERSON, response_format: zodResponseFormat(Odd, "odd") };
  const error = await real.chat.completions.parse(ask).then(() => assert.fail("answered"), (reason) => reason);
  assert.ok(error instanceof BadRequestError, String(error));
  assert.equal(error.code, "unsupported_schema");
  assert.equal(error.param, "response_format.json_schema.schema.properties.code.pattern");
});

test("a streamed object comes as content events and ends parsed", async () => {
  const ask = { ...REAL, messages: PERSON, response_format: zodResponseFormat(Person, "person") };
  const stream = real.chat.completions.stream(ask);
  let text = "";
  const done = [];
  stream.on("content.delta", ({ delta }) => (text += delta)).on("content.done", (event) => done.push(event));
  const { message } = (await stream.finalChatCompletion()).choices[0];
  assert.equal(text, message.content);
  assert.deepEqual(done.map((event) => event.parsed), [message.parsed]);
  assert.deepEqual(Person.parse(JSON.parse(text)), message.parsed);
});

test("runTools calls the function, sends its result, and ends with the model's text", async () => {
  const { calls, tool } = weather();
  const ask = { ...SCRIPTED, messages: WEATHER, tools: [tool], tool_choice: "required" };
  const runner = scripted.chat.completions.runTools(ask);
  const results = [];
  runner.on("functionToolCallResult", (result) => results.push(result));
  assert.equal(await runner.finalContent(), 'The tool says {"city":"Oslo","degrees":4}');
  assert.deepEqual(calls, [{ city: "Oslo", unit: "celsius" }]);
  assert.deepEqual(results, ['{"city":"Oslo","degrees":4}']);
  const [, asked, answered, last] = runner.messages;
  assert.deepEqual(runner.messages.map(({ role }) => role), ["user", "assistant", "tool", "assistant"]);
  assert.equal(answered.tool_call_id, asked.tool_calls[0].id);
  assert.equal(last.tool_calls, undefined);
  const completions = runner.allChatCompletions();
  assert.deepEqual(completions.map(({ choices }) => choices[0].finish_reason), ["tool_calls", "stop"]);
  const spent = completions.reduce((sum, { usage }) => sum + usage.total_tokens, 0);
  assert.equal((await runner.totalUsage()).total_tokens, spent);
});

test("runTools does the same with streams", async () => {
  const { calls, tool } = weather();
  const ask = { ...SCRIPTED, messages: WEATHER, tools: [tool], tool_choice: "required", stream: true };
  const runner = scripted.chat.completions.runTools(ask);
  let text = "";
  runner.on("content", (delta) => (text += delta));
  assert.equal(await runner.finalContent(), 'The tool says {"city":"Oslo","degrees":4}');
  assert.equal(text, 'The tool says {"city":"Oslo","degrees":4}');
  assert.deepEqual(calls, [{ city: "Oslo", unit: "celsius" }]);
  assert.deepEqual(runner.messages.map(({ role }) => role), ["user", "assistant", "tool", "assistant"]);
});

test("runTools runs each of several calls, and their results go back in order", async () => {
  const { calls, tool } = weather();
  const messages = [{ role: "user", content: "What is the weather in two cities?" }];
  const runner = scripted.chat.completions.runTools({ ...SCRIPTED, messages, tools: [tool] });
  assert.match(await runner.finalContent(), /"city":"Rome"/);
  assert.deepEqual(calls.map(({ city }) => city), ["Oslo", "Rome"]);
  const ids = runner.messages[1].tool_calls.map(({ id }) => id);
  assert.equal(new Set(ids).size, 2);
  assert.deepEqual(runner.messages.slice(2, 4).map(({ tool_call_id }) => tool_call_id), ids);
});

test("runTools with a named tool ends after that tool's call", async () => {
  const { calls, tool } = weather();
  const named = { type: "function", function: { name: "get_weather" } };
  const runner = scripted.chat.completions.runTools({ ...SCRIPTED, messages: WEATHER, tools: [tool], tool_choice: named });
  assert.equal(await runner.finalFunctionToolCallResult(), '{"city":"Oslo","degrees":4}');
  assert.equal(runner.allChatCompletions()[0].choices[0].finish_reason, "stop");
  assert.equal(calls.length, 1);
});

test("the stream helper tells a call's arguments piece by piece, then parsed, then the whole message", async () => {
  const { tool } = weather();
  const messages = [{ role: "user", content: "What is the weather in two cities?" }];
  const stream = scripted.chat.completions.stream({ ...SCRIPTED, messages, tools: [tool] });
  const pieces = ["", ""];
  const done = [];
  const content = [];
  stream
    .on("tool_calls.function.arguments.delta", ({ index, arguments_delta }) => (pieces[index] += arguments_delta))
    .on("tool_calls.function.arguments.done", (event) => done.push(event))
    .on("content.done", (event) => content.push(event.content));
  const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
  assert.deepEqual(pieces.map((text) => JSON.parse(text).city), ["Oslo", "Rome"]);
  assert.deepEqual(done.map(({ index, name }) => [index, name]), [[0, "get_weather"], [1, "get_weather"]]);
  assert.deepEqual(done.map((event) => event.parsed_arguments), message.tool_calls.map((call) => call.function.parsed_arguments));
  assert.deepEqual(done.map((event) => event.arguments), pieces);
  assert.deepEqual([content, message.content, finish_reason], [["Let me look."], "Let me look.", "tool_calls"]);
});

test("the real model's forced call streams through the helper and is what a plain call gives", async () => {
  const { tool } = weather();
  const ask = { ...REAL, messages: WEATHER, tools: [tool], tool_choice: "required" };
  const stream = real.chat.completions.stream(ask);
  let text = "";
  const done = [];
  stream
    .on("tool_calls.function.arguments.delta", ({ arguments_delta }) => (text += arguments_delta))
    .on("tool_calls.function.arguments.done", (event) => done.push(event.parsed_arguments));
  const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
  const whole = (await real.chat.completions.parse(ask)).choices[0].message;
  assert.deepEqual(done, [Place.parse(JSON.parse(text))]);
  assert.deepEqual([message.content, finish_reason], [null, "tool_calls"]);
  assert.equal(text, whole.tool_calls[0].function.arguments);
  assert.deepEqual(done[0], whole.tool_calls[0].function.parsed_arguments);
});

test("a whole tool loop on the real model: a forced call, its result, a text", async () => {
  const { calls, tool } = weather();
  const ask = { ...REAL, tools: [tool] };
  const forced = real.chat.completions.runTools({ ...ask, messages: WEATHER, tool_choice: "required" }, { maxChatCompletions: 1 });
  await forced.done();
  assert.equal(calls.length, 1);
  assert.deepEqual(Place.parse(calls[0]), calls[0]);
  assert.equal(await forced.finalFunctionToolCallResult(), JSON.stringify({ city: calls[0].city, degrees: 4 }));
  const told = real.chat.completions.runTools({ ...ask, messages: forced.messages, tool_choice: "none", max_tokens: 200, stop: [".", "\n"] });
  assert.ok((await told.finalContent()).length > 0);
  assert.equal(calls.length, 1);
});
