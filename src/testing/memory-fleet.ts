// The records of a fleet in memory, for tests of the rules that work on them; looked into and edited like a document.

import type {
  Alarm,
  AuditRow,
  Desired,
  Device,
  DeviceComponent,
  Group,
  StoredReport,
  Token,
} from "../fleet/records.ts";
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
  readonly auditRows: AuditRow[] = [];
  readonly wakeRows = new Map<Parameters<FleetRecords["putWake"]>[0], number>();
  readonly settings = new Map<string, string>();

  device = async (id: string) => this.deviceRows.get(id) ?? null;
  deviceBySpki = async (spki: string) =>
    [...this.deviceRows.values()].find((d) => d.spki === spki || d.nextSpki === spki) ?? null;
  deviceByReportKey = async (reportKey: string) =>
    [...this.deviceRows.values()].find((d) => d.reportKey === reportKey) ?? null;
  devices: FleetRecords["devices"] = async ({ group, after = "", limit }) =>
    sorted([...this.deviceRows.values()], (d) => d.id)
      .filter((d) => (group === undefined || d.group === group) && d.id > after)
      .slice(0, limit);
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
  desired = async (group: string) => [...this.desiredRows.values()].filter((d) => d.group === group);
  allDesired = async () => [...this.desiredRows.values()];
  putDesired = async (d: Desired) => void this.desiredRows.set(`${d.group} ${d.product}`, d);
  dropDesired = async (group: string, product: string) => this.desiredRows.delete(`${group} ${product}`);

  token = async (id: string) => this.tokenRows.get(id) ?? null;
  tokens = async (limit: number) => [...this.tokenRows.values()].toReversed().slice(0, limit);
  addToken = async (token: Token) => void this.tokenRows.set(token.id, token);
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

  alarm = async (device: string, code: string) => this.alarmRows.get(`${device} ${code}`) ?? null;
  putAlarm = async (alarm: Alarm) => void this.alarmRows.set(`${alarm.device} ${alarm.code}`, alarm);
  alarmCount = async (device: string) =>
    [...this.alarmRows.values()].filter((a) => a.device === device).length;
  alarms = async (limit: number) =>
    [...this.alarmRows.values()].sort((a, b) => b.last - a.last).slice(0, limit);

  lastAudit = async () => this.auditRows.at(-1) ?? null;
  addAudit = async (row: AuditRow) => void this.auditRows.push(row);
  audit = async (after: number, limit: number) =>
    this.auditRows.filter((row) => row.sequence > after).slice(0, limit);

  wakes = async () => this.wakeRows;
  putWake: FleetRecords["putWake"] = async (scope, seq) => void this.wakeRows.set(scope, seq);

  setting = async (name: string) => this.settings.get(name) ?? null;
  putSetting = async (name: string, value: string) => void this.settings.set(name, value);
}

function sorted<T>(rows: readonly T[], key: (row: T) => string): readonly T[] {
  return rows.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}
