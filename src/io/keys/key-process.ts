// Keys in processes of their own: the messages over a private socket, the keeper's side and the key's side.

import { createServer, connect, type Server, type Socket } from "node:net";
import { concat, fromBase64, toBase64, toUtf8 } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { UpkeepError } from "../../core/errors.ts";
import { isJsonObject, parseJson, type Json } from "../../core/json.ts";
import { publicKeyFromSpki, type PublicKey } from "../../keys/public-key.ts";
import { isScheme, type Scheme } from "../../keys/scheme.ts";
import { SigningError } from "../../signing/errors.ts";
import { issueTicket, MAX_MESSAGE, type Ticket } from "../../signing/custody/ticket.ts";
import type { KeyRing } from "../../signing/ports.ts";
import { BatchWriter } from "../system/batch-writer.ts";

/** json length (4) || bytes length (4) || json || bytes */
const HEAD = 8;
const MAX_JSON = 16 * 1024;

export function packetOf(json: Json, bytes: Uint8Array = new Uint8Array(0)): Uint8Array {
  const text = toUtf8(JSON.stringify(json));
  const head = new Uint8Array(HEAD);
  new DataView(head.buffer).setUint32(0, text.length);
  new DataView(head.buffer).setUint32(4, bytes.length);
  return concat([head, text, bytes]);
}

export type Packet = { readonly json: Json; readonly bytes: Uint8Array };

export class PacketReader {
  #buffer: Uint8Array = new Uint8Array(0);

  /** Errors: `signing/bad-frame`, `json/*`. */
  *push(part: Uint8Array): Generator<Packet> {
    this.#buffer = this.#buffer.length === 0 ? part : concat([this.#buffer, part]);
    while (this.#buffer.length >= HEAD) {
      const view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset, HEAD);
      const [json, bytes] = [view.getUint32(0), view.getUint32(4)];
      if (json > MAX_JSON || bytes > MAX_MESSAGE) {
        throw new SigningError("signing/bad-frame", "A message between the signer's processes is too long.");
      }
      const end = HEAD + json + bytes;
      if (this.#buffer.length < end) return;
      const packet = this.#buffer.subarray(0, end);
      this.#buffer = this.#buffer.subarray(end);
      yield { json: parseJson(packet.subarray(HEAD, HEAD + json)), bytes: packet.slice(HEAD + json) };
    }
  }
}

/** A key works this long, in milliseconds, before the answers that it has leave. */
const TURN = 4;

/** The key's side: answers each request in turn. `sign` checks the ticket before it touches the key. */
export function serveKey(
  path: string,
  key: PublicKey,
  sign: (ticket: Json, message: Uint8Array) => Promise<Uint8Array>,
): Promise<Server> {
  const server = createServer((socket) => {
    const reader = new PacketReader();
    const answers = new BatchWriter(socket);
    const waiting: Packet[] = [];
    let working = false;
    // Signing blocks this process: without turns the first of many answers would wait for the last.
    const work = async (): Promise<void> => {
      working = true;
      while (waiting.length > 0) {
        const until = performance.now() + TURN;
        do void answer(answers, waiting.shift()!, sign);
        while (waiting.length > 0 && performance.now() < until);
        await new Promise((resolve) => setImmediate(resolve));
        answers.flush();
      }
      working = false;
    };
    socket.on("error", () => {});
    // Nobody is left to hear of what still waits.
    socket.once("close", () => waiting.splice(0));
    socket.write(packetOf({ spki: toBase64(key.spki), scheme: key.scheme }));
    socket.on("data", (part) => {
      try {
        for (const packet of reader.push(part)) waiting.push(packet);
      } catch {
        socket.destroy();
        return;
      }
      if (!working) void work();
    });
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => resolve(server));
  });
}

async function answer(
  answers: BatchWriter,
  { json, bytes }: Packet,
  sign: (ticket: Json, message: Uint8Array) => Promise<Uint8Array>,
): Promise<void> {
  const id = isJsonObject(json) && typeof json["id"] === "number" ? json["id"] : -1;
  try {
    if (!isJsonObject(json)) throw new SigningError("signing/bad-ticket", "The request is malformed.");
    const signature = await sign(json["ticket"] ?? null, bytes);
    answers.write(packetOf({ id, ok: true }, signature));
  } catch (error) {
    const code = error instanceof UpkeepError ? error.code : "signing/key-failed";
    answers.write(packetOf({ id, ok: false, code, message: String((error as Error).message).slice(0, 500) }));
  }
}

type Pending = { readonly resolve: (signature: Uint8Array) => void; readonly reject: (error: Error) => void };

/** One connection to one key's process, made again whenever it breaks. */
class KeyLine {
  readonly #path: string;
  readonly #name: string;
  readonly #pending = new Map<number, Pending>();
  #socket: Socket | null = null;
  #requests: BatchWriter | null = null;
  #next = 1;
  #closed = false;
  publicKey: PublicKey | null = null;
  lastPublicKey: PublicKey | null = null;
  readonly ready: Promise<void>;
  #isReady: () => void = () => {};

  constructor(name: string, path: string) {
    this.#name = name;
    this.#path = path;
    this.ready = new Promise((resolve) => (this.#isReady = resolve));
    this.#connect();
  }

  sign(ticket: Ticket, message: Uint8Array): Promise<Uint8Array> {
    const requests = this.#requests;
    if (requests === null || this.publicKey === null) return Promise.reject(this.#gone());
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      requests.write(packetOf({ id, ticket }, message));
    });
  }

  /** Gives up what is in flight; the keeper replaces the process. */
  drop(): void {
    this.#socket?.destroy();
  }

  close(): void {
    this.#closed = true;
    this.#socket?.destroy();
  }

  #connect(): void {
    if (this.#closed) return;
    const socket = connect(this.#path);
    const reader = new PacketReader();
    this.#socket = socket;
    this.#requests = new BatchWriter(socket);
    socket.on("error", () => {});
    socket.once("close", () => {
      this.#socket = null;
      this.#requests = null;
      this.publicKey = null;
      for (const pending of this.#pending.values()) pending.reject(this.#gone());
      this.#pending.clear();
      if (!this.#closed) setTimeout(() => this.#connect(), 100).unref();
    });
    socket.on("data", (part) => {
      try {
        for (const { json, bytes } of reader.push(part)) this.#packet(json, bytes);
      } catch {
        socket.destroy();
      }
    });
  }

  #packet(json: Json, bytes: Uint8Array): void {
    if (!isJsonObject(json)) return this.drop();
    if (this.publicKey === null) {
      const { spki, scheme } = json;
      if (typeof spki !== "string" || typeof scheme !== "string" || !isScheme(scheme)) return this.drop();
      this.publicKey = publicKeyFromSpki(fromBase64(spki), scheme);
      this.lastPublicKey = this.publicKey;
      this.#isReady();
      return;
    }
    const pending = this.#pending.get(Number(json["id"]));
    this.#pending.delete(Number(json["id"]));
    if (json["ok"] === true) pending?.resolve(bytes);
    else {
      const code = json["code"] === "signing/bad-ticket" ? "signing/bad-ticket" : "signing/key-failed";
      pending?.reject(
        new SigningError(code, `The key ${this.#name} did not sign: ${String(json["message"])}`, {
          key: this.#name,
        }),
      );
    }
  }

  #gone(): SigningError {
    return new SigningError(
      "signing/key-failed",
      `The process of the key ${this.#name} is being replaced; try again.`,
      {
        key: this.#name,
      },
    );
  }
}

/** All keys of a signer, as the deciding process sees them. */
export class KeyProcesses implements KeyRing {
  readonly #lines = new Map<string, KeyLine>();
  readonly #folder: string;
  readonly #ticketKey: Uint8Array;
  readonly #clock: Clock;
  readonly #askKeeper: (key: string) => void;

  constructor(given: {
    readonly folder: string;
    readonly ticketKey: Uint8Array;
    readonly clock: Clock;
    readonly replace: (key: string) => void;
  }) {
    this.#folder = given.folder;
    this.#ticketKey = given.ticketKey;
    this.#clock = given.clock;
    this.#askKeeper = given.replace;
  }

  /** Connects to the processes of these keys and drops the others. */
  use(names: readonly string[]): void {
    for (const [name, line] of this.#lines) {
      if (names.includes(name)) continue;
      line.close();
      this.#lines.delete(name);
    }
    for (const name of names) {
      if (!this.#lines.has(name)) this.#lines.set(name, new KeyLine(name, socketPath(this.#folder, name)));
    }
  }

  async ready(name: string): Promise<PublicKey> {
    const line = this.#lines.get(name);
    await line?.ready;
    return line!.lastPublicKey!;
  }

  publicKey(key: string): PublicKey | null {
    return this.#lines.get(key)?.publicKey ?? null;
  }

  lastPublicKey(key: string): PublicKey | null {
    return this.#lines.get(key)?.lastPublicKey ?? null;
  }

  issue(key: string, scheme: Scheme, message: Uint8Array, intent: number): Ticket {
    return issueTicket(this.#ticketKey, { key, scheme, message, intent, now: this.#clock.now() });
  }

  sign(ticket: Ticket, message: Uint8Array): Promise<Uint8Array> {
    const line = this.#lines.get(ticket.key);
    if (line === undefined) {
      return Promise.reject(
        new SigningError("signing/key-unavailable", `There is no key ${ticket.key}.`, { key: ticket.key }),
      );
    }
    return line.sign(ticket, message);
  }

  replace(key: string): void {
    this.#lines.get(key)?.drop();
    this.#askKeeper(key);
  }

  close(): void {
    for (const line of this.#lines.values()) line.close();
  }
}

/** `folder` has a name that cannot be guessed. Windows knows no sockets in folders, but pipes by name. */
export function socketPath(folder: string, key: string, platform: string = process.platform): string {
  if (platform === "win32") return `\\\\.\\pipe\\${folder.split(/[\\/]/).at(-1)!}-${key}`;
  return `${folder}/${key}.sock`;
}
