// Portkey's gateway, told of the upstream by the headers that its own clients would send with each call.
import http from "node:http";
const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function (event, request, ...rest) {
  if (event === "request") {
    const add = { "x-portkey-provider": "openai", "x-portkey-custom-host": process.env.UPSTREAM };
    for (const [name, value] of Object.entries(add)) {
      request.headers[name] = value;
      request.rawHeaders.push(name, value);
    }
  }
  return emit.call(this, event, request, ...rest);
};
await import(process.env.PORTKEY_SCRIPT);
