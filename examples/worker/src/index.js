// A Worker for Cloudflare, and for this machine without a change: lowcloud run -- npx wrangler dev
const CHAT = "@cf/meta/llama-3.3-70b-instruct-fp8-fast";
const EMBEDDINGS = "@cf/baai/bge-base-en-v1.5";

const PERSON = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
  additionalProperties: false,
};
const WEATHER = {
  name: "get_weather",
  description: "The weather of a city",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

/** Words as they come, as server-sent events. */
async function chat(ai, said) {
  const stream = await ai.run(CHAT, { messages: [{ role: "user", content: said }], stream: true });
  return new Response(stream, { headers: { "content-type": "text/event-stream" } });
}

/** How alike two texts are: the cosine of their vectors. */
async function alike(ai, one, other) {
  const { data } = await ai.run(EMBEDDINGS, { text: [one, other] });
  const dot = (a, b) => a.reduce((sum, value, at) => sum + value * b[at], 0);
  return dot(...data) / Math.sqrt(dot(data[0], data[0]) * dot(data[1], data[1]));
}

/** JSON of a schema. */
async function person(ai, said) {
  const { response } = await ai.run(CHAT, {
    prompt: `Who is this? ${said}`,
    response_format: { type: "json_schema", json_schema: PERSON },
  });
  return typeof response === "string" ? JSON.parse(response) : response;
}

/** The model asks for a tool, gets what it says, and answers. */
async function weather(ai, said) {
  const messages = [{ role: "user", content: said }];
  const asked = await ai.run(CHAT, { messages, tools: [WEATHER] });
  if (!asked.tool_calls?.length) return asked.response;
  const results = asked.tool_calls.map(({ name, arguments: given }) => ({
    role: "tool",
    name,
    content: JSON.stringify({ city: given.city, sky: "clear", celsius: 21 }),
  }));
  const calls = { role: "assistant", content: "", tool_calls: asked.tool_calls };
  const answer = await ai.run(CHAT, { messages: [...messages, calls, ...results] });
  return answer.response;
}

export default {
  async fetch(request, { AI }) {
    const { pathname, searchParams } = new URL(request.url);
    const said = searchParams.get("q") ?? "";
    switch (pathname) {
      case "/chat":
        return chat(AI, said);
      case "/alike":
        return Response.json({ cosine: await alike(AI, said, searchParams.get("to") ?? "") });
      case "/person":
        return Response.json(await person(AI, said));
      case "/weather":
        return Response.json({ answer: await weather(AI, said) });
      default:
        return new Response("Try /chat?q=Hello, /alike?q=tea&to=coffee, /person?q=..., /weather?q=...\n", { status: 404 });
    }
  },
};
