// Wrangler's own way to bring a binding: in a config for development, under "unsafe", in place of "ai".
"use strict";

const { binding, services } = require("./services.cjs");

const NAME = "lowcloud";

const plugin = {
  bindingTypeDescription: "AI",
  async getBindings(options) {
    return names(options).map(binding);
  },
  getNodeBindings(options) {
    const { ProxyNodeBinding } = miniflare();
    return Object.fromEntries(names(options).map((name) => [name, new ProxyNodeBinding()]));
  },
  async getServices({ options }) {
    return names(options).length ? services() : [];
  },
};

/** Miniflare 4 hands over the bindings of this plugin, Miniflare 5 the options of the whole Worker. */
function names(options) {
  if (Array.isArray(options)) {
    return options.map(({ name }) => name);
  }
  const bindings = Object.entries(options?.config?.env ?? {});
  return bindings.filter(([, { dev }]) => dev?.plugin?.name === NAME).map(([name]) => name);
}

/** The copy that has loaded this file; it can't be required, since it lies in somebody else's node_modules. */
function miniflare() {
  const copies = Object.values(require.cache).filter(({ exports }) => exports?.AI_PLUGIN && exports.ProxyNodeBinding);
  return copies.at(-1).exports;
}

exports.plugins = { [NAME]: plugin }; // a form in which import() finds its name
