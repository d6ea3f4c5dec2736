// For node --require: env.AI of every Worker that this process runs goes to Lowcloud, and nothing in the project changes.
// It replaces two methods of the plugin that Miniflare has for AI, in each copy of Miniflare that is loaded.
"use strict";

const Module = require("node:module");
const { binding, services } = require("./services.cjs");

const MINIFLARE = /[\\/]miniflare[\\/]dist[\\/]src[\\/]index\.js$/;
const WRANGLER = /[\\/]wrangler[\\/]wrangler-dist[\\/]cli\.js$/;
const WITH_VALUE = new Set(["-c", "--config", "--cwd", "-e", "--env", "--env-file"]);
const PLACES = /^(-l|-r|--local|--no-local|--remote|--no-remote)(=|$)/;
const QUIET = {
  CLOUDFLARE_CF_FETCH_ENABLED: "false", // Miniflare asks Cloudflare where it is
  CLOUDFLARE_VITE_FORCE_LOCAL: "true", // Cloudflare's Vite plugin opens a remote session for AI
  WRANGLER_SEND_METRICS: "false",
};

const loadJs = Module._extensions[".js"];
Module._extensions[".js"] = function load(module, filename) {
  loadJs.call(this, module, filename);
  if (MINIFLARE.test(filename)) {
    redirect(module.exports.AI_PLUGIN, filename);
  }
};

for (const [name, value] of Object.entries(QUIET)) {
  process.env[name] ??= value;
}
if (WRANGLER.test(process.argv[1] ?? "")) {
  beLocal(process.argv);
}

function redirect(plugin, filename) {
  if (typeof plugin?.getBindings !== "function" || typeof plugin.getServices !== "function") {
    console.error(`lowcloud: env.AI can't be redirected in ${filename}, which is a version that isn't known yet.`);
    console.error("lowcloud: use the plugin instead, as docs/workers.md says under \"One line in a config\".");
    return;
  }
  const { getBindings } = plugin;
  // Miniflare's own finds the bindings' names, in whatever form its options are.
  plugin.getBindings = async function (...args) {
    return (await getBindings.apply(this, args))?.map(({ name }) => binding(name));
  };
  plugin.getServices = async () => services();
}

/** `wrangler dev` opens a remote session for AI, which needs an account, unless it is told to be local. */
function beLocal(argv) {
  const dev = command(argv);
  if (argv[dev] === "dev" && !argv.some((each) => PLACES.test(each))) {
    argv.splice(dev + 1, 0, "--local");
  }
}

/** Where in wrangler's arguments its command stands. */
function command(argv) {
  let at = 2;
  while (argv[at]?.startsWith("-")) {
    at += WITH_VALUE.has(argv[at]) ? 2 : 1;
  }
  return at;
}
