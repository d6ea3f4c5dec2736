// A reporter for node's test runner: one JSON line a test, for test_node_sdk.py.
export default async function* (events) {
  for await (const { type, data } of events) {
    if (type !== "test:pass" && type !== "test:fail") continue;
    const error = data.details?.error;
    yield JSON.stringify({ name: data.name, ok: type === "test:pass", why: String(error?.cause?.stack ?? error ?? "") }) + "\n";
  }
}
