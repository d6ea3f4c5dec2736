// OpenAI's own Node package and the Responses API. BASE_URL is the root of `lowcloud dev` with the bundled model.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI, { BadRequestError, NotFoundError } from "openai";
import { zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const CHAT = "@local/smollm2-135m-instruct";
const client = new OpenAI({ baseURL: `${process.env.BASE_URL}/v1`, apiKey: "any", maxRetries: 0, timeout: 120_000 });
const SHORT = { model: CHAT, temperature: 0, max_output_tokens: 16 };
const HELLO = { ...SHORT, input: "Say hello." };
const PERSON = { model: CHAT, temperature: 0, input: "Invent a person. Answer with JSON." };

const Person = z.object({
  name: z.string().max(20),
  age: z.number().int().min(0).max(120),
  mood: z.enum(["glad", "sad"]),
  nickname: z.string().max(10).nullable(),
});
const Place = z.object({ city: z.string().max(20), unit: z.enum(["celsius", "fahrenheit"]) });

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

test("a response is answered and kept, and gone on from by its id until it is deleted", async () => {
  const first = await client.responses.create(HELLO);
  assert.ok(first.output_text.length > 0);
  assert.deepEqual([first.status, first.incomplete_details], ["incomplete", { reason: "max_output_tokens" }]);
  assert.equal(first.usage.output_tokens, 16);
  assert.deepEqual(await client.responses.retrieve(first.id), first);
  const second = await client.responses.create({ ...SHORT, input: "Again.", previous_response_id: first.id });
  assert.ok(second.usage.input_tokens > first.usage.total_tokens);
  await client.responses.delete(first.id);
  await assert.rejects(client.responses.retrieve(first.id), NotFoundError);
  await assert.rejects(client.responses.create({ ...HELLO, previous_response_id: first.id }), BadRequestError);
  const items = await collect(client.responses.inputItems.list(second.id, { order: "asc", limit: 2 }));
  assert.deepEqual(items.map(({ role }) => role), ["user", "assistant", "user"]);
});

test("the events of a streamed response are numbered, and their pieces are the text of the last one", async () => {
  const events = await collect(await client.responses.create({ ...HELLO, stream: true }));
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  const pieces = events.filter(({ type }) => type === "response.output_text.delta").map(({ delta }) => delta);
  const { type, response } = events.at(-1);
  assert.equal(type, "response.incomplete");
  assert.equal(pieces.join(""), response.output[0].content[0].text);
  assert.deepEqual((await client.responses.retrieve(response.id)).output, response.output);
});

test("the stream helper of responses ends with the whole response, parsed", async () => {
  const stream = client.responses.stream({ ...PERSON, text: { format: zodTextFormat(Person, "person") } });
  let text = "";
  stream.on("response.output_text.delta", ({ delta }) => (text += delta));
  const final = await stream.finalResponse();
  assert.equal(final.output_text, text);
  assert.deepEqual(final.output_parsed, Person.parse(JSON.parse(text)));
});

test("zodTextFormat and parse give the object that the model wrote", async () => {
  const ask = { ...PERSON, text: { format: zodTextFormat(Person, "person") } };
  const response = await client.responses.parse(ask);
  assert.equal(response.status, "completed");
  assert.deepEqual(response.output_parsed, Person.parse(JSON.parse(response.output_text)));
});

test("a zod format that can't be enforced names the keyword by its path in text.format", async () => {
  const Odd = z.object({ code: z.string().regex(/^(?!a)b/) });
  const ask = { ...PERSON, text: { format: zodTextFormat(Odd, "odd") } };
  const error = await client.responses.parse(ask).then(() => assert.fail("answered"), (reason) => reason);
  assert.ok(error instanceof BadRequestError, String(error));
  assert.equal(error.param, "text.format.schema.properties.code.pattern");
});

test("a forced call has parsed arguments, and its output is gone on from", async () => {
  const tools = [zodResponsesFunction({ name: "get_weather", description: "The weather of a city.", parameters: Place })];
  const ask = { ...SHORT, max_output_tokens: 60, tools };
  const first = await client.responses.parse({ ...ask, input: "What is the weather in Oslo?", tool_choice: "required" });
  const [call] = first.output;
  assert.deepEqual([call.type, call.name], ["function_call", "get_weather"]);
  assert.deepEqual(call.parsed_arguments, Place.parse(JSON.parse(call.arguments)));
  const input = [{ type: "function_call_output", call_id: call.call_id, output: "4 degrees, rain" }];
  const told = await client.responses.create({ ...ask, input, tool_choice: "none", previous_response_id: first.id });
  assert.ok(told.output_text.length > 0);
});
