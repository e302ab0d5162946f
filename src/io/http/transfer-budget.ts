// Budgets of transfers: how many files one caller may be sent at once, and how slowly it may take them, so that nobody keeps the others from theirs.

import type { ServerResponse } from "node:http";
import { HttpError } from "./errors.ts";

export type TransferLimits = {
  /** Files that one device, known by its certificate, is sent at once. */
  readonly perDevice: number;
  /** Files that callers without a certificate are sent at once to one address. */
  readonly perAddress: number;
  /** Bytes that a reader takes at least in each `paceMs`. */
  readonly pace: number;
  readonly paceMs: number;
};

/** A device fetches a few files at a time; behind one address may be an office. The slowest links of today are faster than this pace. */
export const TRANSFER_LIMITS: TransferLimits = {
  perDevice: 8,
  perAddress: 128,
  pace: 32 * 1024,
  paceMs: 60_000,
};

export class TransferBudget {
  readonly #limits: TransferLimits;
  readonly #open = new Map<string, number>();
  #refused = 0;
  #cut = 0;

  constructor(limits: Partial<TransferLimits> = {}) {
    this.#limits = { ...TRANSFER_LIMITS, ...limits };
  }

  /** Transfers that were not begun, since the start. */
  get refused(): number {
    return this.#refused;
  }

  /** Transfers that were ended because nobody read them, since the start. */
  get cut(): number {
    return this.#cut;
  }

  /** Callers that are being sent something. */
  get size(): number {
    return this.#open.size;
  }

  /** Before the file is opened. `device`: the digest of its key; null for who showed none. Error: `http/too-many`. */
  check(device: string | null, address: string): void {
    const [key, limit] = this.#keyOf(device, address);
    if ((this.#open.get(key) ?? 0) < limit) return;
    this.#refused++;
    throw new HttpError(
      "http/too-many",
      `${limit} files are being sent to this ${device === null ? "address" : "device"} already.`,
      { limit },
      { headers: { "retry-after": "5" } },
    );
  }

  /** Counts the transfer while it lasts, and ends it when its reader falls behind the pace. */
  async carry(
    device: string | null,
    address: string,
    response: ServerResponse,
    send: () => Promise<void>,
  ): Promise<void> {
    this.check(device, address);
    const [key] = this.#keyOf(device, address);
    this.#open.set(key, (this.#open.get(key) ?? 0) + 1);
    const { pace, paceMs } = this.#limits;
    const { socket } = response;
    let before = taken(socket);
    const watch = setInterval(() => {
      const now = taken(socket);
      if (now - before < pace) {
        this.#cut++;
        response.destroy();
      }
      before = now;
    }, paceMs);
    try {
      await send();
    } finally {
      clearInterval(watch);
      const left = (this.#open.get(key) ?? 1) - 1;
      if (left > 0) this.#open.set(key, left);
      else this.#open.delete(key);
    }
  }

  #keyOf(device: string | null, address: string): readonly [key: string, limit: number] {
    const { perDevice, perAddress } = this.#limits;
    return device === null ? [`address ${address}`, perAddress] : [`device ${device}`, perDevice];
  }
}

/** What the other side has taken: what was given to the socket, without what still waits in it. */
function taken(socket: ServerResponse["socket"]): number {
  return socket === null ? 0 : socket.bytesWritten - socket.writableLength;
}
