// Frozen devices: a device that still trusts a timestamp the repository replaced long ago is kept from the news, by a mirror or by a fault.

import { DAY, formatInstant, HOUR, type Instant } from "../core/instant.ts";
import type { FleetRecords, Sighting } from "./store.ts";
import { endAlarm, FROZEN, raiseAlarm } from "./alarms.ts";

/** A device asks for metadata before it checks in, so what it trusts is rarely older than a check-in. */
const FROZEN_AFTER = 12 * HOUR;
/** How long replaced timestamps are remembered; by then their metadata has expired on every device. */
const REMEMBERED = 60 * DAY;
const MOST = 500;
const SETTING = "timestamps";

/** SHA-256 of timestamp files, oldest first, with the time when each was first seen. */
export type TimestampHistory = readonly (readonly [sha256: string, seen: Instant])[];

export async function loadHistory(records: Pick<FleetRecords, "setting">): Promise<TimestampHistory> {
  return JSON.parse((await records.setting(SETTING)) ?? "[]") as TimestampHistory;
}

/** Notes the timestamp the repository has now. */
export async function noteTimestamp(
  records: FleetRecords,
  now: Instant,
  sha256: string,
): Promise<TimestampHistory> {
  const history = await loadHistory(records);
  if (history.at(-1)?.[0] === sha256) return history;
  const grown = [
    ...history.filter(([known, seen]) => known !== sha256 && now - seen < REMEMBERED),
    [sha256, now] as const,
  ];
  const kept = grown.slice(-MOST);
  await records.putSetting(SETTING, JSON.stringify(kept));
  return kept;
}

/** When the timestamp was replaced by the next one; null if it is the newest or not known here. */
export function replacedAt(history: TimestampHistory, sha256: string): Instant | null {
  const at = history.findIndex(([known]) => known === sha256);
  return at < 0 ? null : (history[at + 1]?.[1] ?? null);
}

/** Raises `device/frozen` for devices among the sightings that trust what was replaced long ago, and ends it for those that no longer do. */
export async function watchFreshness(
  records: FleetRecords,
  history: TimestampHistory,
  sightings: readonly Sighting[],
): Promise<void> {
  for (const { device, at, timestamp } of sightings) {
    const replaced = timestamp === null ? null : replacedAt(history, timestamp);
    if (timestamp !== null && timestamp === history.at(-1)?.[0])
      await endAlarm(records, at, { device, code: FROZEN });
    if (replaced === null || at - replaced < FROZEN_AFTER) continue;
    await raiseAlarm(records, at, {
      device,
      code: FROZEN,
      detail: `The device trusts metadata that was replaced at ${formatInstant(replaced)}: a mirror withholds the news, or its copy is not kept up to date.`,
    });
  }
}
