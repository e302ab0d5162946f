// The record that lies in every slot: what it holds file by file, and how it is run.

import { createHash } from "node:crypto";
import { toUtf8 } from "../core/bytes.ts";
import { DiskError, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJson, type Json } from "../core/json.ts";
import { checkSchema, lengthSchema, nameSchema, sha256Schema, z } from "../core/schema.ts";
import { SlotError } from "./errors.ts";
import { slotIdSchema, slotPath, type Layout, type SlotId } from "./layout.ts";
import { readFile } from "./read-file.ts";

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

/** Errors: `slot/damaged`, `disk/*`. */
export async function readRecord(disk: Disk, layout: Layout, id: SlotId): Promise<SlotRecord> {
  return readRecordAt(disk, slotPath(layout, id));
}

/** By the slot's path, for who does not know its id. Errors: `slot/damaged`, `disk/*`. */
export async function readRecordAt(disk: Disk, path: string): Promise<SlotRecord> {
  const bytes = await disk.read(`${path}/${RECORD_NAME}`, RECORD_LIMIT);
  try {
    return checkSchema(recordSchema, parseJson(bytes), "slot record");
  } catch (cause) {
    if (!(cause instanceof UpkeepError)) throw cause;
    throw new SlotError(
      "slot/damaged",
      `The record of the slot ${path} cannot be read.`,
      { path },
      { cause },
    );
  }
}

/**
 * Reads back every byte of a slot and compares it with its record: nothing missing, changed or added.
 * Errors: `slot/damaged`, `disk/*`.
 */
export async function checkSlot(disk: Disk, path: string, files: readonly SlotFile[]): Promise<void> {
  const damaged = (entry: string, what: string): SlotError =>
    new SlotError("slot/damaged", `The slot ${path} is damaged: ${entry} ${what}.`, { path, entry });
  for (const file of files) {
    const at = `${path}/${file.path}`;
    const stat = await disk.stat(at).catch((error: unknown) => {
      if (error instanceof DiskError && error.code === "disk/missing") throw damaged(file.path, "is missing");
      throw error;
    });
    if (stat.kind !== file.kind) throw damaged(file.path, `is a ${stat.kind} and not a ${file.kind}`);
    if (file.kind === "link" && (await disk.readLink(at)) !== file.target)
      throw damaged(file.path, "points elsewhere");
    if (file.kind !== "file") continue;
    if (stat.size !== file.size) throw damaged(file.path, `has ${stat.size} bytes instead of ${file.size}`);
    if (((stat.mode & 0o111) !== 0) !== file.executable)
      throw damaged(file.path, "has another executable bit");
    const hash = createHash("sha256");
    for await (const part of readFile(disk, at)) hash.update(part);
    if (hash.digest("hex") !== file.sha256) throw damaged(file.path, "has other bytes");
  }
  const known = new Set(files.map((file) => file.path));
  for await (const name of walk(disk, path, "")) {
    if (name !== RECORD_NAME && !known.has(name)) throw damaged(name, "was added");
  }
}

async function* walk(disk: Disk, path: string, prefix: string): AsyncGenerator<string> {
  for (const name of await disk.list(prefix === "" ? path : `${path}/${prefix}`)) {
    const inner = prefix === "" ? name : `${prefix}/${name}`;
    yield inner;
    if ((await disk.stat(`${path}/${inner}`)).kind === "directory") yield* walk(disk, path, inner);
  }
}
