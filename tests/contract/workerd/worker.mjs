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
  gateway: async (ai) => {
    const gateway = { id: "default", metadata: { who: "me" }, cacheTtl: 60, eventId: "e", retries: { maxAttempts: 2 } };
    const answer = await ai.run(LLAMA, SAY, { gateway });
    const log = await ai.gateway("default").getLog(ai.aiGatewayLogId);
    return [answer.response, log.id === ai.aiGatewayLogId, log.metadata, log.model, log.created_at instanceof Date];
  },
  gatewayStream: async (ai) => {
    const stream = await ai.run(LLAMA, { ...SAY, stream: true }, { gateway: { id: "default" } });
    const events = (await new Response(stream).text()).split("\n\n");
    return [...events.slice(0, 3), ...events.slice(-2)];
  },
  gatewayRaw: async (ai) => {
    const options = { gateway: { id: "default", cacheTtl: 60, cacheKey: "raw" }, returnRawResponse: true };
    await (await ai.run(LLAMA, SAY, options)).text();
    const { headers } = await ai.run(LLAMA, SAY, options);
    return ["content-type", "cf-aig-step", "cf-aig-cache-status"].map((name) => headers.get(name));
  },
  gatewayWrong: (ai) => ai.run(LLAMA, { ...SAY, top_k: 99 }, { gateway: { id: "default" } }),
  noGateway: (ai) => ai.run(LLAMA, SAY, { gateway: { id: "nobody" } }),
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
  noLog: (ai) => ai.gateway("default").getLog("1"),
  noLogPatched: (ai) => ai.gateway("default").patchLog("1", { score: 1 }),
  wrongPatch: (ai) => ai.gateway("default").patchLog("1", { feedback: 7 }),
  noUrl: (ai) => ai.gateway("nobody").getUrl("openai"),
  patchLog: async (ai) => {
    await ai.run(LLAMA, SAY, { gateway: { id: "default" } });
    const gateway = ai.gateway("default");
    const said = await gateway.patchLog(ai.aiGatewayLogId, { feedback: 1, score: 0.5, metadata: { who: "you" } });
    const { feedback, score, metadata } = await gateway.getLog(ai.aiGatewayLogId);
    return [said === undefined, feedback, score, metadata];
  },
  gatewayRun: async (ai) => {
    const step = (endpoint) => ({ provider: "workers-ai", endpoint, headers: {}, query: SAY });
    const options = { gateway: { cacheTtl: 60, metadata: { who: "me" } } };
    const answer = await ai.gateway("default").run([step("@cf/nobody/nothing"), step(LLAMA)], options);
    const log = await ai.gateway("default").getLog(answer.headers.get("cf-aig-log-id"));
    return [answer.status, answer.headers.get("cf-aig-step"), (await answer.json()).result.response, log.step, log.metadata];
  },
  gatewayRunWrong: async (ai) => {
    const answer = await ai.gateway("default").run({ provider: "nobody", endpoint: LLAMA, headers: {}, query: SAY });
    return [answer.status, (await answer.json()).internalCode];
  },
  getUrl: async (ai) => {
    const gateway = ai.gateway("default");
    const universal = await gateway.getUrl();
    const url = `${await gateway.getUrl("workers-ai")}/v1/chat/completions`;
    const headers = { "content-type": "application/json", authorization: "Bearer sk-good" };
    const body = JSON.stringify({ model: LLAMA, messages: [{ role: "user", content: "hello" }] });
    const answer = await fetch(url, { method: "POST", headers, body });
    const { choices } = await answer.json();
    const { pathname } = new URL(universal);
    return [pathname, choices[0].message.content, (await gateway.getLog(answer.headers.get("cf-aig-log-id"))).path];
  },
  search: (ai) => ai.autorag("mine").search({ query: "tea" }),
  fetch: async (ai) => {
    const headers = { "cf-consn-model-id": LLAMA };
    const body = JSON.stringify({ inputs: SAY });
    return (await (await ai.fetch("https://any.example/run?version=2", { method: "POST", headers, body })).json()).response;
  },
  fetchElse: async (ai) => (await ai.fetch("https://any.example/v1/models")).status,
  durable: async (_ai, { KEEPER }) => (await KEEPER.get(KEEPER.idFromName("one")).fetch("https://keeper/")).json(),
  leave: async (ai) => {
    const reader = (await ai.run(LLAMA, { ...SAY, stream: true })).getReader();
    const { value } = await reader.read();
    await reader.cancel();
    return new TextDecoder().decode(value);
  },
};

/** A Durable Object that asks models itself, streams too. */
export class Keeper {
  constructor(_state, { AI }) {
    this.ai = AI;
  }

  async fetch() {
    const { response } = await this.ai.run(LLAMA, SAY);
    const stream = await this.ai.run(LLAMA, { ...SAY, stream: true });
    const events = (await new Response(stream).text()).split("\n\n");
    return Response.json([response, events[0], events.at(-2)]);
  }
}

export default {
  async fetch(request, env) {
    const { AI } = env;
    const name = new URL(request.url).pathname.slice(1);
    if (name === "passed-on") return new Response(await AI.run(LLAMA, { ...SAY, stream: true }));
    let given;
    try {
      given = { value: await cases[name](AI, env) };
    } catch (error) {
      given = { thrown: [error.constructor.name, error.name, error.message] };
    }
    return Response.json({ ...given, id: AI.lastRequestId, code: AI.lastRequestInternalStatusCode });
  },
};
