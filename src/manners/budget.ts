// What work in the background may use: a share of one processor, bytes of the link by the time of day, and room on the disk that stays free.

import type { Clock } from "../core/clock.ts";
import type { Disk, DiskFile } from "../core/disk.ts";
import type { Instant } from "../core/instant.ts";
import { z } from "../core/schema.ts";
import { hoursListSchema, within } from "./hours.ts";

const whole = (least: number, most: number) => z.number().check(z.int(), z.minimum(least), z.maximum(most));
const RATE = whole(1024, 1e12);

export const budgetSchema = z.strictObject({
  /** Percent of one processor that fetching, verifying and unpacking use on average. */
  cpuShare: z.exactOptional(whole(1, 100)),
  /** Bytes each second that all downloads together take. */
  bandwidth: z.exactOptional(RATE),
  /** Other caps within hours; the first that fits holds. */
  bandwidthHours: z.exactOptional(
    z.array(z.strictObject({ hours: hoursListSchema, bandwidth: RATE })).check(z.maxLength(16)),
  ),
  /** Bytes that no update takes from the volume of the agent's folder. */
  diskFloor: z.exactOptional(whole(0, Number.MAX_SAFE_INTEGER)),
});
export type Budget = Readonly<z.infer<typeof budgetSchema>>;

/** Bytes each second at that instant; null for no cap. */
export function bandwidthAt(
  { bandwidth, bandwidthHours = [] }: Budget,
  now: Instant,
  zone: string,
): number | null {
  const own = bandwidthHours.find(({ hours }) => within(hours, now, zone));
  return own?.bandwidth ?? bandwidth ?? null;
}

/** Longest stretch over which unused time counts: what was saved by waiting for the network is not spent in one burst. */
const WINDOW = 2000;

/** Rests after work, so that its share of a processor stays at what is allowed. */
export class CpuPace {
  readonly #clock: Clock;
  readonly #cpuMs: () => number;
  readonly #share: number;
  #from: { readonly at: number; readonly cpu: number };

  /** `cpuMs`: what the process has used so far, by the kernel's count. `share` in percent. */
  constructor(clock: Clock, cpuMs: () => number, share: number) {
    this.#clock = clock;
    this.#cpuMs = cpuMs;
    this.#share = share / 100;
    this.#from = { at: clock.monotonic(), cpu: cpuMs() };
  }

  async rest(): Promise<void> {
    const elapsed = this.#clock.monotonic() - this.#from.at;
    const used = this.#cpuMs() - this.#from.cpu;
    const wait = used / this.#share - elapsed;
    if (wait > 1) await this.#clock.sleep(wait);
    if (elapsed + Math.max(0, wait) > WINDOW)
      this.#from = { at: this.#clock.monotonic(), cpu: this.#cpuMs() };
  }
}

/** The same disk for work in the background: after each part that is read or written, the pace decides how long it rests. */
export function pacedDisk(disk: Disk, pace: CpuPace): Disk {
  return {
    ...disk,
    open: async (path, how, mode) => pacedFile(await disk.open(path, how, mode), pace),
  };
}

function pacedFile(file: DiskFile, pace: CpuPace): DiskFile {
  return {
    read: async (position, length) => {
      const bytes = await file.read(position, length);
      await pace.rest();
      return bytes;
    },
    write: async (position, bytes) => {
      await file.write(position, bytes);
      await pace.rest();
    },
    truncate: (length) => file.truncate(length),
    sync: () => file.sync(),
    close: () => file.close(),
  };
}
