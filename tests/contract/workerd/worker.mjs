// A Worker as people write them: each path is a case, which says what its env.AI gave, or what it threw.

const LLAMA = "@cf/meta/llama-3.1-8b-instruct";
const SAY = { prompt: "hello there" };

const cases = {
  run: (ai) => ai.run(LLAMA, SAY),
  embeddings: async (ai) => (await ai.run("@cf/baai/bge-large-en-v1.5", { text: ["tea", "sea"] })).shape,
  stream: async (ai) => new Response(await ai.run(LLAMA, { ...SAY, stream: true })).text(),
  raw: async (ai) => {
    const answer = await ai.run(LLAMA, SAY, { returnRawResponse: true });
    return [answer.status, answer.headers.get("content-type"), (await answer.json()).response];
  },
  rawError: async (ai) => (await ai.run(LLAMA, {}, { returnRawResponse: true })).status,
  options: async (ai) => (await ai.run(LLAMA, SAY, { rejectIfBusy: true, prefix: "mine", tags: ["a"] })).response,
  bytes: (ai) => ai.run(LLAMA, { ...SAY, image: new Uint8Array([1, 2, 3]) }),
  unknown: (ai) => ai.run("@cf/nobody/nothing", SAY),
  wrong: (ai) => ai.run(LLAMA, { ...SAY, top_k: 99 }),
  broken: (ai) => ai.run(LLAMA, { prompt: "break" }),
  gateway: (ai) => ai.run(LLAMA, SAY, { gateway: { id: "mine" } }),
  form: async (ai) => {
    const form = new Response(new URLSearchParams({ a: "b" }));
    return ai.run(LLAMA, { multipart: { body: form.body, contentType: "multipart/form-data; boundary=x" } });
  },
  websocket: async (ai) => {
    const answer = await ai.run(LLAMA, SAY, { websocket: true });
    return [answer.status, answer.webSocket === null, (await answer.json()).name];
  },
  models: async (ai) => (await ai.models({ search: "bge-large", per_page: 1 })).map((model) => model.name),
  noModels: (ai) => ai.models({ page: 0 }),
  supported: (ai) => ai.toMarkdown().supported(),
  toMarkdown: (ai) => ai.toMarkdown([{ name: "a.txt", blob: new Blob(["a"], { type: "text/plain" }) }]),
  getLog: (ai) => ai.gateway("mine").getLog("1"),
  patchLog: (ai) => ai.gateway("mine").patchLog("1", { score: 1 }),
  getUrl: (ai) => ai.gateway("mine").getUrl("openai"),
  gatewayRun: async (ai) =>
    (await ai.gateway("mine").run({ provider: "workers-ai", endpoint: LLAMA, headers: {}, query: SAY })).status,
  search: (ai) => ai.autorag("mine").search({ query: "tea" }),
  fetch: async (ai) => {
    const headers = { "cf-consn-model-id": LLAMA };
    const body = JSON.stringify({ inputs: SAY });
    return (await (await ai.fetch("https://any.example/run?version=2", { method: "POST", headers, body })).json()).response;
  },
  fetchElse: async (ai) => (await ai.fetch("https://any.example/v1/models")).status,
  leave: async (ai) => {
    const reader = (await ai.run(LLAMA, { ...SAY, stream: true })).getReader();
    const { value } = await reader.read();
    await reader.cancel();
    return new TextDecoder().decode(value);
  },
};

export default {
  async fetch(request, { AI }) {
    const name = new URL(request.url).pathname.slice(1);
    if (name === "passed-on") return new Response(await AI.run(LLAMA, { ...SAY, stream: true }));
    let given;
    try {
      given = { value: await cases[name](AI) };
    } catch (error) {
      given = { thrown: [error.constructor.name, error.name, error.message] };
    }
    return Response.json({ ...given, id: AI.lastRequestId, code: AI.lastRequestInternalStatusCode });
  },
};
