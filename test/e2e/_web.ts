// A Node service that knows how to hand over, its releases, and a crowd of clients that use it all the time; for whole-program tests and the bench.

import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Site } from "./_agent.ts";

const root = new URL("../..", import.meta.url).pathname;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A Node program as its author would write it, with what `upkeep/agent` offers; `first` runs before it serves. */
function program(port: number, first: string): string {
  return `
import { createServer } from "node:http";
import { drain, listener, ready, whenDraining } from ${JSON.stringify(join(root, "src/apps/agent/hosted.ts"))};
const version = process.env.UPKEEP_VERSION;
const server = createServer((asked, answer) => {
  if (asked.url === "/slow") setTimeout(() => answer.end(version), 200);
  else if (asked.url === "/long") {
    let left = 30;
    const timer = setInterval(() => {
      answer.write("part ");
      if (--left === 0) { clearInterval(timer); answer.end(version); }
    }, 100);
  } else { if (asked.url === "/health") answer.statusCode = globalThis.health ?? 200; answer.end(version); }
});
server.on("upgrade", (_, socket) => {
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n");
  socket.on("error", () => {});
  socket.on("data", (part) => {
    if (socket.writable) String(part).includes("bye") ? socket.end("bye " + version) : socket.write(version);
  });
});
${first}
server.listen(listener("http", { port: ${port} }), () => void ready());
await whenDraining();
await drain(server);
process.exit();
`;
}

export type WebRelease = {
  readonly version: string;
  readonly first?: string;
  /** Options of `release add` that say how it is reached and how it hands over. */
  readonly ways?: readonly string[];
  readonly options?: readonly string[];
};

/** Adds a release of the service `web` and points its channel to it. */
export function publishWeb(site: Site, port: number, release: WebRelease): void {
  const { version, first = "", options = [] } = release;
  const folder = join(site.folder, `web-${version}`);
  mkdirSync(join(folder, "bin"), { recursive: true });
  const file = join(folder, "bin/web.mjs");
  writeFileSync(file, `#!${process.execPath}\n${program(port, first)}`);
  chmodSync(file, 0o755);
  const config = join(site.folder, "web.toml");
  writeFileSync(
    config,
    `[health]\nkind = "http"\npath = "/health"\nport = ${port}\nstartSeconds = 15\nintervalSeconds = 1\ntimeoutSeconds = 5\nsuccesses = 2\nfailures = 2\nprobationSeconds = 1\n`,
  );
  const socket = ["--socket", `http=tcp:127.0.0.1:${port}`, "--hand-over", "--drain", "20", "--notify"];
  const given = ["--run", "bin/web.mjs", "--config", config, ...(release.ways ?? socket), ...options];
  site.ok(site.upkeep(site.operator, "release", "add", "web", version, folder, ...given, "--promote"));
}

export type Seen = {
  readonly answers: { readonly [kind: string]: { readonly [version: string]: number } };
  /** The first of them, in words. */
  readonly failures: readonly string[];
  readonly failed: number;
  /** How many of them were downloads or held connections. */
  readonly cut: number;
};

/** 20 clients without a pause, a long download and a connection that is held open, all the time; they leave when the action is over. */
export async function amongClients(port: number, action: () => void | Promise<void>): Promise<Seen> {
  const crowd = spawn(process.execPath, [join(root, "test/e2e/_crowd.ts"), String(port)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let out = "";
  crowd.stdout.on("data", (part: Buffer) => (out += part.toString()));
  const over = new Promise<void>((resolve) => crowd.once("close", () => resolve()));
  await pause(700);
  try {
    await action();
    await pause(700);
  } finally {
    crowd.stdin.end();
    await over;
  }
  return JSON.parse(out) as Seen;
}
