// The owner's decision to uninstall a component: a file that is written before the first step, and lasts until the owner takes it back.

import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { exists, readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJsonText } from "../core/json.ts";
import { checkSchema, instantSchema, versionSchema, z } from "../core/schema.ts";
import { attemptIdSchema } from "./journal-event.ts";
import type { Layout } from "./layout.ts";

const uninstalledSchema = z.strictObject({
  format: z.literal(1),
  id: attemptIdSchema,
  at: instantSchema,
  /** What was installed then; null if nothing was. */
  version: z.nullable(versionSchema),
  /** Whether its data goes as well. */
  purge: z.boolean(),
  /** False while something of it is still to be removed. */
  done: z.boolean(),
});
export type Uninstalled = z.infer<typeof uninstalledSchema>;

/** Null if the component was not uninstalled. One that cannot be read is one all the same: nothing more is removed by it, and nothing installed. */
export async function loadUninstalled(disk: Disk, layout: Layout): Promise<Uninstalled | null> {
  const bytes = await readOrNull(disk, layout.uninstalled, 64 * 1024);
  if (bytes === null) return null;
  try {
    return checkSchema(uninstalledSchema, parseJsonText(fromUtf8(bytes)), "decision to uninstall");
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    return {
      format: 1,
      id: "0".repeat(32),
      at: "1970-01-01T00:00:00Z",
      version: null,
      purge: false,
      done: true,
    };
  }
}

/** Durable when it returns. Errors: `disk/*`. */
export async function saveUninstalled(disk: Disk, layout: Layout, decision: Uninstalled): Promise<void> {
  await writeAtomic(disk, layout.uninstalled, toUtf8(`${JSON.stringify(decision)}\n`), 0o600);
}

/** From now on the component may be installed again. Errors: `disk/*`. */
export async function forgetUninstalled(disk: Disk, layout: Layout): Promise<void> {
  if (await exists(disk, layout.uninstalled)) await disk.removeFile(layout.uninstalled);
  await disk.syncDirectory(layout.folder);
}
