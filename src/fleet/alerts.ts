// Alerts: which alarms began or ended since they were told last; the same for every way of telling.

import { formatInstant, type Instant } from "../core/instant.ts";
import type { Alarm } from "./records.ts";
import type { FleetRecords } from "./store.ts";

/** What is told of one alarm. Plain facts: no place to click, nothing to run. */
export type Alert = {
  readonly event: "alarm-began" | "alarm-ended";
  readonly at: string;
  readonly device: string;
  readonly name: string;
  readonly code: string;
  readonly about: string;
  readonly count: number;
  readonly detail: string;
};

/** Alarms that are looked at for one telling: the newest. */
const LOOKED_AT = 1000;
const TOLD = 200;

/** Null before the first look, which tells nothing: an old fleet has alarms that everybody knows of. */
export async function toldTo(records: Pick<FleetRecords, "setting">, way: string): Promise<Instant | null> {
  const text = await records.setting(`alerts:${way}`);
  return text === null ? null : Number(text);
}

export async function noteTold(
  records: Pick<FleetRecords, "putSetting">,
  way: string,
  now: Instant,
): Promise<void> {
  await records.putSetting(`alerts:${way}`, String(now));
}

/** What began or ended after `since` and up to `now`, oldest first. An acknowledged alarm is known to somebody, and its end is told all the same. */
export async function alertsSince(
  records: Pick<FleetRecords, "alarms" | "device">,
  since: Instant,
  now: Instant,
): Promise<readonly Alert[]> {
  const found: { readonly at: Instant; readonly event: Alert["event"]; readonly alarm: Alarm }[] = [];
  for (const alarm of await records.alarms(LOOKED_AT, true)) {
    const { first, ended } = alarm;
    if (first > since && first <= now) found.push({ at: first, event: "alarm-began", alarm });
    if (ended !== null && ended > since && ended <= now)
      found.push({ at: ended, event: "alarm-ended", alarm });
  }
  const newest = found.toSorted((a, b) => a.at - b.at).slice(-TOLD);
  const alerts: Alert[] = [];
  for (const { at, event, alarm } of newest) {
    const { device, code, about, count, detail } = alarm;
    const name = (await records.device(device))?.name ?? "";
    alerts.push({ event, at: formatInstant(at), device, name, code, about, count, detail });
  }
  return alerts;
}
