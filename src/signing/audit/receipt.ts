// Receipts (C2SP tlog-proof): an entry, its way to the root, and the signed checkpoint, in one text file.

import { fromBase64, fromUtf8, toBase64, toUtf8 } from "../../core/bytes.ts";
import { SigningError } from "../errors.ts";
import { openCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { leafOf, parseEntry, type AuditEntry, type EntryOf } from "./entry.ts";
import type { NoteKey } from "./note.ts";
import { verifyInclusion } from "./proof.ts";

const FIRST_LINE = "c2sp.org/tlog-proof@v1";
export const MAX_RECEIPT = 128 * 1024;

export type Receipt = {
  readonly entry: Uint8Array;
  readonly index: number;
  readonly proof: readonly Uint8Array[];
  readonly checkpoint: string;
};

/** tlog-proof "Format"; the entry itself travels as the extra data. */
export function formatReceipt({ entry, index, proof, checkpoint }: Receipt): string {
  const lines = [FIRST_LINE, `extra ${toBase64(entry)}`, `index ${index}`, ...proof.map(toBase64)];
  return `${lines.join("\n")}\n\n${checkpoint}`;
}

/** Errors: `signing/bad-proof`. */
export function parseReceipt(bytes: Uint8Array): Receipt {
  if (bytes.length > MAX_RECEIPT) throw bad(`it is longer than ${MAX_RECEIPT} bytes`);
  const text = fromUtf8(bytes);
  const cut = text.indexOf("\n\n");
  const [first, extra, index, ...path] = text.slice(0, Math.max(cut, 0)).split("\n");
  if (first !== FIRST_LINE) throw bad(`its first line is not ${FIRST_LINE}`);
  if (extra?.startsWith("extra ") !== true) throw bad("it carries no entry");
  const number = /^index (0|[1-9]\d{0,15})$/.exec(index ?? "");
  if (number === null) throw bad("its index is malformed");
  if (path.length > 64) throw bad("its path is too long");
  try {
    return {
      entry: fromBase64(extra.slice(6)),
      index: Number(number[1]),
      proof: path.map((hash) => fromBase64(hash)),
      checkpoint: text.slice(cut + 2),
    };
  } catch (cause) {
    throw bad("it holds something that is not canonical base64", cause);
  }
}

export type VerifiedReceipt = {
  readonly entry: AuditEntry;
  readonly index: number;
  readonly checkpoint: Checkpoint;
};

/** The entry, once it is proven to be in the log of `key`. Errors: `signing/bad-proof`, `signing/bad-note`. */
export function verifyReceipt(bytes: Uint8Array, key: NoteKey): VerifiedReceipt {
  const receipt = parseReceipt(bytes);
  const checkpoint = openedOnce(receipt.checkpoint, key);
  if (
    !verifyInclusion(leafOf(receipt.entry), receipt.index, checkpoint.size, receipt.proof, checkpoint.root)
  ) {
    throw bad("the entry is not in the log that the checkpoint describes: the receipt was changed");
  }
  const entry = parseEntry(receipt.entry);
  if (entry.n !== receipt.index) throw bad("the entry's own number is another one");
  return { entry, index: receipt.index, checkpoint };
}

const opened = new WeakMap<NoteKey, { readonly note: string; readonly checkpoint: Checkpoint }>();

/** Receipts of signatures that were made together end in the very same checkpoint: its signature is checked once for each key. */
function openedOnce(note: string, key: NoteKey): Checkpoint {
  const last = opened.get(key);
  if (last?.note === note) return last.checkpoint;
  const checkpoint = openCheckpoint(toUtf8(note), key);
  opened.set(key, { note, checkpoint });
  return checkpoint;
}

/**
 * That this receipt is the one of this signature over this file. `signatureSha256` is of the bytes that the service
 * returned, `digest` what was signed. Errors: `signing/receipt-mismatch`.
 */
export function receiptOfSignature(
  { entry }: VerifiedReceipt,
  expected: { readonly digest: string; readonly signatureSha256?: string },
): EntryOf<"result"> {
  const mismatch = (what: string): SigningError =>
    new SigningError("signing/receipt-mismatch", `The receipt does not belong to this file: ${what}.`, {
      entry: entry.n,
    });
  if (entry.kind !== "result") throw mismatch(`its entry is a ${entry.kind}, not a signature`);
  if (entry.digest !== expected.digest) throw mismatch("it is for other bytes");
  if (expected.signatureSha256 !== undefined && entry.signatureSha256 !== expected.signatureSha256) {
    throw mismatch("it is for another signature");
  }
  return entry;
}

function bad(what: string, cause?: unknown): SigningError {
  return new SigningError("signing/bad-proof", `The receipt is refused: ${what}.`, {}, { cause });
}
