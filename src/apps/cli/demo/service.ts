// The demo's product: a small HTTP service that says its version, and one release of it that is bad on purpose.

import { chmodSync, mkdirSync, writeFileSync } from "node:fs";

/**
 * Writes a release folder: `bin/hello` starts a Node HTTP service on $PORT with `/` and `/health`.
 * A crashing one answers well at first and falls over soon after, which only probation can see.
 */
export function writeHello(folder: string, version: string, crashes: boolean): void {
  mkdirSync(`${folder}/bin`, { recursive: true });
  mkdirSync(`${folder}/lib`, { recursive: true });
  writeFileSync(
    `${folder}/bin/hello`,
    ["#!/bin/sh", "# Starts the service on $PORT.", 'exec node "$(dirname "$0")/../lib/hello.cjs"', ""].join(
      "\n",
    ),
  );
  chmodSync(`${folder}/bin/hello`, 0o755);
  const fall = crashes
    ? [
        "setTimeout(() => {",
        '  console.error("hello: cannot allocate the frobnicator");',
        "  process.exit(70);",
        "}, 900);",
      ]
    : [];
  writeFileSync(
    `${folder}/lib/hello.cjs`,
    [
      "// A small HTTP service that says which version it is.",
      'const { createServer } = require("node:http");',
      `const version = ${JSON.stringify(version)};`,
      "const server = createServer((request, response) => {",
      '  response.writeHead(200, { "content-type": "text/plain" });',
      '  response.end(request.url === "/health" ? "ok\\n" : `hello from ${version}\\n`);',
      "});",
      'server.listen(Number(process.env.PORT), "127.0.0.1");',
      'process.on("SIGTERM", () => { server.close(() => process.exit(0)); server.closeAllConnections(); });',
      ...fall,
      "",
    ].join("\n"),
  );
}

/** What the service at the port answers, or null if nobody does. */
export async function askHello(port: number): Promise<string | null> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(1000) });
    return (await answer.text()).trim();
  } catch {
    return null;
  }
}
