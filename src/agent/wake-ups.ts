// What a device knows of wake-ups: which numbers are old, how many may still ring, and how many were dropped.

import { toUtf8 } from "../core/bytes.ts";
import { readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { SECOND } from "../core/instant.ts";
import { parseJson } from "../core/json.ts";
import { checkSchema, z } from "../core/schema.ts";
import { FULL_BUCKET, takeToken, type Bucket } from "./policy.ts";

/** An event this soon after a connection was opened says what was missed meanwhile: everybody who was away gets it at that moment. */
export const CATCH_UP = 5 * SECOND;
const LIMIT = 1024;

/** `ring`: check now. `catch-up`: check, each device at another moment. `echo`: was acted on already. `dropped`: too many came. */
export type WakeVerdict = "ring" | "catch-up" | "echo" | "dropped";

const schema = z.strictObject({
  format: z.literal(1),
  seq: z.number().check(z.int(), z.minimum(0), z.maximum(Number.MAX_SAFE_INTEGER)),
});

export class WakeUps {
  #seq: number;
  /** The highest number heard since the check under way, or the last one, began. */
  #heard = 0;
  #bucket: Bucket = FULL_BUCKET;
  #dropped = 0;

  constructor(seq = 0) {
    this.#seq = seq;
  }

  /** The newest number that was acted on: where the stream goes on. */
  get seq(): number {
    return this.#seq;
  }

  /** Judges one event. `opened`: when its connection was opened, null once an event came over it. Both by the monotonic clock. */
  take(seq: number, now: number, opened: number | null): WakeVerdict {
    if (seq <= this.#seq) return "echo";
    this.#seq = seq;
    this.#heard = Math.max(this.#heard, seq);
    if (opened !== null && now - opened < CATCH_UP) return "catch-up";
    const taken = takeToken(this.#bucket, now);
    this.#bucket = taken.bucket;
    if (taken.granted) return "ring";
    this.#dropped++;
    return "dropped";
  }

  checking(): void {
    this.#heard = 0;
  }

  /**
   * The number that a check-in's answer names is the server's own, so it takes the place of what was heard before that check:
   * one huge number, or a server that was restored from a backup, silences later wake-ups until the next check at most.
   */
  answered(seq: number): void {
    this.#seq = Math.max(seq, this.#heard);
  }

  /** How many were dropped since this was asked last. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }
}

/** As the last run left it; a file that cannot be read costs one early check at most. Errors: `disk/*`. */
export async function loadWakeUps(disk: Disk, folder: string): Promise<WakeUps> {
  const bytes = await readOrNull(disk, fileOf(folder), LIMIT);
  if (bytes === null) return new WakeUps();
  try {
    return new WakeUps(checkSchema(schema, parseJson(bytes), "newest wake-up").seq);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    return new WakeUps();
  }
}

/** Errors: `disk/*`. */
export async function saveWakeUps(disk: Disk, folder: string, { seq }: WakeUps): Promise<void> {
  await writeAtomic(disk, fileOf(folder), toUtf8(`${JSON.stringify({ format: 1, seq })}\n`), 0o600);
}

function fileOf(folder: string): string {
  return `${folder}/wake-ups.json`;
}
