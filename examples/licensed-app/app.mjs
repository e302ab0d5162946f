#!/usr/bin/env node
// A notebook that keeps notes for everyone, and exports them for those who have the license: it degrades, says why, and comes back by itself.

import { createServer } from "node:http";
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { License } from "upkeep/license";

// Whom to trust comes with the program. The agent's folder only says what is granted.
const trustedRoot = readFileSync(new URL("1.root.json", import.meta.url));
const license = await License.open({ product: "notebook", trustedRoot, log: console.error });
const notes = join(process.env.UPKEEP_COMPONENT_DATA ?? ".", "notes.txt");

const banner = () => {
  const { degraded, reason, until, next } = license.status();
  return degraded ? `limited (${reason}): ${next}` : `all features${until === null ? "" : ` until ${until}`}`;
};
console.log(banner());
license.on("change", () => console.log(banner()));

const read = () => {
  try {
    return readFileSync(notes, "utf8").split("\n").filter(Boolean);
  } catch {
    return [];
  }
};

createServer(async (request, response) => {
  const say = (status, text) => response.writeHead(status, { "content-type": "text/plain" }).end(`${text}\n`);
  if (request.url === "/health") return say(200, "ok");
  if (request.url === "/license") return say(200, banner());
  // Reading is never taken away: the data belongs to whoever wrote it.
  if (request.method === "GET" && request.url === "/notes") return say(200, read().join("\n"));
  if (request.method === "POST" && request.url === "/notes") {
    const most = license.limit("notes", 3);
    if (read().length >= most) return say(402, `This license keeps ${most} notes. ${license.status().next}`);
    let text = "";
    for await (const part of request) text += part;
    appendFileSync(notes, `${text.replaceAll("\n", " ")}\n`);
    license.reportUse("notes");
    return say(201, "kept");
  }
  if (request.url === "/export") {
    const { value, reason } = license.evaluate("export");
    return value ? say(200, JSON.stringify(read())) : say(402, `Export is not part of it now (${reason}).`);
  }
  return say(404, "nothing here");
}).listen(Number(process.env.PORT ?? 8080), "127.0.0.1");
