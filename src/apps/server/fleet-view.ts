// What the server keeps of the fleet in memory, so that a check-in asks no database: loaded from the store, and again when another process wrote.

import type { Clock } from "../../core/clock.ts";
import type { Instant } from "../../core/instant.ts";
import { EMPTY_CATALOGUE } from "../../fleet/catalogue.ts";
import type { Catalogue } from "../../fleet/decide.ts";
import { DEFAULT_INTERVAL } from "../../fleet/enrol.ts";
import type { Desired, Device, Group, WakeScope } from "../../fleet/records.ts";
import { noteTimestamp, watchFreshness, type TimestampHistory } from "../../fleet/freshness.ts";
import { steer } from "../../fleet/steer.ts";
import type { FleetStore, Sighting } from "../../fleet/store.ts";
import { newestWake } from "../../fleet/wake.ts";

/** How long a device's record may be used without asking the store; other processes' changes are seen sooner. */
const DEVICE_TTL = 5000;
const DEVICES_CACHED = 20_000;

export type Changes = {
  /** Devices whose keys open nothing any more, or that are somebody else's business now. */
  readonly cutOff: readonly { readonly id: string; readonly spkis: readonly string[] }[];
};

export class FleetView {
  catalogue: Catalogue = EMPTY_CATALOGUE;
  readonly #store: FleetStore;
  readonly #clock: Clock;
  readonly #devices = new Map<string, { readonly device: Device | null; readonly at: number }>();
  #sightings = new Map<string, Sighting>();
  #groups: readonly Group[] = [];
  #intervals = new Map<string, number>();
  #desired: ReadonlyMap<string, readonly Desired[]> = new Map();
  #wakes: ReadonlyMap<WakeScope, number> = new Map();
  #timestamps: TimestampHistory = [];
  #audited = 0;
  #version = -1;

  constructor(store: FleetStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Everything anew. Returns what other processes did that must be acted on. */
  async load(): Promise<Changes> {
    this.#version = this.#store.foreignChanges();
    this.#devices.clear();
    const first = this.#audited === 0;
    return this.#store.read(async (records) => {
      this.#groups = await records.groups();
      this.#intervals = new Map(this.#groups.map((group) => [group.name, group.interval]));
      const desired = new Map<string, Desired[]>();
      for (const row of await records.allDesired()) {
        const list = desired.get(row.group);
        if (list === undefined) desired.set(row.group, [row]);
        else list.push(row);
      }
      this.#desired = desired;
      this.#wakes = await records.wakes();
      // The audit log tells what happened since; at the start there is nobody to cut off yet.
      if (first) {
        this.#audited = (await records.lastAudit())?.sequence ?? 0;
        return { cutOff: [] };
      }
      const cutOff: { id: string; spkis: string[] }[] = [];
      for (;;) {
        const rows = await records.audit(this.#audited, 500);
        for (const row of rows) {
          this.#audited = row.sequence;
          if (row.action !== "device/revoked" && row.action !== "device/moved") continue;
          const device = await records.device(row.subject);
          if (device === null) continue;
          const spkis = [device.spki, ...(device.nextSpki === null ? [] : [device.nextSpki])];
          cutOff.push({ id: device.id, spkis });
        }
        if (rows.length < 500) return { cutOff };
      }
    });
  }

  /** True when another process wrote since the last load. */
  isStale(): boolean {
    return this.#store.foreignChanges() !== this.#version;
  }

  /** The device that a key belongs to, revoked ones included; null for a key that is nobody's. */
  async deviceBySpki(spki: string): Promise<Device | null> {
    const now = this.#clock.monotonic();
    const known = this.#devices.get(spki);
    if (known !== undefined && now - known.at < DEVICE_TTL) return known.device;
    const device = await this.#store.read((records) => records.deviceBySpki(spki));
    this.#devices.delete(spki);
    this.#devices.set(spki, { device, at: now });
    if (this.#devices.size > DEVICES_CACHED) this.#devices.delete(this.#devices.keys().next().value!);
    return device;
  }

  forget(spki: string): void {
    this.#devices.delete(spki);
  }

  interval(group: string): number {
    return this.#intervals.get(group) ?? DEFAULT_INTERVAL;
  }

  desired(group: string): readonly Desired[] {
    return this.#desired.get(group) ?? [];
  }

  allDesired(): readonly Desired[] {
    return [...this.#desired.values()].flat();
  }

  newestWake(device: Pick<Device, "id" | "group">): number {
    return newestWake(this.#wakes, device);
  }

  /** Noted in memory and written in batches: one row written per check-in would cost ten times more. */
  sight(sighting: Sighting): void {
    this.#sightings.set(sighting.device, sighting);
  }

  async flush(): Promise<void> {
    if (this.#sightings.size === 0) return;
    const batch = this.#sightings;
    this.#sightings = new Map();
    try {
      const sightings = [...batch.values()];
      await this.#store.transaction(async (records) => {
        await records.sight(sightings);
        await watchFreshness(records, this.#timestamps, sightings);
      });
    } catch (error) {
      // Kept for the next time, unless newer ones came meanwhile.
      this.#sightings = new Map([...batch, ...this.#sightings]);
      throw error;
    }
  }

  /** Wakes the groups whose decision changed. Returns their names. */
  async steer(now: Instant): Promise<readonly string[]> {
    const state = { groups: this.#groups, desired: this.#desired };
    const timestamp = this.catalogue.timestamp();
    const { woken, wakes, timestamps } = await this.#store.transaction(async (records) => {
      const timestamps = timestamp === null ? this.#timestamps : await noteTimestamp(records, now, timestamp);
      const woken = await steer(records, this.catalogue, now, state);
      return { woken, wakes: await records.wakes(), timestamps };
    });
    this.#wakes = wakes;
    this.#timestamps = timestamps;
    return woken;
  }
}
