// Checkpoints (C2SP tlog-checkpoint): the signed size and root hash of the audit log.

import { fromBase64, toBase64, toUtf8 } from "../../core/bytes.ts";
import { SigningError } from "../errors.ts";
import { formatNote, openNote, type NoteKey } from "./note.ts";

export type Checkpoint = { readonly origin: string; readonly size: number; readonly root: Uint8Array };

/** The note text; three lines, no extensions. */
export function checkpointText({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${toBase64(root)}\n`;
}

/** The text parsed strictly. Errors: `signing/bad-note`. */
export function parseCheckpointText(text: string): Checkpoint {
  const match = /^([^\n]+)\n(0|[1-9]\d{0,15})\n([A-Za-z0-9+/]{43}=)\n$/.exec(text);
  if (match === null) {
    throw new SigningError(
      "signing/bad-note",
      "The checkpoint is not three lines of origin, size and root hash.",
    );
  }
  return { origin: match[1]!, size: Number(match[2]), root: fromBase64(match[3]!) };
}

/** `sign` is the log key, wherever it lives. */
export async function signCheckpoint(
  checkpoint: Checkpoint,
  key: NoteKey,
  sign: (message: Uint8Array) => Promise<Uint8Array>,
): Promise<string> {
  const text = checkpointText(checkpoint);
  return formatNote(text, [{ key, signature: await sign(toUtf8(text)) }]);
}

/** A checkpoint whose signature and origin hold. Errors: `signing/bad-note`. */
export function openCheckpoint(bytes: Uint8Array, key: NoteKey): Checkpoint {
  const checkpoint = parseCheckpointText(openNote(bytes, key));
  // tlog-checkpoint "Signatures": the log's key name matches the origin line; two logs never share a key here.
  if (checkpoint.origin !== key.name) {
    throw new SigningError(
      "signing/bad-note",
      `The checkpoint is of the log "${checkpoint.origin.slice(0, 80)}", not of "${key.name}".`,
    );
  }
  return checkpoint;
}
