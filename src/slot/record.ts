// The record that lies in every slot: what it holds file by file, and how it is run.

import { toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import type { Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJson, type Json } from "../core/json.ts";
import { checkSchema, lengthSchema, nameSchema, sha256Schema, z } from "../core/schema.ts";
import { SlotError } from "./errors.ts";
import { slotIdSchema, slotPath, type Layout, type SlotId } from "./layout.ts";

const fileSchema = z.discriminatedUnion("kind", [
  z.strictObject({ path: z.string(), kind: z.literal("directory") }),
  z.strictObject({ path: z.string(), kind: z.literal("link"), target: z.string() }),
  z.strictObject({
    path: z.string(),
    kind: z.literal("file"),
    size: lengthSchema,
    sha256: sha256Schema,
    executable: z.boolean(),
  }),
]);
export type SlotFile = z.infer<typeof fileSchema>;

const recordSchema = z.strictObject({
  format: z.literal(1),
  product: nameSchema,
  id: slotIdSchema,
  artifactLength: lengthSchema,
  /** SHA-256 of the `release.json` target that named the artifact. */
  manifestSha256: sha256Schema,
  /** How the agent runs and probes this version; its form is the agent's. */
  run: z.custom<Json>(),
  /** Every name in the slot but this record, sorted. */
  files: z.array(fileSchema),
});
export type SlotRecord = z.infer<typeof recordSchema>;

export const RECORD_NAME = ".upkeep-slot.json";
export const RECORD_LIMIT = 64 * 1024 * 1024;

export function writeRecord(record: SlotRecord): Uint8Array {
  return toUtf8(`${JSON.stringify(record)}\n`);
}

/** `digest` is the SHA-256 that the record had when it was made, null if that is not known. Errors: `slot/damaged`, `disk/*`. */
export async function readRecord(
  disk: Disk,
  layout: Layout,
  id: SlotId,
  digest: string | null = null,
): Promise<SlotRecord> {
  return readRecordAt(disk, slotPath(layout, id), digest);
}

/** By the slot's path, for who does not know its id. Errors: `slot/damaged`, `disk/*`. */
export async function readRecordAt(
  disk: Disk,
  path: string,
  digest: string | null = null,
): Promise<SlotRecord> {
  const bytes = await disk.read(`${path}/${RECORD_NAME}`, RECORD_LIMIT);
  const found = sha256Hex(bytes);
  // Whoever changed a file and the record with it is noticed by what the component's state remembers of the record.
  if (digest !== null && found !== digest)
    throw new SlotError(
      "slot/damaged",
      `The slot ${path} is damaged: its record is not the one that was written.`,
      {
        path,
        entry: RECORD_NAME,
        expected: digest,
        found,
      },
    );
  try {
    return checkSchema(recordSchema, parseJson(bytes), "slot record");
  } catch (cause) {
    if (!(cause instanceof UpkeepError)) throw cause;
    throw new SlotError(
      "slot/damaged",
      `The slot ${path} is damaged: its record cannot be read.`,
      { path, entry: RECORD_NAME },
      { cause },
    );
  }
}

/** What a slot's record is remembered by. Errors: `disk/*`. */
export async function recordDigest(disk: Disk, layout: Layout, id: SlotId): Promise<string> {
  return sha256Hex(await disk.read(`${slotPath(layout, id)}/${RECORD_NAME}`, RECORD_LIMIT));
}
