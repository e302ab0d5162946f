// Follows the lines of check-ins of every device that was seen, and raises the alarm on clones.

import { formatInstant } from "../core/instant.ts";
import { CLONE_SUSPECTED, raiseAlarm } from "./alarms.ts";
import { follow, type CloneSuspicion } from "./clone.ts";
import type { FleetRecords, Sighting } from "./store.ts";

export type Suspected = CloneSuspicion & { readonly device: string };

/** Takes the check-ins of a batch; returns the devices of which two copies seem to be alive. */
export async function watchClones(
  records: FleetRecords,
  sightings: readonly Sighting[],
): Promise<readonly Suspected[]> {
  const suspected: Suspected[] = [];
  for (const { device, links = [] } of sightings) {
    // A device that was removed meanwhile has no lines to keep.
    if (links.length === 0 || (await records.device(device)) === null) continue;
    let lines = await records.lines(device);
    for (const link of links) {
      const followed = follow(lines, link);
      lines = followed.lines;
      if (followed.suspicion === null) continue;
      const { addresses } = followed.suspicion;
      suspected.push({ device, addresses });
      const places =
        addresses[0] === addresses[1] ? `both from ${addresses[0]}` : `from ${addresses.join(" and ")}`;
      await raiseAlarm(records, link.at, {
        device,
        code: CLONE_SUSPECTED,
        detail: `Two copies of this device check in by turns, ${places}, last at ${formatInstant(link.at)}: its keys were copied with its disk. Revoke it and enroll each machine again, or switch one off.`,
      });
    }
    await records.putLines(device, lines);
  }
  return suspected;
}
