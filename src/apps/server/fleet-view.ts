// What the server keeps of the fleet in memory, so that a check-in asks no database: loaded from the store, and again when another process wrote.

import type { Clock } from "../../core/clock.ts";
import { UpkeepError } from "../../core/errors.ts";
import type { Instant } from "../../core/instant.ts";
import { EMPTY_CATALOGUE } from "../../fleet/catalogue.ts";
import { AUDIT_CUT, endReportedAlarms, endUpdateAlarms, raiseAlarm } from "../../fleet/alarms.ts";
import { faultOf, type HeadFault } from "../../fleet/audit-head.ts";
import { decide, type Catalogue } from "../../fleet/decide.ts";
import { DEFAULT_INTERVAL } from "../../fleet/enrol.ts";
import { orderWakeUps, wakesWithoutOrder } from "../../fleet/messages.ts";
import type { AuditRow, Desired, Device, Group, MessageOrder, WakeScope } from "../../fleet/records.ts";
import { policyOf } from "../../fleet/policies.ts";
import type { Policy } from "../../manners/policy.ts";
import { decideDevice, windowMarks, type DeviceFacts } from "../../fleet/rollout/decide-device.ts";
import { offeredRow, type Offer } from "../../fleet/rollout/note.ts";
import { isOver, type Rollout } from "../../fleet/rollout-record.ts";
import { leads, type RepositoryState } from "../../fleet/lead.ts";
import { NO_LABELS, type Labels } from "../../fleet/label-record.ts";
import { platformWord } from "../../fleet/platform-word.ts";
import { loadHistory, noteTimestamp, watchFreshness, type TimestampHistory } from "../../fleet/freshness.ts";
import { steer, UNSTEERED } from "../../fleet/steer.ts";
import type { AssignedComponent } from "../../message/assignment.ts";
import type { FleetReads, FleetRecords, FleetStore, Sighting } from "../../fleet/store.ts";
import { watchClones, type Suspected } from "../../fleet/watch-clones.ts";
import { newestWake } from "../../fleet/wake.ts";

/** How long a device's record may be used without asking the store; other processes' changes are seen sooner. */
const DEVICE_TTL = 5000;
const DEVICES_CACHED = 20_000;
/** How long a message key may be used without asking the store: a device opens messages for the one before for a day longer. */
const KEY_TTL = 5 * 60_000;
/** Check-ins of one device that wait to be written; a quota bounds them before. */
const LINKS = 200;
/** Stopped rollouts that are remembered, so that their releases reach nobody by another way. */
const STOPPED = 500;
/** Offers that are known to be written down. */
const OFFERED = 200_000;

type Known = {
  readonly device: Device | null;
  readonly running: ReadonlyMap<string, string>;
  readonly labels: Labels;
  readonly at: number;
};

export type Changes = {
  /** Devices whose keys open nothing any more, or that are somebody else's business now. */
  readonly cutOff: readonly { readonly id: string; readonly spkis: readonly string[] }[];
};

/** What a later program wrote: nothing is activated by a rule that is not known. */
function unreadable(error: unknown): "unreadable" {
  if (error instanceof UpkeepError) return "unreadable";
  throw error;
}

/** Two sightings of one device as one: the newer one, with every check-in. */
function joined(before: Sighting | undefined, { links = [], ...now }: Sighting): Sighting {
  return { ...now, links: [...(before?.links ?? []), ...links].slice(-LINKS) };
}

export class FleetView {
  catalogue: Catalogue = EMPTY_CATALOGUE;
  /** Of the repository that the catalogue was read from. */
  state: RepositoryState | null = null;
  readonly #store: FleetStore;
  readonly #clock: Clock;
  readonly #devices = new Map<string, Known>();
  #sightings = new Map<string, Sighting>();
  #groups: readonly Group[] = [];
  #intervals = new Map<string, number>();
  #policies: ReadonlyMap<string, Policy | "unreadable"> = new Map();
  #desired: ReadonlyMap<string, readonly Desired[]> = new Map();
  #rollouts: readonly Rollout[] = [];
  #offers = new Map<string, Offer>();
  readonly #offered = new Set<string>();
  #wakes: ReadonlyMap<WakeScope, number> = new Map();
  #orders: readonly MessageOrder[] = [];
  readonly #keys = new Map<string, { readonly key: string | null; readonly at: number }>();
  #timestamps: TimestampHistory = [];
  #steering = UNSTEERED;
  #results = false;
  #audited: number | null = null;
  #lastAudit: Pick<AuditRow, "sequence" | "hash"> | null = null;
  #version = -1;

  constructor(store: FleetStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Everything anew. Returns what other processes did that must be acted on. */
  async load(): Promise<Changes> {
    // Taken before the read, kept after it: what is written meanwhile, and a read that failed, make another one due.
    const version = this.#store.foreignChanges();
    this.#devices.clear();
    const before = this.#audited;
    const { cutOff, audited } = await this.#store.read(async (records) => {
      const groups = await records.groups();
      const desired = new Map<string, Desired[]>();
      for (const row of await records.allDesired()) {
        const list = desired.get(row.group);
        if (list === undefined) desired.set(row.group, [row]);
        else list.push(row);
      }
      const wakes = await records.wakes();
      this.#orders = await records.messageOrders();
      const policies = new Map<string, Policy | "unreadable">();
      for (const { name } of groups) {
        const policy = await policyOf(records, name).catch(unreadable);
        if (policy !== null) policies.set(name, policy);
      }
      const cutOff: { id: string; spkis: string[] }[] = [];
      // The audit log tells what happened since; at the start there is nobody to cut off yet.
      let audited = before ?? (await records.lastAudit())?.sequence ?? 0;
      for (;;) {
        const rows = await records.audit(audited, 500);
        for (const row of rows) {
          audited = row.sequence;
          if (row.action === "device/removed") {
            const spkis = Array.isArray(row.facts["spkis"]) ? row.facts["spkis"].map(String) : [];
            cutOff.push({ id: row.subject, spkis });
          }
          if (row.action !== "device/revoked" && row.action !== "device/moved") continue;
          const device = await records.device(row.subject);
          if (device === null) continue;
          const spkis = [device.spki, ...(device.nextSpki === null ? [] : [device.nextSpki])];
          cutOff.push({ id: device.id, spkis });
        }
        if (rows.length < 500) break;
      }
      this.#groups = groups;
      this.#intervals = new Map(groups.map((group) => [group.name, group.interval]));
      this.#desired = desired;
      this.#policies = policies;
      this.#wakes = wakes;
      this.#rollouts = await records.rolloutsInForce(STOPPED);
      this.#lastAudit = await records.lastAudit();
      return { cutOff, audited };
    });
    this.#audited = audited;
    this.#version = version;
    return { cutOff };
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
    const { device, running, labels } = await this.#store.read(async (records) => {
      const device = await records.deviceBySpki(spki);
      return {
        device,
        running: await this.#runningOf(records, device?.id ?? null),
        labels: await this.#labelsOf(records, device?.id ?? null),
      };
    });
    this.#devices.delete(spki);
    this.#devices.set(spki, { device, running, labels, at: now });
    if (this.#devices.size > DEVICES_CACHED) this.#devices.delete(this.#devices.keys().next().value!);
    return device;
  }

  /** By its signed reports; asked only while a rollout may depend on it. */
  async #runningOf(
    records: Pick<FleetReads, "components">,
    device: string | null,
  ): Promise<ReadonlyMap<string, string>> {
    if (device === null || this.#rollouts.length === 0) return new Map();
    const components = await records.components(device);
    return new Map(
      components.flatMap(({ product, running }) => (running === null ? [] : [[product, running]])),
    );
  }

  /** Asked only while a phase of a rollout asks for them. */
  async #labelsOf(records: Pick<FleetReads, "labels">, device: string | null): Promise<Labels> {
    const asked = this.#rollouts.some(({ phases }) => phases.some(({ where }) => where !== null));
    return device === null || !asked ? NO_LABELS : records.labels(device);
  }

  /** What the device gets now. Offers of rollouts are noted, and written down with the sightings. */
  decide(device: Device, now: Instant, followUntil: Instant | null): readonly AssignedComponent[] {
    const desired = this.desired(device.group);
    // Most of the time no rollout is under way, and a check-in costs nothing for it.
    if (this.#rollouts.length === 0) return decide(desired, this.catalogue, now, followUntil);
    const known = this.#devices.get(device.spki);
    const facts = factsOf(device, known?.running ?? new Map(), known?.labels ?? NO_LABELS);
    const { components, offers } = decideDevice(
      desired,
      this.#rollouts,
      facts,
      this.catalogue,
      now,
      followUntil,
    );
    for (const { id, phase } of offers) {
      const key = `${id} ${device.id}`;
      if (this.#offered.has(key)) continue;
      this.#offered.add(key);
      if (this.#offered.size > OFFERED) this.#offered.delete(this.#offered.values().next().value!);
      this.#offers.set(key, { rollout: id, device: device.id, phase, offered: now });
    }
    return components;
  }

  /** Rollouts that are not over, and the newest of those that were stopped. */
  rollouts(): readonly Rollout[] {
    return this.#rollouts;
  }

  /** Reports came in since `takeResultsCame` was asked last: a rollout may have to be judged. */
  resultsCame(): void {
    this.#results = true;
  }

  takeResultsCame(): boolean {
    const came = this.#results;
    this.#results = false;
    return came;
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

  /** When the devices of the group activate updates; null where nobody said so. */
  policy(group: string): Policy | "unreadable" | null {
    return this.#policies.get(group) ?? null;
  }

  allDesired(): readonly Desired[] {
    return [...this.#desired.values()].flat();
  }

  /** What has to be known of the repository: also the releases of rollouts, and the channels that say what was recalled. */
  wanted(): readonly Pick<Desired, "product" | "channel" | "version">[] {
    const desired = this.allDesired();
    return [
      ...desired,
      ...this.#rollouts.flatMap(({ product, version, state }) => [
        ...(isOver(state) ? [] : [{ product, channel: "", version }]),
        ...desired
          .filter((one) => one.product === product && one.version !== null)
          .map(({ channel }) => ({ product, channel, version: null })),
      ]),
    ];
  }

  newestWake(device: Pick<Device, "id" | "group">): number {
    return newestWake(this.#wakes, device);
  }

  /** What was asked of devices; those that are over included. */
  get orders(): readonly MessageOrder[] {
    return this.#orders;
  }

  /** Makes orders of wake-ups that were made without one, so that they can be sealed. Errors: `fleet/store-*`. */
  async orderWakeUps(now: Instant): Promise<void> {
    const wakes = async (): Promise<ReadonlyMap<WakeScope, number>> => this.#wakes;
    if ((await wakesWithoutOrder({ wakes, messageOrders: async () => this.#orders })).length === 0) return;
    this.#orders = await this.#store.transaction(async (records) => {
      await orderWakeUps(records, now);
      return records.messageOrders();
    });
  }

  /** The key (hex) that messages to a device are sealed for; null while it gave none. Errors: `fleet/store-*`. */
  async messageKeyOf(device: string): Promise<string | null> {
    const now = this.#clock.monotonic();
    const known = this.#keys.get(device);
    if (known !== undefined && now - known.at < KEY_TTL) return known.key;
    const key = (await this.#store.read((records) => records.messageKey(device)))?.key ?? null;
    this.#noteKey(device, key);
    return key;
  }

  /** Errors: `fleet/store-*`. */
  async takeMessageKey(device: string, key: string, now: Instant): Promise<void> {
    if ((await this.messageKeyOf(device)) === key) return;
    await this.#store.transaction((records) => records.putMessageKey({ device, key, taken: now }));
    this.#noteKey(device, key);
  }

  #noteKey(device: string, key: string | null): void {
    this.#keys.delete(device);
    this.#keys.set(device, { key, at: this.#clock.monotonic() });
    if (this.#keys.size > DEVICES_CACHED) this.#keys.delete(this.#keys.keys().next().value!);
  }

  /** Noted in memory and written in batches: one row written per check-in would cost ten times more. */
  sight(sighting: Sighting): void {
    this.#sightings.set(sighting.device, joined(this.#sightings.get(sighting.device), sighting));
  }

  /** Returns the devices of which two copies seem to be alive. */
  async flush(): Promise<readonly Suspected[]> {
    if (this.#sightings.size === 0) return [];
    const batch = this.#sightings;
    const offers = this.#offers;
    this.#sightings = new Map();
    this.#offers = new Map();
    try {
      const sightings = [...batch.values()];
      return await this.#store.transaction(async (records) => {
        await records.sight(sightings);
        await records.addRolloutDevices([...offers.values()].map(offeredRow));
        await watchFreshness(records, this.#timestamps, sightings);
        await this.#endUpdateAlarms(records, sightings);
        await this.#askWitnesses(records, sightings);
        return watchClones(records, sightings);
      });
    } catch (error) {
      // Kept for the next time, unless newer ones came meanwhile.
      const newer = this.#sightings;
      this.#sightings = batch;
      for (const [key, offer] of offers) if (!this.#offers.has(key)) this.#offers.set(key, offer);
      for (const sighting of newer.values()) this.sight(sighting);
      throw error;
    }
  }

  /** The row that the audit log ended with at the last load; null before the first row. */
  lastAudit(): Pick<AuditRow, "sequence" | "hash"> | null {
    return this.#lastAudit;
  }

  /** Devices hold heads of the audit log: it has to contain them still. Each head is looked up once, however many bring it. */
  async #askWitnesses(records: FleetRecords, sightings: readonly Sighting[]): Promise<void> {
    const asked = new Map<string, HeadFault | null>();
    for (const { device, at, head } of sightings) {
      if (head === undefined) continue;
      const key = `${head.sequence} ${head.hash}`;
      if (!asked.has(key)) asked.set(key, await faultOf(records, head));
      const fault = asked.get(key) ?? null;
      if (fault === null || (await records.device(device)) === null) continue;
      const what = fault === "cut" ? "ends before it" : "has another row there";
      await raiseAlarm(records, at, {
        device,
        code: AUDIT_CUT,
        detail: `The device was given row ${head.sequence} of the audit log (${head.hash}), and the log ${what}: rows were removed or rewritten, or an old backup was restored.`,
      });
    }
  }

  /** A device that runs what it should run has no trouble with updates any more, however that came about. */
  async #endUpdateAlarms(records: FleetRecords, sightings: readonly Sighting[]): Promise<void> {
    const alarmed = await records.alarmed();
    for (const { device, at, claimed, lasting } of sightings) {
      if (!alarmed.has(device)) continue;
      if (lasting !== undefined) await endReportedAlarms(records, at, device, lasting);
      const known = await records.device(device);
      if (known === null) continue;
      const [running, labels] = [
        await this.#runningOf(records, device),
        await this.#labelsOf(records, device),
      ];
      const facts = factsOf(known, running, labels);
      const desired = this.desired(known.group);
      for (const component of decideDevice(desired, this.#rollouts, facts, this.catalogue, at, null)
        .components) {
        const own = claimed.find(({ product }) => product === component.product);
        if (own === undefined || own.trying !== undefined || !("release" in component)) continue;
        if (own.version === component.release.version)
          await endUpdateAlarms(records, at, device, own.product);
      }
    }
  }

  /**
   * Wakes the groups whose decision changed, and names them. `behind`: another server has announced a newer repository than this one's,
   * which therefore announces nothing, or devices would be told new and old by turns.
   */
  async steer(now: Instant): Promise<{ readonly woken: readonly string[]; readonly behind: boolean }> {
    const marks = (group: string): readonly string[] => windowMarks(this.#rollouts, group, now);
    const state = { groups: this.#groups, desired: this.#desired, marks };
    const timestamp = this.catalogue.timestamp();
    const { woken, after, wakes, timestamps, behind } = await this.#store.transaction(async (records) => {
      if (this.state !== null && !(await leads(records, this.state))) {
        const timestamps = await loadHistory(records);
        const after = { ...this.#steering, differing: new Set(state.groups.map(({ name }) => name)) };
        return { woken: [], after, wakes: await records.wakes(), timestamps, behind: true };
      }
      const timestamps = timestamp === null ? this.#timestamps : await noteTimestamp(records, now, timestamp);
      // Also what this server wrote itself, which is no news to `load`.
      this.#lastAudit = await records.lastAudit();
      const steered = await steer(records, this.catalogue, now, state, this.#steering);
      return { ...steered, wakes: await records.wakes(), timestamps, behind: false };
    });
    this.#steering = after;
    this.#wakes = wakes;
    this.#timestamps = timestamps;
    return { woken, behind };
  }
}

function factsOf(device: Device, running: ReadonlyMap<string, string>, labels: Labels): DeviceFacts {
  const { id, name, group } = device;
  const reported = (product: string): string | null => running.get(product) ?? null;
  return { id, name, group, platform: platformWord(device.platform), labels, reported };
}
