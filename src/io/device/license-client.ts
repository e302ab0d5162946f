// A question to the agent's socket for programs: HTTP on a path, answered by JSON.

import { request as httpRequest, type IncomingMessage } from "node:http";
import { collect } from "../../core/bytes.ts";
import { parseJson, type Json } from "../../core/json.ts";
import { withShortPath } from "../system/short-path.ts";
import { LICENSE_SOCKET } from "./license-socket.ts";

const ANSWER = 64 * 1024;

/** With a body it is a POST. Rejects when nobody answers within `ms`, or with anything but 200. */
export async function askLicenseSocket(folder: string, path: string, body: Json, ms: number): Promise<Json> {
  const text = body === null ? null : JSON.stringify(body);
  const signal = AbortSignal.timeout(ms);
  const response = await withShortPath(
    folder,
    LICENSE_SOCKET,
    (socketPath) =>
      new Promise<IncomingMessage>((done, failed) => {
        const method = text === null ? "GET" : "POST";
        const headers =
          text === null
            ? {}
            : { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
        const request = httpRequest({ socketPath, path, method, headers, signal, agent: false }, done);
        request.once("error", failed);
        request.end(text ?? undefined);
      }),
  );
  const bytes = await collect(response, ANSWER);
  if (response.statusCode !== 200) throw new Error(`the agent answered with ${response.statusCode}`);
  return parseJson(bytes);
}
