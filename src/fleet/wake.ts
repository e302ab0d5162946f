// Wake-ups as state: a number per scope that only grows, so that nothing is lost when nobody listens.

import type { Device, WakeScope } from "./records.ts";
import type { FleetRecords } from "./store.ts";

const NEXT = "wake-seq";

/** Wakes a scope; returns the new sequence number. The listeners learn of it when the transaction is done. */
export async function wake(records: FleetRecords, scope: WakeScope): Promise<number> {
  const seq = Number((await records.setting(NEXT)) ?? "0") + 1;
  await records.putSetting(NEXT, String(seq));
  await records.putWake(scope, seq);
  return seq;
}

/** The newest wake-up that concerns a device; 0 when there was none. */
export function newestWake(
  wakes: ReadonlyMap<WakeScope, number>,
  device: Pick<Device, "id" | "group">,
): number {
  return Math.max(
    wakes.get("all") ?? 0,
    wakes.get(`group:${device.group}`) ?? 0,
    wakes.get(`device:${device.id}`) ?? 0,
  );
}
