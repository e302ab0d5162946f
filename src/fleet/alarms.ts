// Alarms: what an operator should look at, counted once per device, kind and product, so that no device can fill the store.

import { DAY, type Instant } from "../core/instant.ts";
import { appendAudit } from "./audit.ts";
import { FleetError } from "./errors.ts";
import type { Alarm } from "./records.ts";
import type { FleetRecords } from "./store.ts";

const DETAIL = 500;
/** Kinds of alarm kept per device; a device that invents more gets one for that. */
const KINDS = 50;
const TOO_MANY = "device/too-many-alarms";

/** An attempt of the device did not come to its new version. */
export const UPDATE_FAILED = "device/update-failed";
export const CLONE_SUSPECTED = "device/clone-suspected";
export const FROZEN = "device/frozen";
/** Nothing was heard of the device for many of its intervals. */
export const DEAD = "device/dead";
export const UNLISTED_VERSION = "device/unlisted-version";
/** The device holds a head of the audit log that the log does not contain: its tail was cut off, or rows were rewritten. */
export const AUDIT_CUT = "fleet/audit-cut";
export const VERSION_WENT_BACK = "device/version-went-back";

/** Conditions that are noticed again at each look as long as they last: acknowledged once, they stay so until they were gone for a day. */
const CONDITIONS: ReadonlySet<string> = new Set([FROZEN, CLONE_SUSPECTED, UNLISTED_VERSION, AUDIT_CUT, DEAD]);

/** What is over as soon as the device runs what it should run of that product. */
const ABOUT_UPDATES =
  /^(?:device\/(?:update-failed|version-went-back)|agent\/(?:refused|wrong-release|dependency-circle)|release\/.*)$/;

export type NewAlarm = {
  readonly device: string;
  readonly code: string;
  /** The product it is about, if it is about one. */
  readonly about?: string;
  readonly detail: string;
};

export async function raiseAlarm(records: FleetRecords, now: Instant, alarm: NewAlarm): Promise<void> {
  const about = alarm.about ?? "";
  const own = await records.alarm(alarm.device, alarm.code, about);
  const full = own === null && !(await makeRoom(records, alarm.device));
  const [code, subject] = full ? [TOO_MANY, ""] : [alarm.code, about];
  const found = full ? await records.alarm(alarm.device, TOO_MANY, "") : own;
  const known = found === null || found.ended !== null ? null : found;
  const lasting = known !== null && CONDITIONS.has(code) && now - known.last < DAY;
  await records.putAlarm({
    device: alarm.device,
    code,
    about: subject,
    first: known?.first ?? now,
    last: now,
    count: (known?.count ?? 0) + 1,
    // One line: it is shown in tables, and some of it is the device's own words.
    detail: alarm.detail.replace(/\s+/g, " ").slice(0, DETAIL),
    acknowledgedBy: lasting ? known.acknowledgedBy : null,
    acknowledgedAt: lasting ? known.acknowledgedAt : null,
    ended: null,
  });
}

/** False when the device has as many alarms as it may, and all of them last. */
async function makeRoom(records: FleetRecords, device: string): Promise<boolean> {
  const all = await records.alarmsOf(device);
  if (all.length < KINDS) return true;
  const [oldest] = all.filter(({ ended }) => ended !== null).toSorted((a, b) => a.last - b.last);
  if (oldest === undefined) return false;
  await records.dropAlarm(oldest.device, oldest.code, oldest.about);
  return true;
}

/** The condition is over. */
export async function endAlarm(
  records: FleetRecords,
  now: Instant,
  { device, code, about = "" }: Omit<NewAlarm, "detail">,
): Promise<void> {
  const known = await records.alarm(device, code, about);
  if (known !== null && known.ended === null) await records.putAlarm({ ...known, ended: now });
}

/** The device runs what it should run of a product: what was said about attempts at others is over. */
export async function endUpdateAlarms(
  records: FleetRecords,
  now: Instant,
  device: string,
  product: string,
): Promise<void> {
  for (const alarm of await records.alarmsOf(device))
    if (alarm.ended === null && alarm.about === product && ABOUT_UPDATES.test(alarm.code))
      await records.putAlarm({ ...alarm, ended: now });
}

/** Raised by servers, from what they see; a device says nothing of these. */
const BY_SERVER = /^(?:device|report|rollout)\//;

/** Somebody changed what must not change: that it was put right again is no reason for nobody to look. It lasts until it is acknowledged. */
const TAMPERED: ReadonlySet<string> = new Set(["slot/damaged", "location/tampered", "agent/image-refused"]);

/** What a device raised by itself and lists no more is over, whether it is about a product or about none. */
export async function endReportedAlarms(
  records: FleetRecords,
  now: Instant,
  device: string,
  lasting: readonly { readonly code: string; readonly about: string }[],
): Promise<void> {
  for (const alarm of await records.alarmsOf(device)) {
    if (alarm.ended !== null || BY_SERVER.test(alarm.code)) continue;
    if (TAMPERED.has(alarm.code) && alarm.acknowledgedAt === null) continue;
    // A check-in that was made before the alarm says nothing of it.
    if (alarm.last > now || lasting.some(({ code, about }) => code === alarm.code && about === alarm.about))
      continue;
    await records.putAlarm({ ...alarm, ended: now });
  }
}

/**
 * Somebody has looked at the alarms of a device, of one kind or of all. Returns those that were not acknowledged before.
 * Error: `fleet/no-alarm` when there is none.
 */
export async function acknowledgeAlarms(
  records: FleetRecords,
  now: Instant,
  { device, code }: { readonly device: string; readonly code?: string },
  actor: string,
): Promise<readonly Alarm[]> {
  const open = (await records.alarmsOf(device)).filter(
    (alarm) => alarm.ended === null && (code === undefined || alarm.code === code),
  );
  if (open.length === 0) {
    throw new FleetError(
      "fleet/no-alarm",
      `The device ${device} has no ${code === undefined ? "alarm" : `alarm ${code.slice(0, 100)}`}.`,
      { device, ...(code === undefined ? {} : { code: code.slice(0, 100) }) },
      { hint: "`upkeep fleet alarms` lists alarms." },
    );
  }
  const fresh = open.filter(({ acknowledgedAt }) => acknowledgedAt === null);
  for (const alarm of fresh) {
    await records.putAlarm({ ...alarm, acknowledgedBy: actor, acknowledgedAt: now });
    await appendAudit(records, now, {
      actor,
      action: "alarm/acknowledged",
      subject: device,
      facts: { code: alarm.code, about: alarm.about, count: alarm.count },
    });
  }
  return fresh;
}

/** Codes that metrics tell apart; devices may invent as many as they like. */
const CODES_COUNTED = 50;

type AlarmCount = { readonly code: string; readonly acknowledged: boolean; readonly count: number };

/** The most frequent kinds by name, all others together as `other`. */
export function boundedCounts(counts: readonly AlarmCount[]): readonly AlarmCount[] {
  const totals = new Map<string, number>();
  for (const { code, count } of counts) totals.set(code, (totals.get(code) ?? 0) + count);
  const named = new Set(
    [...totals]
      .toSorted(([, a], [, b]) => b - a)
      .slice(0, CODES_COUNTED)
      .map(([code]) => code),
  );
  const other = counts.filter(({ code }) => !named.has(code));
  const sum = (acknowledged: boolean): AlarmCount => ({
    code: "other",
    acknowledged,
    count: other
      .filter((one) => one.acknowledged === acknowledged)
      .reduce((all, { count }) => all + count, 0),
  });
  return [
    ...counts.filter(({ code }) => named.has(code)),
    ...[sum(false), sum(true)].filter(({ count }) => count > 0),
  ];
}
