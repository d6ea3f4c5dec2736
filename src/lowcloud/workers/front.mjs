// Stands between env.AI and Lowcloud, inside workerd: says so where the server isn't there, or a call isn't HTTP.
import { WorkerEntrypoint } from "cloudflare:workers";

const CODE = 3040; // "out of capacity" of the API, which callers try again

export default class Front extends WorkerEntrypoint {
  async fetch(request) {
    try {
      return await this.env.server.fetch(request);
    } catch (error) {
      return unreachable(this.env.url, error);
    }
  }

  gateway() {
    throw notHttp("gateway(id, { beta: true })", "Without beta it is asked over HTTP.");
  }

  autorag() {
    throw notHttp("autorag()", "");
  }

  aiSearch() {
    throw notHttp("aiSearch()", "");
  }

  websearch() {
    throw notHttp("websearch()", "");
  }
}

/** In each form that the class reads errors from: those of run, and those of everything else. */
function unreachable(url, error) {
  const description = `Lowcloud doesn't answer at ${url} (${error.message}). Start it with: lowcloud dev`;
  const body = {
    internalCode: CODE,
    name: "LowcloudUnreachable",
    description,
    errors: [{ code: CODE, message: description }],
  };
  return Response.json(body, { status: 503 });
}

function notHttp(call, advice) {
  return new Error(`Lowcloud doesn't answer env.AI.${call}, which is no HTTP request but a remote call. ${advice}`.trim());
}
