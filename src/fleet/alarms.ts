// Alarms: what an operator should look at, counted once per device and kind so that no device can fill the store.

import type { Instant } from "../core/instant.ts";
import type { FleetRecords } from "./store.ts";

const DETAIL = 500;

export async function raiseAlarm(
  records: FleetRecords,
  now: Instant,
  alarm: { readonly device: string; readonly code: string; readonly detail: string },
): Promise<void> {
  const known = await records.alarm(alarm.device, alarm.code);
  await records.putAlarm({
    device: alarm.device,
    code: alarm.code,
    first: known?.first ?? now,
    last: now,
    count: (known?.count ?? 0) + 1,
    detail: alarm.detail.slice(0, DETAIL),
  });
}
