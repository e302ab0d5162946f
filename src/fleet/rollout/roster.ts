// The roster of a rollout: every device that it concerns with what became of it, read page by page so that nobody waits for it.

import type { FleetReads } from "../store.ts";
import type { RosterDevice, Rollout, RolloutDevice } from "../rollout-record.ts";
import type { Judged } from "./judge.ts";
import { concerns } from "./cohort.ts";

const PAGE = 1000;

export type RosterSource = {
  /** One short look into the store. */
  read<T>(work: (records: FleetReads) => Promise<T>): Promise<T>;
  /** Called between two pages: lets others have their turn. */
  readonly breathe?: () => Promise<void>;
};

/** Pages are read one by one: a device that changes meanwhile is seen before or after the change. Errors: `fleet/store-*`. */
export async function readRoster(source: RosterSource, rollout: Rollout): Promise<readonly Judged[]> {
  const running = new Map<string, string>();
  await pages(
    source,
    (records, after) => records.runningOf(rollout.product, after, PAGE),
    ({ device, running: version }) => {
      running.set(device, version);
      return device;
    },
  );
  const rows = new Map<string, RolloutDevice>();
  await pages(
    source,
    (records, after) => records.rolloutDevices(rollout.id, after, PAGE),
    (row) => {
      rows.set(row.device, row);
      return row.device;
    },
  );
  const roster: Judged[] = [];
  await pages(
    source,
    (records, after) => records.roster(after, PAGE),
    (device: RosterDevice) => {
      if (concerns(rollout, device.group)) {
        const [row = null, version = null] = [rows.get(device.id), running.get(device.id)];
        roster.push({ device, row, running: version });
      }
      return device.id;
    },
  );
  return roster;
}

async function pages<T>(
  source: RosterSource,
  page: (records: FleetReads, after: string) => Promise<readonly T[]>,
  take: (row: T) => string,
): Promise<void> {
  for (let after = ""; ;) {
    const rows: readonly T[] = await source.read((records) => page(records, after));
    for (const row of rows) after = take(row);
    if (rows.length < PAGE) return;
    await source.breathe?.();
  }
}
