// What the last full check of a slot saw, kept beside it, so that a device that asks for it need not read what did not change.

import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { formatInstant, parseInstant, SECOND, type Instant } from "../core/instant.ts";
import { parseJsonText } from "../core/json.ts";
import { checkSchema, instantSchema, z } from "../core/schema.ts";
import type { Checked, Stamps } from "./check-slot.ts";
import { sameSlot, slotIdSchema, type Layout, type SlotId } from "./layout.ts";

const checkedSchema = z.strictObject({
  format: z.literal(1),
  slot: slotIdSchema,
  /** When every byte was read last. */
  at: instantSchema,
  stamps: z.array(z.tuple([z.string(), z.string()])),
});

const LIMIT = 64 * 1024 * 1024;
/** Times of files are coarse: what changed a moment ago may change again without showing it. */
const SETTLED = 2 * SECOND;

export type LastCheck = { readonly stamps: Stamps; readonly at: Instant };

/** Null if there is none for this slot, or none that can be read: then everything is read again. Errors: `disk/*`. */
export async function loadChecked(disk: Disk, layout: Layout, slot: SlotId): Promise<LastCheck | null> {
  const bytes = await readOrNull(disk, layout.checked, LIMIT);
  if (bytes === null) return null;
  try {
    const found = checkSchema(checkedSchema, parseJsonText(fromUtf8(bytes)), "result of a check");
    if (!sameSlot(found.slot, slot)) return null;
    return { stamps: new Map(found.stamps), at: parseInstant(found.at) };
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

/** Keeps what a check of every byte saw; nothing of a slot whose files are too young to tell. Errors: `disk/*`. */
export async function saveChecked(
  disk: Disk,
  layout: Layout,
  slot: SlotId,
  checked: Checked,
  now: Instant,
): Promise<void> {
  if (checked.changedMs > now - SETTLED) return;
  const value = { format: 1, slot, at: formatInstant(now), stamps: [...checked.stamps] };
  await writeAtomic(disk, layout.checked, toUtf8(`${JSON.stringify(value)}\n`), 0o600);
}
