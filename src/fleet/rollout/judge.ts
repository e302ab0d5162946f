// Judging a running rollout: from what became of each device, does it advance, halt, or wait, and why.

import { SECOND, type Instant } from "../../core/instant.ts";
import { compareVersions, parseVersion } from "../../core/version.ts";
import type { Halt, RosterDevice, Rollout, RolloutDevice } from "../rollout-record.ts";
import { concerns, phaseOf } from "./cohort.ts";

/** One device as the records have it. `row`: what became of it in this rollout; `running`: by its signed reports. */
export type Judged = {
  readonly device: RosterDevice;
  readonly row: RolloutDevice | null;
  readonly running: string | null;
};

/** Where a device stands. `silent`: it was offered the release and has not been heard of since for too long. */
export const STANDINGS = ["current", "failed", "silent", "offered", "waiting", "away"] as const;
export type Standing = (typeof STANDINGS)[number];

export type Tally = { readonly [S in Standing]: number };
const NONE: Tally = { current: 0, failed: 0, silent: 0, offered: 0, waiting: 0, away: 0 };

export type Placed = Judged & { readonly phase: number | null; readonly standing: Standing };

export type Verdict =
  | { readonly kind: "advance"; readonly why: string }
  | { readonly kind: "halt"; readonly halt: Halt }
  | { readonly kind: "wait"; readonly why: string };

/** `interval` of a group in seconds; a device that missed many check-ins is away, whatever the rollout says of silence. */
export function standingOf(
  rollout: Pick<Rollout, "version" | "rules">,
  { device, row, running }: Judged,
  now: Instant,
  away: (device: RosterDevice) => boolean,
): Standing {
  if (row?.result === "failed") return "failed";
  if (row !== null && fellSilent(rollout.rules, device, row.at ?? row.offered, now)) return "silent";
  if (row?.result === "succeeded" || reaches(running, rollout.version)) return "current";
  if (away(device)) return "away";
  return row === null ? "waiting" : "offered";
}

/** Quiet since shortly after `since`: a device that went on for long and is switched off later did not fall silent over this. */
function fellSilent(
  { silent }: Rollout["rules"],
  device: RosterDevice,
  since: Instant,
  now: Instant,
): boolean {
  const seen = device.lastSeen ?? device.enrolled;
  const limit = silent * SECOND;
  return silent > 0 && now - seen > limit && seen - since <= limit;
}

function reaches(running: string | null, version: string): boolean {
  return running !== null && compareVersions(parseVersion(running), parseVersion(version)) >= 0;
}

/** All active devices that the rollout concerns, each at its place. */
export function placeDevices(
  rollout: Rollout,
  devices: Iterable<Judged>,
  now: Instant,
  away: (device: RosterDevice) => boolean,
): readonly Placed[] {
  const placed: Placed[] = [];
  for (const one of devices) {
    const { group, status } = one.device;
    if (status !== "active" || !concerns(rollout, group)) continue;
    const phase = phaseOf(rollout, one.device);
    placed.push({ ...one, phase, standing: standingOf(rollout, one, now, away) });
  }
  return placed;
}

export function tallyOf(placed: Iterable<Pick<Placed, "standing">>): Tally {
  const tally = { ...NONE };
  for (const { standing } of placed) tally[standing]++;
  return tally;
}

/**
 * The rules, in this order: too many failures halt; a phase without devices is passed; a phase lasts its time; enough of its devices run the
 * release. Each device counts once, and only if it was offered the release: reports of others weigh nothing.
 */
export function judge(rollout: Rollout, placed: readonly Placed[], now: Instant): Verdict {
  const halt = haltOf(rollout, placed, now);
  if (halt !== null) return { kind: "halt", halt };
  const late = rollout.deadline !== null && now >= rollout.deadline;
  const open = placed.filter(({ phase }) => late || (phase !== null && phase <= rollout.phase));
  const tally = tallyOf(open);
  const here = open.length - tally.away;
  if (open.length === 0) return { kind: "advance", why: "no device is in this phase" };
  if (here === 0) return wait(`none of its ${open.length} devices is there now`);
  const lasted = now - (rollout.phaseSince ?? now);
  const { soak, success } = rollout.rules;
  if (lasted < soak * SECOND) return wait(`the phase lasts ${soak} s at least`);
  const part = (tally.current / here) * 100;
  if (part < success)
    return wait(
      `${tally.current} of ${here} devices run ${rollout.version}, and the next phase wants ${success} %` +
        (tally.failed + tally.silent > 0
          ? `; ${tally.failed} failed and ${tally.silent} are silent, and it halts from ${rollout.rules.sample} on`
          : ""),
    );
  return { kind: "advance", why: `${tally.current} of ${here} devices run ${rollout.version}` };
}

function wait(why: string): Verdict {
  return { kind: "wait", why };
}

type Bucket = {
  readonly failed: Placed[];
  silent: number;
  current: number;
  rest: number;
  restSilent: number;
};

/**
 * Failures are weighed among all devices, and again within each group and each kind of machine: a release that breaks one kind only would
 * drown among the others. Named is where the failures are densest.
 */
function haltOf(rollout: Rollout, placed: readonly Placed[], now: Instant): Halt | null {
  const buckets = new Map<string, Bucket>();
  for (const one of placed) {
    const { group, platform } = one.device;
    for (const name of ["all", `group ${group}`, `platform ${platform}`]) {
      let bucket = buckets.get(name);
      if (bucket === undefined)
        buckets.set(name, (bucket = { failed: [], silent: 0, current: 0, rest: 0, restSilent: 0 }));
      drop(bucket, one, rollout, now);
    }
  }
  const halts = [...buckets].flatMap(([among, bucket]) => weigh(rollout, among, bucket) ?? []);
  const density = ({ failed, silent, finished }: Halt): number => (failed + silent) / finished;
  return halts.toSorted((a, b) => density(b) - density(a))[0] ?? null;
}

function drop(bucket: Bucket, placed: Placed, rollout: Rollout, now: Instant): void {
  const { row, device, standing } = placed;
  const { rules, countFrom } = rollout;
  if (row === null) {
    bucket.rest++;
    if (now - (device.lastSeen ?? device.enrolled) > rules.silent * SECOND) bucket.restSilent++;
    return;
  }
  if (countFrom !== null && (row.at ?? row.offered) <= countFrom) return;
  if (standing === "failed") bucket.failed.push(placed);
  else if (standing === "silent") bucket.silent++;
  else if (standing === "current") bucket.current++;
}

function weigh({ rules }: Rollout, among: string, bucket: Bucket): Halt | null {
  const { failed, silent, current, rest, restSilent } = bucket;
  const finished = failed.length + silent + current;
  // A fleet that is switched off at night is silent everywhere: only the silence beyond that of the others counts.
  const usual = rest < rules.sample ? 0 : Math.floor(((silent + current) * restSilent) / rest);
  const bad = failed.length + Math.max(0, silent - usual);
  if (bad < rules.sample || (bad / finished) * 100 < rules.failed) return null;
  const latest = failed.toSorted((a, b) => (b.row?.at ?? 0) - (a.row?.at ?? 0));
  return {
    among,
    failed: failed.length,
    silent,
    finished,
    code: latest[0]?.row?.code ?? null,
    firstError: latest.find(({ row }) => row !== null && row.firstError !== null)?.row?.firstError ?? null,
  };
}
