// Where Lowcloud is, and the secret of its bindings: of the environment, which `lowcloud run` fills, or of the data folder.
"use strict";

const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const DEFAULT_URL = "http://127.0.0.1:8780";

/** Looked up each time, so that a Worker that is loaded again finds a server that has moved. */
function server(environ = process.env) {
  const folder = dataFolder(environ);
  return {
    url: environ.LOWCLOUD_URL || announced(folder) || DEFAULT_URL,
    secret: environ.LOWCLOUD_BINDING_SECRET || read(path.join(folder, "binding-secret")).trim(),
  };
}

function dataFolder(environ) {
  if (environ.LOWCLOUD_STORAGE__DATA_DIR) {
    return environ.LOWCLOUD_STORAGE__DATA_DIR.replace(/^~(?=\/|$)/, os.homedir());
  }
  const data = environ.XDG_DATA_HOME || "";
  return path.join(data.startsWith("/") ? data : path.join(os.homedir(), ".local/share"), "lowcloud");
}

/** The URL that the server which owns the folder has written there, if there is one. */
function announced(folder) {
  try {
    return JSON.parse(read(path.join(folder, "server.json"))).url;
  } catch {
    return "";
  }
}

function read(file) {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

module.exports = { server };
