// Time-stamp authorities on loopback, one a path: honest ones and liars beside each other.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "../io/system/clock.ts";
import type { Holder } from "./publisher-pki.ts";
import { answerTimestamp, type Lies } from "./timestamp-authority.ts";

export type Authority = {
  readonly stamper: Holder;
  readonly chain: readonly Holder[];
  readonly lies?: () => Lies;
  /** Answers with this HTTP status and nothing else. */
  readonly status?: number;
};

export type TimestampServer = {
  readonly url: (name: string) => string;
  /** Names of the authorities that were asked, in order. */
  readonly asked: string[];
  readonly close: () => void;
};

export async function startTimestampServer(authorities: {
  readonly [name: string]: Authority;
}): Promise<TimestampServer> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", async () => {
      const name = (request.url ?? "/").slice(1);
      asked.push(name);
      const authority = authorities[name];
      if (authority === undefined) return void response.writeHead(404).end();
      if (authority.status !== undefined) return void response.writeHead(authority.status).end();
      const { stamper, chain, lies } = authority;
      const question = new Uint8Array(Buffer.concat(parts));
      const { body } = await answerTimestamp(question, stamper, chain, systemClock.now(), lies?.() ?? {});
      response.writeHead(200, { "content-type": "application/timestamp-reply" }).end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: (name) => `http://127.0.0.1:${port}/${name}`,
    asked,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
