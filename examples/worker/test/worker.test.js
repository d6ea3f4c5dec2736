// What the Worker makes of what the models say: lowcloud run -- vitest run
import { SELF } from "cloudflare:test";
import { expect, test } from "vitest";

const ask = (path, query) => SELF.fetch(`https://example.com/${path}?${new URLSearchParams(query)}`);

test("the chat streams", async () => {
  const answer = await ask("chat", { q: "robot noises" });
  expect(answer.headers.get("content-type")).toBe("text/event-stream");
  expect(await answer.text()).toMatch(/^data: .*\n\ndata: \[DONE\]\n\n$/s);
});

test("a text is like itself", async () => {
  const { cosine } = await (await ask("alike", { q: "tea", to: "tea" })).json();
  expect(cosine).toBeCloseTo(1);
});

test("a person is JSON of the schema", async () => {
  const person = await (await ask("person", { q: "Ada, 36" })).json();
  expect(person).toMatchObject({ name: expect.any(String), age: expect.any(Number) });
});

test("the weather is a sentence", async () => {
  const { answer } = await (await ask("weather", { q: "the weather in Oslo" })).json();
  expect(answer).toEqual(expect.any(String));
});

test("other paths say what there is", async () => {
  expect((await ask("", {})).status).toBe(404);
});
