// How many devices are in which state, as a gauge.

import type { Instant } from "../../core/instant.ts";
import { liveness, LIVENESS } from "../../fleet/liveness.ts";
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
  readonly view: Pick<FleetView, "interval">;
  readonly metrics: Metrics;
  readonly now: Instant;
}): Promise<void> {
  const counts = new Map<string, number>(LIVENESS.map((state) => [state, 0]));
  for (let after: string | undefined; ;) {
    const from = after === undefined ? {} : { after };
    const page = await store.read((records) => records.devices({ limit: PAGE, ...from }));
    for (const one of page) {
      const state = liveness(one, view.interval(one.group), now);
      counts.set(state, counts.get(state)! + 1);
    }
    if (page.length < PAGE) break;
    after = page.at(-1)!.id;
  }
  for (const [state, count] of counts) metrics.set("upkeep_devices", { state }, count);
}
