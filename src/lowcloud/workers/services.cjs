// What workerd is told: the binding is Cloudflare's own class, and what it fetches goes through front.mjs to Lowcloud.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { server } = require("./server.cjs");

const FRONT = "lowcloud:front";
const SERVER = "lowcloud:server";

function binding(name) {
  return {
    name,
    wrapped: {
      moduleName: "cloudflare-internal:ai-api",
      innerBindings: [{ name: "fetcher", service: { name: FRONT } }],
    },
  };
}

/** The same for each Worker: Miniflare keeps the first of a name. */
function services() {
  const { url, secret } = server();
  return [
    {
      name: SERVER,
      external: {
        address: address(url),
        http: { injectRequestHeaders: [{ name: "lowcloud-binding-secret", value: secret }] },
      },
    },
    {
      name: FRONT,
      worker: {
        compatibilityDate: "2024-11-01",
        modules: [{ name: "front.mjs", esModule: fs.readFileSync(path.join(__dirname, "front.mjs"), "utf8") }],
        bindings: [
          { name: "server", service: { name: SERVER } },
          { name: "url", text: url },
        ],
      },
    },
  ];
}

function address(url) {
  if (url.startsWith("unix:/")) {
    return url;
  }
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== "http:") {
    throw new Error(`lowcloud: LOWCLOUD_URL must be http://HOST:PORT or unix:/PATH, and is ${url}`);
  }
  return `${hostname}:${port || 80}`;
}

module.exports = { binding, services };
