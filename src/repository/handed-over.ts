// Trusted metadata that an agent hands to the programs of its device: walked again from the root they were shipped with, not taken on its word.

import { fromBase64, toBase64 } from "../core/bytes.ts";
import { checkSchema, z } from "../core/schema.ts";
import { parseJson } from "../core/json.ts";
import { stableJsonFile } from "../core/stable-json.ts";
import { RepositoryError } from "./errors.ts";
import { parseTargetName } from "./names.ts";
import { initialRoot, isListedContent, nextRoot, storedTargets } from "./trusted-set.ts";

/** Bytes of what is handed over at most. */
export const HANDED_LIMIT = 16 * 1024 * 1024;
const ROOTS = 1024;

const blob = z.string();
const handedSchema = z.strictObject({
  format: z.literal(1),
  /** Ascending, as far as the device has followed them. */
  roots: z.array(blob).check(z.maxLength(ROOTS)),
  targets: blob,
  /** By target name. */
  files: z.record(z.string(), blob),
});

export type Handed = {
  readonly roots: readonly Uint8Array[];
  readonly targets: Uint8Array;
  readonly files: ReadonlyMap<string, Uint8Array>;
};

export function serializeHanded({ roots, targets, files }: Handed): Uint8Array {
  return stableJsonFile({
    format: 1,
    roots: roots.map(toBase64),
    targets: toBase64(targets),
    files: Object.fromEntries([...files].map(([name, bytes]) => [name, toBase64(bytes)])),
  });
}

/**
 * The files that the newest root's targets role lists, each with its digest checked. Expiry and freshness are the agent's business: what is
 * handed over cannot be newer than the device, only older, and older keys grant nothing that was not granted.
 * Errors: `json/*`, `schema/invalid`, `repository/*`.
 */
export function openHanded(bytes: Uint8Array, trustedRoot: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const handed = checkSchema(handedSchema, parseJson(bytes), "metadata that the agent handed over");
  let root = initialRoot(trustedRoot);
  for (const text of handed.roots) {
    const next = fromBase64(text);
    // The device keeps every root that it followed, those before ours included.
    if (isBefore(next, root.signed.version)) continue;
    root = nextRoot(root, next);
  }
  const targets = storedTargets(root, fromBase64(handed.targets));
  const files = new Map<string, Uint8Array>();
  for (const [name, text] of Object.entries(handed.files)) {
    const content = fromBase64(text);
    const listed = targets.signed.targets.get(parseTargetName(name));
    if (listed === undefined || !isListedContent(name, content, { ...listed, version: 1 }))
      throw new RepositoryError(
        "repository/content-mismatch",
        `The file ${name.slice(0, 80)} that the agent handed over is not the one that the repository lists.`,
        { target: name.slice(0, 80) },
      );
    files.set(name, content);
  }
  return files;
}

function isBefore(bytes: Uint8Array, version: number): boolean {
  return initialRoot(bytes).signed.version <= version;
}
