// The newest head of the server's audit log that this device was given; brought back with each check-in, so that the log cannot be cut unseen.

import { toUtf8 } from "../core/bytes.ts";
import { readOrNull, writeAtomic } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJson } from "../core/json.ts";
import { checkSchema, z } from "../core/schema.ts";
import { auditHeadSchema, type AuditHead } from "../message/audit-head.ts";
import { sentenceOf } from "./errors.ts";
import type { World } from "./ports.ts";

const LIMIT = 4096;
const schema = z.strictObject({ format: z.literal(1), head: auditHeadSchema });

/** Null before the first, and when the file cannot be read. */
export async function loadHead({ disk }: World, folder: string): Promise<AuditHead | null> {
  try {
    const bytes = await readOrNull(disk, fileOf(folder), LIMIT);
    return bytes === null ? null : checkSchema(schema, parseJson(bytes), "head of the audit log").head;
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    return null;
  }
}

/**
 * The highest number stays: a server whose log was cut gives a lower one, and would have the witness forget. A disk that cannot take it
 * keeps no device from an update.
 */
export async function keepHead(world: World, folder: string, head: AuditHead): Promise<void> {
  const known = await loadHead(world, folder);
  if (known !== null && known.sequence >= head.sequence) return;
  try {
    await writeAtomic(world.disk, fileOf(folder), toUtf8(`${JSON.stringify({ format: 1, head })}\n`), 0o600);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    world.log({ level: "warn", event: "audit-head-not-kept", code: error.code, message: sentenceOf(error) });
  }
}

function fileOf(folder: string): string {
  return `${folder}/audit-head.json`;
}
