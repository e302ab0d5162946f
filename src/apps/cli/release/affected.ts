// Which devices of the fleet run or try a version: by their own signed reports, and by what they say at check-in while they try it.

import { statOrNull } from "../../../core/disk.ts";
import { formatInstant } from "../../../core/instant.ts";
import { compareVersions, parseVersion } from "../../../core/version.ts";
import type { DeviceComponent } from "../../../fleet/records.ts";
import type { FleetReads } from "../../../fleet/store.ts";
import type { Call } from "../../framework/command.ts";

export type Affected = {
  readonly device: string;
  readonly name: string;
  /** When it said so, UTC. */
  readonly since: string;
  /** True while it tries the version: it runs, and no report says yet how that ended. */
  readonly trying: boolean;
  /** Its floor forbids the version to go to: it needs a higher one. */
  readonly cannotGoBack: boolean;
};

/** Where devices of a channel go that leave the version; null if that is not known. */
export type Destination = (channel: string | null) => string | null;

const PAGE = 1000;

/** Null when no server keeps its records here, or nobody ever enrolled. */
export async function affectedBy(
  call: Call,
  product: string,
  version: string,
  destination: Destination,
): Promise<readonly Affected[] | null> {
  const path = `${call.context.data}/server/upkeep.sqlite`;
  if (call.context.store === null && (await statOrNull(call.context.disk, path)) === null) return null;
  const { readFleet } = await import("../records/open-store.ts");
  return readFleet(call, async (records) => {
    const told = await toldOf(records, product);
    const channels = new Map(
      (await records.allDesired())
        .filter((one) => one.product === product)
        .map((one) => [one.group, one.channel]),
    );
    const out: Affected[] = [];
    let devices = 0;
    for (let after: string | undefined; ;) {
      const page = await records.devices({ limit: PAGE, ...(after === undefined ? {} : { after }) });
      devices += page.length;
      for (const device of page) {
        const component = told.get(device.id);
        const runs = component?.running === version;
        const trying =
          !runs &&
          device.claimed.some(
            (one) => one.product === product && (one.version === version || one.trying?.version === version),
          );
        if (!runs && !trying) continue;
        const to = destination(channels.get(device.group) ?? null);
        const floor = component?.floor ?? null;
        out.push({
          device: device.id,
          name: device.name,
          since: formatInstant(runs ? component.at : (device.lastSeen ?? device.enrolled)),
          trying,
          cannotGoBack:
            !trying &&
            to !== null &&
            floor !== null &&
            compareVersions(parseVersion(to), parseVersion(floor)) < 0,
        });
      }
      if (page.length < PAGE) return devices === 0 ? null : out;
      after = page.at(-1)!.id;
    }
  });
}

/** What each device last reported of the product. */
async function toldOf(records: FleetReads, product: string): Promise<ReadonlyMap<string, DeviceComponent>> {
  const told = new Map<string, DeviceComponent>();
  for (let after: DeviceComponent | null = null; ;) {
    const page: readonly DeviceComponent[] = await records.allComponents(after, PAGE);
    for (const component of page) if (component.product === product) told.set(component.device, component);
    if (page.length < PAGE) return told;
    after = page.at(-1)!;
  }
}

const SHOWN = 20;

/** Lines for people: all devices are in the JSON. */
export function affectedLines(version: string, affected: readonly Affected[] | null): readonly string[] {
  if (affected === null) return [];
  const stuck = affected.filter((one) => one.cannotGoBack).length;
  const trying = affected.filter((one) => one.trying).length;
  const word = (one: Affected): string =>
    one.trying ? "  is trying it" : one.cannotGoBack ? "  cannot go back: its floor is higher" : "";
  return [
    `devices that report running ${version}: ${affected.length - trying}`,
    ...(trying > 0 ? [`devices that are trying ${version}: ${trying}`] : []),
    ...affected.slice(0, SHOWN).map((one) => `  ${one.device}  ${one.name}  since ${one.since}${word(one)}`),
    ...(affected.length > SHOWN ? [`  and ${affected.length - SHOWN} more; --json lists all`] : []),
    ...(stuck > 0
      ? [`${stuck} of them cannot go back below their floor: publish a repaired release above it`]
      : []),
  ];
}
