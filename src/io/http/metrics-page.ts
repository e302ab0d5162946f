// A page of counters on loopback: two fixed documents, read only, for a collector and for the operator's own command.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { splitAddress } from "../signing/pinned-tls.ts";

export type MetricsPage = { readonly port: number; readonly close: () => Promise<void> };

/** Serves `/metrics` and `/status.json` at a loopback address; whatever else is asked for does not exist. Errors: those of the listener. */
export async function serveMetrics(
  endpoint: string,
  documents: { readonly metrics: () => string; readonly status: () => string },
): Promise<MetricsPage> {
  const pages: { readonly [path: string]: readonly [type: string, text: () => string] } = {
    "/metrics": ["text/plain; version=0.0.4", documents.metrics],
    "/status.json": ["application/json", documents.status],
  };
  const server = createServer(
    { requestTimeout: 5000, headersTimeout: 5000, maxHeaderSize: 8192, keepAlive: false },
    (request, response) => {
      const page = request.method === "GET" ? pages[request.url ?? ""] : undefined;
      // Nobody but a program on this machine has a reason to read this: a web page that points a browser here gets nothing.
      const local = /^(?:127\.0\.0\.1|\[::1\]|localhost)(?::\d+)?$/.test(request.headers.host ?? "");
      response.setHeader("connection", "close");
      if (page === undefined || !local) return void response.writeHead(404).end();
      response.writeHead(200, { "content-type": page[0] }).end(page[1]());
    },
  );
  server.maxConnections = 16;
  const { host, port } = splitAddress(endpoint);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
