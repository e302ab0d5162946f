// Where programs of this device ask about their license: HTTP on a socket in the file system, which no network reaches.

import { chmodSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { collect } from "../../core/bytes.ts";
import { UpkeepError } from "../../core/errors.ts";
import { parseJson, type Json } from "../../core/json.ts";
import { withShortPath } from "../system/short-path.ts";

/** What is asked: the method, the parts of the path behind `/v1/license/`, and the body of a POST. */
export type LicenseQuestion = {
  readonly method: "GET" | "POST";
  readonly path: readonly string[];
  readonly body: Json;
};
/** Null for what there is not. */
export type AnswerLicense = (question: LicenseQuestion) => Promise<Json | null>;

export const LICENSE_SOCKET = "license.sock";
const PREFIX = "/v1/license/";
const BODY = 4096;
const CONNECTIONS = 64;
const TIME = 5000;
const NEST = ".socket";

/**
 * Listens on `<folder>/license.sock` for every user of this machine who can enter the folder: what is told here is what the license grants.
 * Windows has no such sockets; programs there read the files alone.
 */
export async function listenForLicenses(
  folder: string,
  answer: AnswerLicense,
): Promise<{ close(): Promise<void> }> {
  if (process.platform === "win32") return { close: async () => {} };
  const server = createServer(
    { requestTimeout: TIME, headersTimeout: TIME, keepAliveTimeout: TIME },
    (request, response) => {
      void respond(request, response, answer);
    },
  );
  server.maxConnections = CONNECTIONS;
  const nest = `${folder}/${NEST}`;
  rmSync(nest, { recursive: true, force: true });
  mkdirSync(nest, { mode: 0o700, recursive: true });
  await withShortPath(
    folder,
    `${NEST}/${LICENSE_SOCKET}`,
    (short) =>
      new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(short, resolve);
      }),
  );
  chmodSync(`${nest}/${LICENSE_SOCKET}`, 0o666);
  renameSync(`${nest}/${LICENSE_SOCKET}`, `${folder}/${LICENSE_SOCKET}`);
  rmSync(nest, { recursive: true, force: true });
  return {
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      rmSync(`${folder}/${LICENSE_SOCKET}`, { force: true });
    },
  };
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  answer: AnswerLicense,
): Promise<void> {
  const say = (status: number, value: Json): void => {
    response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" });
    response.end(`${JSON.stringify(value)}\n`);
  };
  try {
    const { method, url = "" } = request;
    if ((method !== "GET" && method !== "POST") || !url.startsWith(PREFIX))
      return say(404, { code: "http/not-found" });
    const path = url.slice(PREFIX.length).split("/").map(decodeURIComponent);
    const body = method === "POST" ? parseJson(await collect(request, BODY)) : null;
    const found = await answer({ method, path, body });
    say(found === null ? 404 : 200, found ?? { code: "http/not-found" });
  } catch (error) {
    if (!(error instanceof UpkeepError) && !(error instanceof URIError))
      say(500, { code: "agent/unforeseen" });
    else say(400, { code: error instanceof UpkeepError ? error.code : "http/bad-request" });
  }
}
