// What a Node program that an agent runs asks of it: its listening sockets by name, a word when it serves, and when to end without losing anybody.

import { appendFile } from "node:fs/promises";
import type { Server as HttpServer } from "node:http";
import type { ListenOptions, Server } from "node:net";

/** SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_DESCRIPTOR = 3;

/**
 * Where to listen for the socket of this name: the one that was handed over, by an agent or by systemd, else `otherwise`. Give it to
 * `server.listen`. A name that was not handed over is answered with `otherwise` too.
 *
 * @example
 * ```ts
 * import { createServer } from "node:http";
 * import { drain, listener, ready, whenDraining } from "upkeep/agent";
 *
 * const server = createServer((_, answer) => answer.end("hello\n"));
 * server.listen(listener("http", { port: 8080 }), () => void ready());
 * await whenDraining();
 * await drain(server);
 * process.exit();
 * ```
 */
export function listener(name: string, otherwise: ListenOptions): ListenOptions & { fd?: number } {
  const at = inherited().indexOf(name);
  return at < 0 ? otherwise : { fd: FIRST_DESCRIPTOR + at };
}

/** Names of what was handed over, in the order of the descriptors; one without a name is `unknown`, as in sd_listen_fds_with_names(3). */
function inherited(): readonly string[] {
  const { LISTEN_FDS, LISTEN_FDNAMES = "", LISTEN_PID } = process.env;
  // Meant for another process, which this one was started by: the descriptors of the same numbers are something else here.
  if (LISTEN_PID !== undefined && LISTEN_PID !== String(process.pid)) return [];
  const count = /^[1-9]\d{0,3}$/.test(LISTEN_FDS ?? "") ? Number(LISTEN_FDS) : 0;
  const names = LISTEN_FDNAMES.split(":");
  return Array.from({ length: count }, (_, i) => names[i] || "unknown");
}

/** Says that this program serves; a release made with `--notify` is waited for until it does. Without an agent nothing happens. */
export async function ready(): Promise<void> {
  const { UPKEEP_READY: file } = process.env;
  if (file !== undefined && file !== "") await appendFile(file, "READY=1\n");
}

let asked: Promise<void> | null = null;

/** Resolves when this program is asked to end (SIGTERM): the next version serves by then. From the first call on, the signal ends nothing by itself. */
export function whenDraining(): Promise<void> {
  asked ??= new Promise((resolve) => {
    // It stays: a second SIGTERM would end the program in the middle of its answers.
    process.on("SIGTERM", () => resolve());
  });
  return asked;
}

/**
 * Takes no more connections, and resolves when the last one is over: a request that has begun is answered and its connection closed after it;
 * an idle one may bring one more request, and ends by the server's `keepAliveTimeout` if it does not. The agent's time to drain bounds it from outside; `signal` does so from inside.
 */
export async function drain(server: Server | HttpServer, signal?: AbortSignal): Promise<void> {
  // Node resets idle connections on close, also one on which the next request is under way.
  const http = server as HttpServer;
  http.closeIdleConnections = () => {};
  server.prependListener("request", (_: unknown, answer: { shouldKeepAlive: boolean }) => {
    answer.shouldKeepAlive = false;
  });
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const given = new Promise<void>((resolve) => {
    if (signal?.aborted === true) resolve();
    else signal?.addEventListener("abort", () => resolve(), { once: true });
  });
  await Promise.race([closed, given]);
}
