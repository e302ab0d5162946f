// What the log keeps of requests, read back: the answer to one that was signed before, and a request that waited.

import { fromBase64, toBase64 } from "../../core/bytes.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import type { Blob, EntryOf } from "../audit/entry.ts";
import type { AuditLog } from "../audit/log.ts";
import { SigningError } from "../errors.ts";
import type { SignOutcome } from "../wire/protocol.ts";
import { readKeptRequest, type SigningRequest } from "./request.ts";

export type KeptResult = { readonly entry: EntryOf<"result">; readonly bytes: Uint8Array };

type KeptPorts = { readonly log: AuditLog; readonly readBlob: (blob: Blob) => Promise<Uint8Array> };

export class KeptAnswers {
  readonly #ports: KeptPorts;

  constructor(ports: KeptPorts) {
    this.#ports = ports;
  }

  /** The result of a request that was signed before, as the log holds it. */
  async result(n: number, request: string): Promise<KeptResult> {
    const { entry, bytes } = await this.#ports.log.entry(n);
    if (entry.kind !== "result" || entry.request !== request) throw new Error(`entry ${n} is another one`);
    return { entry, bytes };
  }

  /** Error: `signing/busy` until a durable checkpoint covers it, which is a matter of moments: nobody hears of a result before. */
  async answer({ entry, bytes }: KeptResult): Promise<SignOutcome> {
    const { log, readBlob } = this.#ports;
    const { checkpoint, covered: size } = log;
    if (entry.n >= size)
      throw new SigningError("signing/busy", "The request is just being signed; try again.");
    return {
      state: "signed",
      request: entry.request,
      reply: toBase64(await readBlob(entry.reply)),
      receipt: await log.receipt({ bytes, index: entry.n, checkpoint, size }),
    };
  }

  async request(document: Blob): Promise<SigningRequest> {
    const envelope = parseJson(await this.#ports.readBlob(document));
    if (!isJsonObject(envelope) || typeof envelope["payload"] !== "string")
      throw new Error("a kept request is unreadable");
    return readKeptRequest(fromBase64(envelope["payload"]));
  }
}
