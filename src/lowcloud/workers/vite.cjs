// For vite.config: cloudflare(command === "serve" && { config: localAi() }) swaps the ai binding for the plugin's.
"use strict";

const path = require("node:path");

// By its path: Miniflare would look for a package beside itself.
const PLUGIN = { package: path.join(__dirname, "plugin.cjs"), name: "lowcloud" };

function localAi() {
  return (config) => {
    if (!config.ai) {
      return;
    }
    const { binding } = config.ai;
    config.ai = undefined;
    config.unsafe = {
      ...config.unsafe,
      bindings: [...(config.unsafe?.bindings ?? []), { name: binding, type: "ai", dev: { plugin: PLUGIN } }],
    };
  };
}

module.exports = { localAi };
