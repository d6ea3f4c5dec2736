// Reads requests, a line of JSON each, and writes how Cloudflare's TypeScript SDK parses their errors.
import { createInterface } from "node:readline";
import Cloudflare from "cloudflare";

for await (const line of createInterface({ input: process.stdin })) {
  const { base, method, path, body, headers } = JSON.parse(line);
  const client = new Cloudflare({ baseURL: base, apiToken: "sk-good", maxRetries: 0, timeout: 20_000 });
  const error = await client[method](path, { body: body ?? undefined, headers }).then(() => ({}), (reason) => reason);
  const { status, errors, constructor } = error;
  console.log(JSON.stringify({ kind: constructor.name, status, errors }));
}
