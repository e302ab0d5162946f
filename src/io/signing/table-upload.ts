// Sending a table of page hashes to a signer: part by part, in as many sessions as the gateway's budget makes of it.

import { toBase64 } from "../../core/bytes.ts";
import { SigningError } from "../../signing/errors.ts";
import { MAX_PART, type Answers, type CallBody } from "../../signing/wire/protocol.ts";

/** A session as far as a table is concerned. */
export interface TablePath {
  /** Bytes that may go through it, both ways, and how many of them are left. */
  readonly budget: number;
  readonly room: number;
  call(body: CallBody & { readonly type: "table" }): Promise<Answers["table"]>;
}

/** Frames, TLS records and the answer beside the part itself. */
const OVERHEAD = 2048;

/** True when all of it is there, false when the session has no room for another part. Errors: those of the signer, `signing/bad-reply`. */
export async function sendTable(
  path: TablePath,
  request: string,
  table: Uint8Array,
  received: number,
): Promise<boolean> {
  // Half of a session at most, so that a small budget still carries a part beside the request.
  const size = Math.min(MAX_PART, Math.floor((path.budget / 2) * 0.75));
  for (let at = received; at < table.length;) {
    const part = table.subarray(at, at + size);
    if (path.room < Math.ceil((part.length / 3) * 4) + OVERHEAD) return false;
    const answer = await path.call({ type: "table", request, offset: at, part: toBase64(part) });
    if (answer.received <= at || answer.received > table.length)
      throw new SigningError("signing/bad-reply", "The signer lost count of the table that it is sent.");
    at = answer.received;
  }
  return true;
}
