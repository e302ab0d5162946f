// How the signed policy of the group and the owner's policy of the device meet: the owner may delay up to the deadline, and weaken nothing.

import type { Instant } from "../core/instant.ts";
import { compareVersions, parseVersion } from "../core/version.ts";
import type { Hours } from "./hours.ts";
import {
  dueAt,
  lineFor,
  WHENS,
  type Deadline,
  type Kind,
  type Line,
  type Policy,
  type When,
} from "./policy.ts";

/** Whose word a member of the merged line is. */
export type Origin = "group" | "device" | "both" | "default";

/** What holds for one product and one kind of update. Lists of hours are asked one after the other: all of them must agree. */
export type Merged = {
  readonly when: When;
  readonly windows: readonly (readonly Hours[])[];
  readonly activeHours: readonly Hours[];
  readonly idleSeconds: number | null;
  readonly maxLoad: number | null;
  readonly minBattery: number | null;
  readonly metered: boolean;
  readonly deadline: Deadline | null;
  readonly atStart: "background" | "block";
  readonly atStartSeconds: number;
  readonly servesFrom: string | null;
  readonly origins: { readonly [M in Exclude<keyof Merged, "origins">]: Origin };
};

/** What `when-possible` means where no line says more. */
const WHEN_POSSIBLE = { maxLoad: 100, minBattery: 30, metered: false } as const;
const NOTHING: Line = { when: "now" };
/** How long a device that blocks waits for its server before the old version serves all the same. */
const AT_START_SECONDS = 300;

/** `since`: when the device learned of the release, which tells the earlier of two deadlines. */
export function merge(
  group: Policy | null,
  device: Policy | null,
  product: string,
  kind: Kind,
  since: Instant = 0,
): Merged {
  const lines = { group: lineFor(group, product, kind), device: lineFor(device, product, kind) };
  const [g, d] = [lines.group ?? NOTHING, lines.device ?? NOTHING];
  const later: When = WHENS.indexOf(d.when) > WHENS.indexOf(g.when) ? d.when : g.when;
  const assumed: Partial<Line> = later === "when-possible" ? WHEN_POSSIBLE : {};
  const origins = {} as { [M in Exclude<keyof Merged, "origins">]: Origin };
  const from = (member: keyof typeof origins, ofGroup: boolean, ofDevice: boolean): void => {
    origins[member] = ofGroup && ofDevice ? "both" : ofGroup ? "group" : ofDevice ? "device" : "default";
  };
  /** The stricter one of what both say. */
  const stricter = <M extends "idleSeconds" | "maxLoad" | "minBattery">(
    member: M,
    pick: (a: number, b: number) => number,
  ): number | null => {
    const [a, b] = [g[member], d[member]];
    if (a === undefined && b === undefined) {
      from(member, false, false);
      return (assumed as { readonly [name: string]: number | undefined })[member] ?? null;
    }
    const found = a === undefined ? b! : b === undefined ? a : pick(a, b);
    from(member, a === found, b === found);
    return found;
  };
  from("when", lines.group?.when === later, lines.device?.when === later);
  from("windows", g.windows !== undefined, d.windows !== undefined);
  from("activeHours", g.activeHours !== undefined, d.activeHours !== undefined);
  const said = g.metered ?? d.metered ?? assumed.metered ?? true;
  const meets = said && g.metered !== false && d.metered !== false;
  from("metered", g.metered === meets, d.metered === meets);
  const deadline = earlier(g.deadline, d.deadline, since);
  from(
    "deadline",
    deadline !== null && g.deadline !== undefined,
    deadline !== null && d.deadline !== undefined,
  );
  const block = g.atStart === "block" || d.atStart === "block";
  from("atStart", g.atStart !== undefined, d.atStart !== undefined);
  const waits = [g, d]
    .filter((line) => line.atStart === "block")
    .map((line) => line.atStartSeconds ?? AT_START_SECONDS);
  from("atStartSeconds", g.atStartSeconds !== undefined, d.atStartSeconds !== undefined);
  from("servesFrom", g.servesFrom !== undefined, d.servesFrom !== undefined);
  return {
    when: later,
    windows: [g.windows, d.windows].filter((hours) => hours !== undefined),
    activeHours: [...(g.activeHours ?? []), ...(d.activeHours ?? [])],
    idleSeconds: stricter("idleSeconds", Math.max),
    maxLoad: stricter("maxLoad", Math.min),
    minBattery: stricter("minBattery", Math.max),
    metered: meets,
    deadline,
    atStart: block ? "block" : "background",
    atStartSeconds: waits.includes(0) ? 0 : Math.max(0, ...waits),
    servesFrom: higher(g.servesFrom, d.servesFrom),
    origins,
  };
}

/**
 * The group's deadline; the owner's own where that ends sooner. What follows it, and whether it passes interlocks, is the group's word:
 * where both set one, the owner's moves the end and nothing else.
 */
function earlier(group: Deadline | undefined, device: Deadline | undefined, since: Instant): Deadline | null {
  if (group === undefined || device === undefined) return group ?? device ?? null;
  if (dueAt(device, since) >= dueAt(group, since)) return group;
  const { within, by, warn = group.warn } = device;
  return {
    ...(within === undefined ? {} : { within }),
    ...(by === undefined ? {} : { by }),
    ...(warn === undefined ? {} : { warn }),
    ...(group.after === undefined ? {} : { after: group.after }),
    ...(group.overInterlocks === undefined ? {} : { overInterlocks: group.overInterlocks }),
  };
}

function higher(a: string | undefined, b: string | undefined): string | null {
  if (a === undefined || b === undefined) return a ?? b ?? null;
  return compareVersions(parseVersion(a), parseVersion(b)) >= 0 ? a : b;
}
