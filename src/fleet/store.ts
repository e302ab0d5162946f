// The store as a port: records in and out, and transactions around them; rules stand in the files that use it.

import type { Instant } from "../core/instant.ts";
import type { Program } from "../core/growth.ts";
import type { AuditHead } from "../message/audit-head.ts";
import type { UpdateStanding } from "../message/check-in.ts";
import type { Running } from "../message/common.ts";
import type { CheckInLink, Lines } from "./clone.ts";
import type { LicenseRecords } from "./license-records.ts";
import type { AuditRow } from "./records.ts";
import type { RolloutRecords } from "./rollout-store.ts";
import type {
  Alarm,
  Desired,
  Device,
  DeviceComponent,
  Group,
  MessageKeyRecord,
  MessageOrder,
  StoredReport,
  Token,
  WakeScope,
} from "./records.ts";

export type DeviceFilter = {
  readonly group?: string;
  /** Devices whose id is greater; the way to the next page. */
  readonly after?: string;
  readonly limit: number;
};
export type ReportFilter = {
  readonly device?: string;
  readonly product?: string;
  readonly outcome?: string;
  readonly limit: number;
};
export type Sighting = {
  readonly device: string;
  readonly at: Instant;
  readonly claimed: readonly Running[];
  readonly timestamp: string | null;
  readonly agent?: Program | null;
  /** A head of the audit log that the device brought, signed by this fleet's director. */
  readonly head?: AuditHead;
  /** What the device said of updates; null for one that says nothing. */
  readonly standing?: UpdateStanding | null;
  /** The alarms that last on the device, by its words; absent when it does not say. */
  readonly lasting?: readonly { readonly code: string; readonly about: string }[];
  /** Check-ins since the last batch that a clone could show by, oldest first. */
  readonly links?: readonly CheckInLink[];
};
export type DevicePatch = Partial<
  Pick<
    Device,
    "name" | "group" | "status" | "spki" | "nextSpki" | "certificateEnds" | "lastSequence" | "lastReport"
  >
>;

/** Reads and writes inside one transaction. Nothing here decides anything. */
export interface FleetRecords extends RolloutRecords {
  device(id: string): Promise<Device | null>;
  /** By the key in use or the next one. */
  deviceBySpki(spki: string): Promise<Device | null>;
  deviceByReportKey(reportKey: string): Promise<Device | null>;
  /** Ordered by id. */
  devices(filter: DeviceFilter): Promise<readonly Device[]>;
  /** Those with this name, and those whose id begins so, at most `limit` of each. */
  devicesLike(
    text: string,
    limit: number,
  ): Promise<{ readonly named: readonly Device[]; readonly prefixed: readonly Device[] }>;
  addDevice(device: Device): Promise<void>;
  /** With all that is kept of it: what it runs, reports, alarms, lines of check-ins, wake-ups. */
  dropDevice(id: string): Promise<void>;
  /** How many devices each group has. */
  groupSizes(): Promise<ReadonlyMap<string, number>>;
  lines(device: string): Promise<Lines>;
  putLines(device: string, lines: Lines): Promise<void>;
  changeDevice(id: string, patch: DevicePatch): Promise<void>;
  sight(sightings: readonly Sighting[]): Promise<void>;
  components(device: string): Promise<readonly DeviceComponent[]>;
  /** Ordered by device and product. */
  allComponents(
    after: { readonly device: string; readonly product: string } | null,
    limit: number,
  ): Promise<readonly DeviceComponent[]>;
  putComponent(component: DeviceComponent): Promise<void>;
  dropComponents(device: string, keep: readonly string[]): Promise<void>;

  group(name: string): Promise<Group | null>;
  groups(): Promise<readonly Group[]>;
  putGroup(group: Group): Promise<void>;
  dropGroup(name: string): Promise<void>;
  desired(group: string): Promise<readonly Desired[]>;
  allDesired(): Promise<readonly Desired[]>;
  putDesired(desired: Desired): Promise<void>;
  dropDesired(group: string, product: string): Promise<boolean>;

  token(id: string): Promise<Token | null>;
  /** Newest first. */
  tokens(limit: number): Promise<readonly Token[]>;
  addToken(token: Token): Promise<void>;
  dropToken(id: string): Promise<void>;
  /** Not used up and not expired, of one group. */
  openTokens(group: string, now: Instant): Promise<readonly Token[]>;
  changeToken(
    id: string,
    patch: Partial<Pick<Token, "failures" | "used" | "usedBy" | "usedCount">>,
  ): Promise<void>;

  report(device: string, id: string): Promise<StoredReport | null>;
  addReport(report: StoredReport): Promise<void>;
  /** Newest first. */
  reports(filter: ReportFilter): Promise<readonly StoredReport[]>;
  /** Forgets all but the newest `keep` of a device. */
  pruneReports(device: string, keep: number): Promise<void>;

  alarm(device: string, code: string, about: string): Promise<Alarm | null>;
  putAlarm(alarm: Alarm): Promise<void>;
  dropAlarm(device: string, code: string, about: string): Promise<void>;
  /** All of one device, ended ones included. */
  alarmsOf(device: string): Promise<readonly Alarm[]>;
  /** Devices with an alarm that lasts. */
  alarmed(): Promise<ReadonlySet<string>>;
  /** Latest first; those that ended only with `ended`. */
  alarms(limit: number, ended?: boolean): Promise<readonly Alarm[]>;
  /** How many last, by kind and by whether somebody has looked at them. */
  alarmCounts(): Promise<
    readonly { readonly code: string; readonly acknowledged: boolean; readonly count: number }[]
  >;

  lastAudit(): Promise<AuditRow | null>;
  addAudit(row: AuditRow): Promise<void>;
  /** Of one subject, oldest first, the newest `limit`. */
  auditOf(subject: string, limit: number): Promise<readonly AuditRow[]>;
  /** Ordered by sequence, from the one after `after`. */
  audit(after: number, limit: number): Promise<readonly AuditRow[]>;

  /** Newest sequence of each scope that was ever woken. */
  wakes(): Promise<ReadonlyMap<WakeScope, number>>;
  putWake(scope: WakeScope, seq: number): Promise<void>;

  messageKey(device: string): Promise<MessageKeyRecord | null>;
  putMessageKey(key: MessageKeyRecord): Promise<void>;
  /** At most one of each kind and scope. */
  messageOrders(): Promise<readonly MessageOrder[]>;
  putMessageOrder(order: MessageOrder): Promise<void>;

  setting(name: string): Promise<string | null>;
  putSetting(name: string, value: string): Promise<void>;
}

/** All that a store holds: the fleet, and the licenses of its devices. */
export type StoreRecords = FleetRecords & LicenseRecords;

/** What reads, of the records. */
export type FleetReads = {
  readonly [
    N in keyof StoreRecords as N extends
      | `add${string}`
      | `put${string}`
      | `change${string}`
      | `drop${string}`
      | "sight"
      | "pruneReports"
      ? never
      : N
  ]: StoreRecords[N];
};

/**
 * All or nothing: `work` sees one state, and what it writes is durable when the promise resolves.
 * `work` uses only the records it is given, and waits for nothing else; a transaction that lost against another may run it again from
 * the start, so it keeps nothing of its own between two runs.
 * Errors: `fleet/store-*`, and what `work` throws, which undoes its writes.
 */
export interface FleetStore {
  /** One consistent state, read only; hinders no writer, however long it takes. */
  read<T>(work: (records: FleetReads) => Promise<T>): Promise<T>;
  /** Transactions of all processes run one after the other. */
  transaction<T>(work: (records: StoreRecords) => Promise<T>): Promise<T>;
  /**
   * A number that changes when another process has written what servers keep in memory or act upon (devices, groups, what they should run,
   * wake-ups, the audit log), or may have; cheap enough to ask every second.
   */
  foreignChanges(): number;
  /** False while a database elsewhere is known to be out of reach, or the file of one is not the one that was opened. */
  reachable(): boolean;
  /** Why the records cannot be relied on now, in a sentence; null when nothing is known. */
  trouble(): string | null;
  close(): Promise<void>;
}
