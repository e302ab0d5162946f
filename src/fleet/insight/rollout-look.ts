// One look at a rollout: where its devices stand, which kinds of machines fail and by what, how long it took, and what it waits for.

import type { Instant } from "../../core/instant.ts";
import { DEFAULT_INTERVAL } from "../enrol.ts";
import { isAhead, liveness } from "../liveness.ts";
import type { Phase, RosterDevice, Rollout } from "../rollout-record.ts";
import { judge, placeDevices, tallyOf, type Placed, type Tally } from "../rollout/judge.ts";
import { readRoster, type RosterSource } from "../rollout/roster.ts";
import { opensAt } from "../rollout/window.ts";
import { formatInstant } from "../../core/instant.ts";

export type FailureGroup = {
  /** `platform linux-arm64-musl in group tills`. */
  readonly among: string;
  readonly failed: number;
  /** Devices of this kind that were offered the release. */
  readonly devices: number;
  readonly code: string | null;
  /** The first line that speaks of an error, of the earliest failure that has one. */
  readonly firstError: string | null;
};

/** Milliseconds until so many percent of the devices ran the release; null while they do not. */
export type Milestone = { readonly percent: number; readonly ms: number | null };

/** A device that has not come to an end: it runs neither the release nor failed at it. */
export type OpenDevice = {
  readonly device: string;
  readonly name: string;
  readonly standing: string;
  readonly since: Instant | null;
};

export type RolloutLook = {
  readonly rollout: Rollout;
  readonly tally: Tally;
  readonly phases: readonly { readonly phase: Phase; readonly tally: Tally }[];
  readonly failures: readonly FailureGroup[];
  readonly times: readonly Milestone[];
  /** What it waits for; null when it waits for nothing. */
  readonly next: string | null;
  readonly open: readonly OpenDevice[];
};

export const MILESTONES = [50, 90, 99] as const;

/** Errors: `fleet/store-*`. */
export async function lookAtRollout(
  source: RosterSource,
  rollout: Rollout,
  now: Instant,
): Promise<RolloutLook> {
  const intervals = new Map(
    (await source.read((records) => records.groups())).map(({ name, interval }) => [name, interval]),
  );
  const away = (device: RosterDevice): boolean =>
    liveness(device, intervals.get(device.group) ?? DEFAULT_INTERVAL, now) === "dead";
  const placed = placeDevices(rollout, await readRoster(source, rollout), now, away);
  return {
    rollout,
    tally: tallyOf(placed),
    phases: rollout.phases.map((phase, at) => ({
      phase,
      tally: tallyOf(placed.filter((one) => one.phase === at)),
    })),
    failures: failuresOf(placed),
    times: milestones(
      placed.flatMap(({ row }) => (row?.result === "succeeded" && row.at !== null ? [row.at] : [])),
      placed.length,
      rollout.started,
    ),
    next: nextOf(rollout, placed, now),
    open: placed
      .filter(({ standing }) => standing !== "current" && standing !== "failed")
      .map(({ device, standing, row }) => ({
        device: device.id,
        name: device.name,
        standing,
        since: row?.offered ?? (isAhead(device.lastSeen, now) ? null : device.lastSeen),
      })),
  };
}

/** `reached`: when each device came to run it; devices that ran it before are not among them, and count as there from the start. */
export function milestones(
  reached: readonly Instant[],
  devices: number,
  started: Instant | null,
): readonly Milestone[] {
  const sorted = reached.toSorted((a, b) => a - b);
  return MILESTONES.map((percent) => {
    const needed = Math.ceil((devices * percent) / 100);
    const at = needed === 0 ? undefined : sorted[needed - 1];
    return { percent, ms: at === undefined || started === null ? null : Math.max(0, at - started) };
  });
}

function failuresOf(placed: readonly Placed[]): readonly FailureGroup[] {
  const kinds = new Map<string, Placed[]>();
  for (const one of placed) {
    if (one.row === null) continue;
    const among = `platform ${one.device.platform} in group ${one.device.group}`;
    const list = kinds.get(among);
    if (list === undefined) kinds.set(among, [one]);
    else list.push(one);
  }
  return [...kinds]
    .map(([among, all]): FailureGroup => {
      const failed = all
        .filter(({ standing }) => standing === "failed" || standing === "silent")
        .toSorted((a, b) => (a.row?.at ?? Infinity) - (b.row?.at ?? Infinity));
      return {
        among,
        failed: failed.length,
        devices: all.length,
        code: failed[0]?.row?.code ?? null,
        firstError: failed.flatMap(({ row }) => row?.firstError ?? [])[0] ?? null,
      };
    })
    .filter(({ failed }) => failed > 0)
    .toSorted((a, b) => b.failed / b.devices - a.failed / a.devices || b.failed - a.failed);
}

function nextOf(rollout: Rollout, placed: readonly Placed[], now: Instant): string | null {
  const { state, approvals, approvedBy, startAt, id } = rollout;
  switch (state) {
    case "planned":
      return approvedBy.length < approvals
        ? `${approvals - approvedBy.length} more approvals: upkeep fleet rollout approve ${id}`
        : `its start: upkeep fleet rollout start ${id}`;
    case "scheduled":
      return `it starts at ${formatInstant(startAt ?? now)}`;
    case "running": {
      const opens = opensAt(rollout, now);
      if (opens !== now)
        return opens === null ? "no window ever opens" : `the window opens at ${formatInstant(opens)}`;
      const verdict = judge(rollout, placed, now);
      return verdict.kind === "wait"
        ? verdict.why
        : verdict.kind === "halt"
          ? "it is about to halt"
          : verdict.why;
    }
    default:
      return null;
  }
}
