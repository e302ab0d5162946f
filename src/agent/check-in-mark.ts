// The mark that the server's last answer left on this device: brought back with the next question, it shows two copies of one device.

import { toUtf8 } from "../core/bytes.ts";
import { readOrNull, writeAtomic } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJson } from "../core/json.ts";
import { checkSchema, z } from "../core/schema.ts";
import { markSchema } from "../message/check-in.ts";
import { keepHead, loadHead } from "./audit-witness.ts";
import type { Marks } from "./check.ts";
import { sentenceOf } from "./errors.ts";
import type { World } from "./ports.ts";

const LIMIT = 1024;
const schema = z.strictObject({ format: z.literal(1), mark: markSchema });

/** Where a device keeps its marks. */
export function marksIn({ world, folder }: { readonly world: World; readonly folder: string }): Marks {
  return {
    load: () => loadMark(world, folder),
    keep: (mark) => keepMark(world, folder, mark),
    head: () => loadHead(world, folder),
    keepHead: (head) => keepHead(world, folder, head),
  };
}

/** Null before the first answer, and when the file cannot be read: the server takes that as a device that lost its memory. */
async function loadMark({ disk }: World, folder: string): Promise<string | null> {
  try {
    const bytes = await readOrNull(disk, fileOf(folder), LIMIT);
    return bytes === null ? null : checkSchema(schema, parseJson(bytes), "mark of the last check-in").mark;
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    return null;
  }
}

/** A disk that cannot take it keeps nobody from an update: the mark before is brought once more, as after a lost answer. */
async function keepMark({ disk, log }: World, folder: string, mark: string): Promise<void> {
  try {
    const text = JSON.stringify({ format: 1, mark });
    await writeAtomic(disk, fileOf(folder), toUtf8(`${text}\n`), 0o600);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    log({ level: "warn", event: "mark-not-kept", code: error.code, message: sentenceOf(error) });
  }
}

function fileOf(folder: string): string {
  return `${folder}/check-in.json`;
}
