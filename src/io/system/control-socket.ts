// How a command on this machine talks to the running agent: one line of JSON each way over a socket that only its owner can open.

import { chmodSync, mkdirSync, renameSync, rmSync, unlinkSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { fromUtf8, toHex, toUtf8 } from "../../core/bytes.ts";
import { writeAtomic } from "../../core/disk.ts";
import { FAILED, REFUSED, UpkeepError, type Traits } from "../../core/errors.ts";
import { parseJson, type Json } from "../../core/json.ts";
import { systemDisk } from "./disk.ts";
import { systemRandom } from "./random.ts";
import { withShortPath } from "./short-path.ts";

export type ControlErrorCode = "control/no-agent" | "control/bad-answer" | "control/refused";
export const CONTROL_ERRORS = {
  "control/no-agent": FAILED,
  "control/bad-answer": REFUSED,
  "control/refused": REFUSED,
} satisfies Traits<ControlErrorCode>;

export class ControlError extends UpkeepError<ControlErrorCode> {
  protected override get traits(): Traits<ControlErrorCode> {
    return CONTROL_ERRORS;
  }
}

const REQUEST_LIMIT = 4096;
const ANSWER_LIMIT = 1024 * 1024;
const CONNECTIONS = 16;
/** Milliseconds for a request to be whole, and for its answer to be taken: who drips or does not read keeps no connection open. */
const REQUEST_TIME = 5000;
const NEST = ".control";
const LINE_FEED = 0x0a;

export type ControlHandler = (request: Json) => Promise<Json>;

/**
 * Listens on `<folder>/control.sock`, mode 0600; a leftover of an earlier agent is replaced (the caller holds the folder's lock).
 * `within`: milliseconds for a request to be whole, and for its answer to be taken.
 */
export async function listenForControl(
  folder: string,
  handler: ControlHandler,
  within = REQUEST_TIME,
): Promise<{ close(): Promise<void> }> {
  const path = `${folder}/control.sock`;
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  if (process.platform === "win32") return listenOnPipe(path, handler, within);
  const open = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    serve(socket, handler, within);
  });
  server.maxConnections = CONNECTIONS;
  // Made in a folder that nobody else can enter, and moved when it is private: nobody can open it in between.
  const nest = `${folder}/${NEST}`;
  rmSync(nest, { recursive: true, force: true });
  mkdirSync(nest, { mode: 0o700 });
  await withShortPath(
    folder,
    `${NEST}/control.sock`,
    (short) =>
      new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(short, resolve);
      }),
  );
  chmodSync(`${nest}/control.sock`, 0o600);
  renameSync(`${nest}/control.sock`, path);
  rmSync(nest, { recursive: true, force: true });
  return {
    close: async () => {
      for (const socket of open) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      try {
        unlinkSync(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
    },
  };
}

/**
 * Windows has no sockets in folders. The pipe's name cannot be guessed, so that nobody lays another in its place, and stands in the private
 * folder where the socket would be: who cannot read the folder does not know it.
 */
async function listenOnPipe(
  path: string,
  handler: ControlHandler,
  within: number,
): Promise<{ close(): Promise<void> }> {
  const name = `\\\\.\\pipe\\upkeep-${toHex(systemRandom.bytes(16))}`;
  const open = new Set<Socket>();
  const server: Server = createServer((socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    serve(socket, handler, within, true);
  });
  server.maxConnections = CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(name, resolve);
  });
  await writeAtomic(systemDisk, path, toUtf8(`${name}\n`), 0o600);
  return {
    close: async () => {
      for (const socket of open) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await systemDisk.removeFile(path);
    },
  };
}

/** `line`: a request ends with a line feed; a pipe of Windows cannot be closed on one side only. */
function serve(socket: Socket, handler: ControlHandler, within: number, line = false): void {
  const parts: Buffer[] = [];
  let length = 0;
  let asked = false;
  let timer = setTimeout(() => socket.destroy(), within);
  socket.on("error", () => socket.destroy());
  socket.once("close", () => clearTimeout(timer));
  socket.on("data", (part) => {
    length += part.length;
    if (length > REQUEST_LIMIT) return void socket.destroy();
    parts.push(part);
    if (line && part.at(-1) === LINE_FEED) whole();
  });
  if (!line) socket.on("end", whole);
  function whole(): void {
    if (asked) return;
    asked = true;
    // What is asked for may take its time.
    clearTimeout(timer);
    void answer(Buffer.concat(parts), handler).then((text) => {
      if (socket.destroyed) return;
      timer = setTimeout(() => socket.destroy(), within);
      socket.end(text);
    });
  }
}

async function answer(bytes: Uint8Array, handler: ControlHandler): Promise<string> {
  try {
    return `${JSON.stringify({ ok: await handler(parseJson(bytes)) })}\n`;
  } catch (error) {
    if (error instanceof UpkeepError) return `${JSON.stringify({ error: error.toJSON() })}\n`;
    return `${JSON.stringify({ error: { code: "agent/unforeseen", message: String(error), facts: {} } })}\n`;
  }
}

/**
 * Asks the running agent. Errors: `control/no-agent` when none listens, `control/bad-answer`;
 * a refusal of the agent comes as `control/refused` with its own code and sentence in `facts`.
 */
export async function askAgent(folder: string, request: Json, signal?: AbortSignal): Promise<Json> {
  let bytes: Uint8Array;
  try {
    const text = JSON.stringify(request);
    bytes =
      process.platform === "win32"
        ? await exchange(await pipeOf(`${folder}/control.sock`), toUtf8(`${text}\n`), signal, true)
        : await withShortPath(folder, "control.sock", (short) => exchange(short, toUtf8(text), signal));
  } catch (cause) {
    if (cause instanceof UpkeepError) throw cause;
    throw new ControlError("control/no-agent", `No agent is running on ${folder}.`, { folder }, { cause });
  }
  const value = parseJson(bytes) as { ok?: Json; error?: { code: string; message: string; hint?: string } };
  if (value.error !== undefined) {
    const { code, message, hint } = value.error;
    throw new ControlError("control/refused", message, { code }, hint === undefined ? {} : { hint });
  }
  if (value.ok === undefined)
    throw new ControlError("control/bad-answer", "The agent's answer cannot be read.", {});
  return value.ok;
}

/** Only a pipe of this machine: nothing else is connected to, whatever the file says. */
async function pipeOf(path: string): Promise<string> {
  const name = fromUtf8(await systemDisk.read(path, 256)).trimEnd();
  if (!/^\\\\\.\\pipe\\upkeep-[0-9a-f]{32}$/.test(name))
    throw new ControlError("control/bad-answer", `${path} names no control pipe.`, { path });
  return name;
}

function exchange(
  path: string,
  request: Uint8Array,
  signal?: AbortSignal,
  line = false,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ path, ...(signal === undefined ? {} : { signal }) });
    const parts: Buffer[] = [];
    let length = 0;
    socket.on("error", reject);
    socket.on("connect", () => void (line ? socket.write(request) : socket.end(request)));
    socket.on("data", (part) => {
      length += part.length;
      if (length > ANSWER_LIMIT) socket.destroy(new Error("the answer is too long"));
      parts.push(part);
    });
    socket.on("end", () => {
      if (line) socket.destroy();
      const bytes = Buffer.concat(parts);
      if (fromUtf8(bytes).endsWith("\n")) resolve(bytes);
      else reject(new Error("the agent went away"));
    });
  });
}
