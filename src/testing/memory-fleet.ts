// The records of a fleet in memory, for tests of the rules that work on them; looked into and edited like a document.

import { policyKey } from "../fleet/policies.ts";
import type { Lines } from "../fleet/clone.ts";
import type {
  Alarm,
  AuditRow,
  Desired,
  Device,
  DeviceComponent,
  Group,
  MessageKeyRecord,
  MessageOrder,
  StoredReport,
  Token,
} from "../fleet/records.ts";
import { NO_LABELS, type Labels } from "../fleet/label-record.ts";
import { platformWord } from "../fleet/platform-word.ts";
import { isOver, type Rollout, type RolloutDevice } from "../fleet/rollout-record.ts";
import type { FleetRecords } from "../fleet/store.ts";

export class MemoryFleet implements FleetRecords {
  readonly deviceRows = new Map<string, Device>();
  readonly componentRows = new Map<string, DeviceComponent>();
  readonly groupRows = new Map<string, Group>();
  readonly desiredRows = new Map<string, Desired>();
  readonly tokenRows = new Map<string, Token>();
  /** Oldest first. */
  readonly reportRows: StoredReport[] = [];
  readonly alarmRows = new Map<string, Alarm>();
  readonly lineRows = new Map<string, Lines>();
  readonly auditRows: AuditRow[] = [];
  readonly wakeRows = new Map<Parameters<FleetRecords["putWake"]>[0], number>();
  readonly messageKeyRows = new Map<string, MessageKeyRecord>();
  readonly orderRows = new Map<string, MessageOrder>();
  readonly settings = new Map<string, string>();
  readonly labelRows = new Map<string, Labels>();
  readonly rolloutRows = new Map<string, Rollout>();
  readonly rolloutDeviceRows = new Map<string, RolloutDevice>();

  device = async (id: string) => this.deviceRows.get(id) ?? null;
  deviceBySpki = async (spki: string) =>
    [...this.deviceRows.values()].find((d) => d.spki === spki || d.nextSpki === spki) ?? null;
  deviceByReportKey = async (reportKey: string) =>
    [...this.deviceRows.values()].find((d) => d.reportKey === reportKey) ?? null;
  devices: FleetRecords["devices"] = async ({ group, after = "", limit }) =>
    sorted([...this.deviceRows.values()], (d) => d.id)
      .filter((d) => (group === undefined || d.group === group) && d.id > after)
      .slice(0, limit);
  devicesLike: FleetRecords["devicesLike"] = async (text, limit) => {
    const all = sorted([...this.deviceRows.values()], (d) => d.id);
    return {
      named: all.filter((d) => d.name === text).slice(0, limit),
      prefixed: all.filter((d) => d.id.startsWith(text)).slice(0, limit),
    };
  };
  dropDevice = async (id: string) => {
    for (const rows of [this.componentRows, this.alarmRows, this.rolloutDeviceRows])
      for (const [key, row] of rows) if (row.device === id) rows.delete(key);
    this.reportRows.splice(0, Infinity, ...this.reportRows.filter((r) => r.device !== id));
    this.lineRows.delete(id);
    this.labelRows.delete(id);
    this.wakeRows.delete(`device:${id}`);
    this.messageKeyRows.delete(id);
    this.deviceRows.delete(id);
  };
  groupSizes = async () => {
    const sizes = new Map<string, number>();
    for (const { group } of this.deviceRows.values()) sizes.set(group, (sizes.get(group) ?? 0) + 1);
    return sizes;
  };
  lines = async (device: string) => this.lineRows.get(device) ?? [];
  putLines = async (device: string, lines: Lines) => void this.lineRows.set(device, lines);
  addDevice = async (device: Device) => void this.deviceRows.set(device.id, device);
  changeDevice: FleetRecords["changeDevice"] = async (id, patch) =>
    void this.deviceRows.set(id, { ...this.deviceRows.get(id)!, ...patch });
  sight: FleetRecords["sight"] = async (sightings) => {
    for (const { device, at, claimed, timestamp } of sightings)
      this.deviceRows.set(device, { ...this.deviceRows.get(device)!, lastSeen: at, claimed, timestamp });
  };
  components = async (device: string) =>
    sorted(
      [...this.componentRows.values()].filter((c) => c.device === device),
      (c) => c.product,
    );
  allComponents: FleetRecords["allComponents"] = async (after, limit) => {
    const key = (c: { readonly device: string; readonly product: string }) => `${c.device} ${c.product}`;
    const all = sorted([...this.componentRows.values()], key);
    return all.filter((c) => after === null || key(c) > key(after)).slice(0, limit);
  };
  putComponent = async (c: DeviceComponent) => void this.componentRows.set(`${c.device} ${c.product}`, c);
  dropComponents: FleetRecords["dropComponents"] = async (device, keep) => {
    for (const [key, c] of this.componentRows)
      if (c.device === device && !keep.includes(c.product)) this.componentRows.delete(key);
  };

  group = async (name: string) => this.groupRows.get(name) ?? null;
  groups = async () => sorted([...this.groupRows.values()], (g) => g.name);
  putGroup = async (group: Group) => void this.groupRows.set(group.name, group);
  dropGroup = async (name: string) => {
    for (const [key, row] of this.desiredRows) if (row.group === name) this.desiredRows.delete(key);
    this.wakeRows.delete(`group:${name}`);
    this.settings.delete(`announced:${name}`);
    this.settings.delete(policyKey(name));
    this.groupRows.delete(name);
  };
  desired = async (group: string) => [...this.desiredRows.values()].filter((d) => d.group === group);
  allDesired = async () => [...this.desiredRows.values()];
  putDesired = async (d: Desired) => void this.desiredRows.set(`${d.group} ${d.product}`, d);
  dropDesired = async (group: string, product: string) => this.desiredRows.delete(`${group} ${product}`);

  token = async (id: string) => this.tokenRows.get(id) ?? null;
  tokens = async (limit: number) => [...this.tokenRows.values()].toReversed().slice(0, limit);
  addToken = async (token: Token) => void this.tokenRows.set(token.id, token);
  dropToken = async (id: string) => void this.tokenRows.delete(id);
  openTokens: FleetRecords["openTokens"] = async (group, now) =>
    [...this.tokenRows.values()].filter((t) => t.group === group && t.usedCount < t.uses && t.expires > now);
  changeToken: FleetRecords["changeToken"] = async (id, patch) =>
    void this.tokenRows.set(id, { ...this.tokenRows.get(id)!, ...patch });

  report = async (device: string, id: string) =>
    this.reportRows.find((r) => r.device === device && r.id === id) ?? null;
  addReport = async (report: StoredReport) => void this.reportRows.push(report);
  reports: FleetRecords["reports"] = async ({ device, product, outcome, limit }) =>
    this.reportRows
      .filter((r) => device === undefined || r.device === device)
      .filter((r) => product === undefined || r.product === product)
      .filter((r) => outcome === undefined || r.outcome === outcome)
      .toReversed()
      .slice(0, limit);
  pruneReports = async (device: string, keep: number) => {
    const own = this.reportRows.filter((r) => r.device === device);
    for (const old of own.slice(0, Math.max(0, own.length - keep)))
      this.reportRows.splice(this.reportRows.indexOf(old), 1);
  };

  alarm = async (device: string, code: string, about: string) =>
    this.alarmRows.get(`${device} ${code} ${about}`) ?? null;
  putAlarm = async (alarm: Alarm) =>
    void this.alarmRows.set(`${alarm.device} ${alarm.code} ${alarm.about}`, alarm);
  dropAlarm = async (device: string, code: string, about: string) =>
    void this.alarmRows.delete(`${device} ${code} ${about}`);
  alarmsOf = async (device: string) => [...this.alarmRows.values()].filter((a) => a.device === device);
  alarmed = async () =>
    new Set([...this.alarmRows.values()].filter((a) => a.ended === null).map((a) => a.device));
  alarms = async (limit: number, ended = false) =>
    [...this.alarmRows.values()]
      .filter((a) => ended || a.ended === null)
      .sort((a, b) => b.last - a.last)
      .slice(0, limit);
  alarmCounts: FleetRecords["alarmCounts"] = async () =>
    [...this.alarmRows.values()]
      .filter((a) => a.ended === null)
      .map(({ code, acknowledgedAt }) => ({ code, acknowledged: acknowledgedAt !== null, count: 1 }));

  lastAudit = async () => this.auditRows.at(-1) ?? null;
  addAudit = async (row: AuditRow) => void this.auditRows.push(row);
  auditOf = async (subject: string, limit: number) =>
    this.auditRows.filter((row) => row.subject === subject).slice(-limit);
  audit = async (after: number, limit: number) =>
    this.auditRows.filter((row) => row.sequence > after).slice(0, limit);

  wakes = async () => this.wakeRows;
  putWake: FleetRecords["putWake"] = async (scope, seq) => void this.wakeRows.set(scope, seq);

  messageKey = async (device: string) => this.messageKeyRows.get(device) ?? null;
  putMessageKey = async (key: MessageKeyRecord) => void this.messageKeyRows.set(key.device, key);
  messageOrders = async () => [...this.orderRows.values()];
  putMessageOrder = async (order: MessageOrder) =>
    void this.orderRows.set(`${order.scope} ${order.kind}`, order);
  rollout = async (id: string) => this.rolloutRows.get(id) ?? null;
  rollouts: FleetRecords["rollouts"] = async ({ product, under }) =>
    [...this.rolloutRows.values()]
      .filter(
        (r) => (product === undefined || r.product === product) && (under === undefined || !isOver(r.state)),
      )
      .toSorted((a, b) => a.created - b.created);
  rolloutsInForce = async () => [...this.rolloutRows.values()].filter((r) => r.state !== "done");
  putRollout = async (rollout: Rollout) => void this.rolloutRows.set(rollout.id, rollout);
  rolloutDevice = async (rollout: string, device: string) =>
    this.rolloutDeviceRows.get(`${rollout} ${device}`) ?? null;
  putRolloutDevice = async (row: RolloutDevice) =>
    void this.rolloutDeviceRows.set(`${row.rollout} ${row.device}`, row);
  addRolloutDevices = async (rows: readonly RolloutDevice[]) => {
    for (const row of rows)
      if (!this.rolloutDeviceRows.has(`${row.rollout} ${row.device}`)) await this.putRolloutDevice(row);
  };
  rolloutDevices: FleetRecords["rolloutDevices"] = async (rollout, after, limit) =>
    sorted(
      [...this.rolloutDeviceRows.values()].filter((r) => r.rollout === rollout && r.device > after),
      (r) => r.device,
    ).slice(0, limit);
  rolloutsOf = async (device: string) =>
    [...this.rolloutDeviceRows.values()].filter((r) => r.device === device);
  labels = async (device: string) => this.labelRows.get(device) ?? NO_LABELS;
  putLabels = async (device: string, labels: Labels) => void this.labelRows.set(device, labels);
  roster: FleetRecords["roster"] = async (after, limit) =>
    (await this.devices({ after, limit })).map((d) => ({
      id: d.id,
      name: d.name,
      group: d.group,
      status: d.status,
      enrolled: d.enrolled,
      lastSeen: d.lastSeen,
      platform: platformWord(d.platform),
      labels: this.labelRows.get(d.id) ?? NO_LABELS,
    }));
  arrivals = async (product: string, version: string) => {
    const first = new Map<string, number>();
    for (const { device, received, ...report } of this.reportRows)
      if (report.product === product && report.to === version && report.outcome === "success")
        first.set(device, Math.min(first.get(device) ?? received, received));
    return [...first.values()];
  };
  runningOf: FleetRecords["runningOf"] = async (product, after, limit) =>
    sorted(
      [...this.componentRows.values()].filter(
        (c) => c.product === product && c.device > after && c.running !== null,
      ),
      (c) => c.device,
    )
      .map(({ device, running }) => ({ device, running: running! }))
      .slice(0, limit);

  setting = async (name: string) => this.settings.get(name) ?? null;
  putSetting = async (name: string, value: string) => void this.settings.set(name, value);
}

function sorted<T>(rows: readonly T[], key: (row: T) => string): readonly T[] {
  return rows.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}
