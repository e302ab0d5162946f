// Tables of page hashes that are too large for a request: they come in parts, are read and hashed as they come, and are kept nowhere.

import { createHash, type Hash } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import { fromHex, toHex } from "../../core/bytes.ts";
import { MINUTE } from "../../core/instant.ts";
import { peIndirectOctets } from "../../artifact/pe/indirect.ts";
import { PageRows } from "../../artifact/pe/page-rows.ts";
import { UpkeepError } from "../../core/errors.ts";
import { SigningError } from "../errors.ts";
import { tableReference } from "./operation.ts";
import type { SigningRequest } from "./request.ts";

/** Tables on their way at a time: of one user, and of all. */
export const MAX_UPLOADS_OF_USER = 4;
export const MAX_UPLOADS = 16;
/** A table that nobody goes on with makes room for others after this long. */
const STALE = MINUTE;
/** Digests of whole tables are kept for a request that has to be sent again. */
const KEPT = 15 * MINUTE;
const MAX_KEPT = 1000;

type Upload = {
  readonly user: string;
  /** Hash of the request: another request under the same id is another table. */
  readonly hash: string;
  readonly sha256: string;
  readonly length: number;
  /** Over the table, to compare with what the request says. */
  readonly table: Hash;
  /** Over the indirect data around the table: this is what is signed. */
  readonly content: Hash;
  readonly after: Uint8Array;
  readonly rows: PageRows;
  received: number;
  at: number;
  digest: Uint8Array | null;
};

/**
 * absent --missing--> coming --push (all of it, as promised)--> whole --forget--> absent
 * A table that is not what the request says, or that nobody goes on with, is forgotten.
 */
export class TableUploads {
  readonly #clock: Clock;
  readonly #uploads = new Map<string, Upload>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * How much of the request's table is there, or null if none is missing. The first call makes room for it.
   * Errors: `signing/busy` when too many tables are on their way.
   */
  missing(user: string, request: SigningRequest, hash: string): number | null {
    const { operation } = request;
    const named = tableReference(operation);
    if (named === null || operation.kind !== "authenticode") return null;
    const key = keyOf(user, request.id);
    const known = this.#uploads.get(key);
    if (known?.hash === hash) return known.digest === null ? known.received : null;
    this.#uploads.delete(key);
    this.#makeRoom(user);
    const around = peIndirectOctets(
      operation.algorithm,
      fromHex(operation.digest),
      named.algorithm,
      named.length,
    );
    this.#uploads.set(key, {
      user,
      hash,
      sha256: named.sha256,
      length: named.length,
      table: createHash("sha256"),
      content: createHash(operation.algorithm).update(around.before),
      after: around.after,
      rows: new PageRows(named.algorithm, named.length, request.file.length),
      received: 0,
      at: this.#clock.monotonic(),
      digest: null,
    });
    return 0;
  }

  /**
   * Takes the part that begins at `offset`; one that is there already is passed over. Returns how much is there.
   * Errors: `signing/bad-request`.
   */
  push(user: string, id: string, offset: number, part: Uint8Array): number {
    const key = keyOf(user, id);
    const upload = this.#uploads.get(key);
    if (upload === undefined) throw refused(id, "no table is awaited for it");
    upload.at = this.#clock.monotonic();
    // Sent again after an answer that was lost.
    if (offset < upload.received) return upload.received;
    if (offset > upload.received || part.length === 0 || offset + part.length > upload.length)
      throw refused(id, "the part does not go on where the last one ended");
    this.#read(key, id, () => upload.rows.push(part));
    upload.table.update(part);
    upload.content.update(part);
    upload.received += part.length;
    if (upload.received === upload.length) {
      if (toHex(new Uint8Array(upload.table.digest())) !== upload.sha256) {
        this.#uploads.delete(key);
        throw refused(id, "the table is not the one that the request names");
      }
      this.#read(key, id, () => upload.rows.end());
      upload.digest = new Uint8Array(upload.content.update(upload.after).digest());
    }
    return upload.received;
  }

  /** Digest of the whole indirect data; null if the request names no table, or it is not there. */
  contentDigest(user: string, request: SigningRequest, hash: string): Uint8Array | null {
    const upload = this.#uploads.get(keyOf(user, request.id));
    return upload?.hash === hash ? upload.digest : null;
  }

  /** Nothing more of a table is taken once one of its rows is wrong. */
  #read(key: string, id: string, read: () => void): void {
    try {
      read();
    } catch (cause) {
      this.#uploads.delete(key);
      if (!(cause instanceof UpkeepError)) throw cause;
      throw refused(id, String(cause.facts["what"] ?? cause.message));
    }
  }

  forget(user: string, id: string): void {
    this.#uploads.delete(keyOf(user, id));
  }

  #makeRoom(user: string): void {
    const now = this.#clock.monotonic();
    for (const [key, { at, digest }] of this.#uploads)
      if (now - at > (digest === null ? STALE : KEPT)) this.#uploads.delete(key);
    const coming = [...this.#uploads.values()].filter(({ digest }) => digest === null);
    const own = coming.filter((upload) => upload.user === user);
    if (coming.length >= MAX_UPLOADS || own.length >= MAX_UPLOADS_OF_USER)
      throw new SigningError("signing/busy", "Too many tables of page hashes are on their way; try again.");
    if (this.#uploads.size - coming.length >= MAX_KEPT) {
      const oldest = [...this.#uploads].find(([, { digest }]) => digest !== null)!;
      this.#uploads.delete(oldest[0]);
    }
  }
}

function keyOf(user: string, id: string): string {
  return `${id} ${user}`;
}

function refused(id: string, what: string): SigningError {
  return new SigningError("signing/bad-request", `The table of page hashes is refused: ${what}.`, {
    request: id,
  });
}
