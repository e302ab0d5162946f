// How many devices are in which state, as a gauge.

import { formatInstant, type Instant } from "../../core/instant.ts";
import { endAlarm, raiseAlarm, DEAD } from "../../fleet/alarms.ts";
import { deviceState, isHeld, liveness, LIVENESS } from "../../fleet/liveness.ts";
import type { FleetStore } from "../../fleet/store.ts";
import type { FleetView } from "./fleet-view.ts";
import type { Metrics } from "./metrics.ts";

const PAGE = 1000;

/** Errors: `fleet/store-*`. */
export async function countDevices({
  store,
  view,
  metrics,
  now,
}: {
  readonly store: Pick<FleetStore, "read">;
  readonly view: Pick<FleetView, "interval" | "desired">;
  readonly metrics: Metrics;
  readonly now: Instant;
}): Promise<void> {
  const counts = new Map<string, number>(LIVENESS.map((state) => [state, 0]));
  for (let after: string | undefined; ;) {
    const from = after === undefined ? {} : { after };
    const page = await store.read((records) => records.devices({ limit: PAGE, ...from }));
    for (const one of page) {
      const held = isHeld(view.desired(one.group), now);
      const state = deviceState(one, { interval: view.interval(one.group), now, held });
      counts.set(state, counts.get(state)! + 1);
    }
    if (page.length < PAGE) break;
    after = page.at(-1)!.id;
  }
  for (const [state, count] of counts) metrics.set("upkeep_devices", { state }, count);
}

/**
 * Raises an alarm for each device that nothing was heard of for many of its intervals, and ends it when the device is back. `known`: those that
 * were dead at the last look, which this call brings up to date. Errors: `fleet/store-*`.
 */
export async function watchDead({
  store,
  view,
  now,
  known,
}: {
  readonly store: FleetStore;
  readonly view: Pick<FleetView, "interval">;
  readonly now: Instant;
  readonly known: Set<string>;
}): Promise<void> {
  const dead: { readonly id: string; readonly detail: string }[] = [];
  const alive: string[] = [];
  for (let after: string | undefined; ;) {
    const from = after === undefined ? {} : { after };
    const page = await store.read((records) => records.devices({ limit: PAGE, ...from }));
    for (const { id, name, ...one } of page) {
      if (liveness(one, view.interval(one.group), now) !== "dead") alive.push(id);
      else if (!known.has(id))
        dead.push({
          id,
          detail: `${name}: last seen ${one.lastSeen === null ? "never" : formatInstant(one.lastSeen)}.`,
        });
    }
    if (page.length < PAGE) break;
    after = page.at(-1)!.id;
  }
  const back = await store.read(async (records) => {
    const alarmed = await records.alarmed();
    const open: string[] = [];
    for (const id of alive) {
      if (!alarmed.has(id)) continue;
      const alarm = await records.alarm(id, DEAD, "");
      if (alarm !== null && alarm.ended === null) open.push(id);
    }
    return open;
  });
  for (const id of alive) known.delete(id);
  if (dead.length === 0 && back.length === 0) return;
  await store.transaction(async (records) => {
    for (const { id, detail } of dead) {
      const open = await records.alarm(id, DEAD, "");
      if (open === null || open.ended !== null)
        await raiseAlarm(records, now, { device: id, code: DEAD, detail });
    }
    for (const device of back) await endAlarm(records, now, { device, code: DEAD });
  });
  for (const { id } of dead) known.add(id);
}
