// Alarms: what an operator should look at, counted once per device and kind so that no device can fill the store.

import type { Instant } from "../core/instant.ts";
import type { FleetRecords } from "./store.ts";

const DETAIL = 500;
/** Kinds of alarm kept per device; a device that invents more gets one for that. */
const KINDS = 50;
const TOO_MANY = "device/too-many-alarms";

export async function raiseAlarm(
  records: FleetRecords,
  now: Instant,
  alarm: { readonly device: string; readonly code: string; readonly detail: string },
): Promise<void> {
  const own = await records.alarm(alarm.device, alarm.code);
  const full = own === null && (await records.alarmCount(alarm.device)) >= KINDS;
  const code = full ? TOO_MANY : alarm.code;
  const known = full ? await records.alarm(alarm.device, TOO_MANY) : own;
  await records.putAlarm({
    device: alarm.device,
    code,
    first: known?.first ?? now,
    last: now,
    count: (known?.count ?? 0) + 1,
    // One line: it is shown in tables, and some of it is the device's own words.
    detail: alarm.detail.replace(/\s+/g, " ").slice(0, DETAIL),
  });
}
