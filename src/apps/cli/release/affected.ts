// Which devices of the fleet run a version, by their own signed reports.

import { statOrNull } from "../../../core/disk.ts";
import { formatInstant } from "../../../core/instant.ts";
import { compareVersions, parseVersion } from "../../../core/version.ts";
import type { DeviceComponent } from "../../../fleet/records.ts";
import type { Call } from "../../framework/command.ts";

export type Affected = {
  readonly device: string;
  readonly name: string;
  /** When it reported so, UTC. */
  readonly since: string;
  /** Its floor forbids the version to go to: it needs a higher one. */
  readonly cannotGoBack: boolean;
};

const PAGE = 1000;

/** Null when no server keeps its records here. `to` is where a recall sends devices. */
export async function affectedBy(
  call: Call,
  product: string,
  version: string,
  to: string | null,
): Promise<readonly Affected[] | null> {
  const path = `${call.context.data}/server/upkeep.sqlite`;
  if (call.context.store === null && (await statOrNull(call.context.disk, path)) === null) return null;
  const { readFleet } = await import("../fleet/open-store.ts");
  return readFleet(call, async (records) => {
    const out: Affected[] = [];
    let after: DeviceComponent | null = null;
    for (;;) {
      const page: readonly DeviceComponent[] = await records.allComponents(after, PAGE);
      for (const component of page) {
        if (component.product !== product || component.running !== version) continue;
        const device = await records.device(component.device);
        const { floor } = component;
        out.push({
          device: component.device,
          name: device?.name ?? "",
          since: formatInstant(component.at),
          cannotGoBack:
            to !== null && floor !== null && compareVersions(parseVersion(to), parseVersion(floor)) < 0,
        });
      }
      if (page.length < PAGE) return out;
      after = page.at(-1)!;
    }
  });
}

const SHOWN = 20;

/** Lines for people: all devices are in the JSON. */
export function affectedLines(version: string, affected: readonly Affected[] | null): readonly string[] {
  if (affected === null) return [];
  const stuck = affected.filter((one) => one.cannotGoBack).length;
  return [
    `devices that report running ${version}: ${affected.length}`,
    ...affected
      .slice(0, SHOWN)
      .map(
        (one) =>
          `  ${one.device}  ${one.name}  since ${one.since}${one.cannotGoBack ? "  cannot go back: its floor is higher" : ""}`,
      ),
    ...(affected.length > SHOWN ? [`  and ${affected.length - SHOWN} more; --json lists all`] : []),
    ...(stuck > 0
      ? [`${stuck} of them cannot go back below their floor: publish a repaired release above it`]
      : []),
  ];
}
