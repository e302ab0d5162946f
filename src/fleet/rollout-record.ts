// A rollout as the store keeps it: what goes to whom in which order, by which rules it advances and halts, and how far it is.

import type { Instant } from "../core/instant.ts";
import type { Labels } from "./label-record.ts";

/**
 * `planned`: made, and perhaps waiting for approvals. `scheduled`: starts by itself. `running`: the current phase is open.
 * `paused`: by a person. `halted`: by itself. `done`, `aborted`, `recalled`: the end.
 */
export const ROLLOUT_STATES = [
  "planned",
  "scheduled",
  "running",
  "paused",
  "halted",
  "done",
  "aborted",
  "recalled",
] as const;
export type RolloutState = (typeof ROLLOUT_STATES)[number];

/** Who is let in by a phase: the named devices, or a part of the named groups (all of the rollout's when none is named). */
export type Phase = {
  readonly devices: readonly string[];
  readonly groups: readonly string[];
  /** Of the cohort, more than 0 and at most 100; null where devices are named. */
  readonly percent: number | null;
  /** Only devices that this expression holds for (filter.ts); null for all. */
  readonly where: string | null;
};

export type RolloutRules = {
  /** Percent of a phase's devices that have to run the release before the next phase opens. */
  readonly success: number;
  /** Percent of those with a result that may fail before the rollout halts. */
  readonly failed: number;
  /** Distinct devices that have to have failed before it halts. */
  readonly sample: number;
  /** Seconds that a phase lasts at least. */
  readonly soak: number;
  /** Seconds of silence after which a device that was offered the release counts as failed; 0: never. */
  readonly silent: number;
};

/** Minutes of the day in UTC; one that ends before it begins goes over midnight. */
export type RolloutWindow = {
  /** 0 is Sunday; the day on which the window begins. */
  readonly days: readonly number[];
  readonly from: number;
  readonly to: number;
};

export type Approval = { readonly actor: string; readonly at: Instant };

/** Why a rollout halted, for people and programs. */
export type Halt = {
  /** `all`, `group tills` or `platform linux-arm64-musl`: where the failures were too many. */
  readonly among: string;
  readonly failed: number;
  readonly silent: number;
  /** Devices with a result, failures among them. */
  readonly finished: number;
  /** Of the latest failure that has one. */
  readonly code: string | null;
  readonly firstError: string | null;
};

export type Rollout = {
  readonly id: string;
  readonly product: string;
  readonly version: string;
  /** SHA-256 of the release document when the rollout was made: nothing else is rolled out under the number. */
  readonly manifestSha256: string;
  /** The groups that it is for; empty for every group that the product is assigned to. */
  readonly groups: readonly string[];
  readonly phases: readonly Phase[];
  readonly rules: RolloutRules;
  readonly windows: readonly RolloutWindow[];
  /** From then on every device of the rollout is let in, in and out of windows. */
  readonly deadline: Instant | null;
  /** When it starts by itself, once it was started. */
  readonly startAt: Instant | null;
  /** How many other people have to approve. */
  readonly approvals: number;
  readonly approvedBy: readonly Approval[];
  /** Makes the cohorts of this rollout others than those of the one before. */
  readonly salt: string;
  readonly author: string;
  readonly created: Instant;
  readonly state: RolloutState;
  /** Since when it is in this state. */
  readonly since: Instant;
  /** Which phase is open, from 0; -1 before the first. */
  readonly phase: number;
  readonly phaseSince: Instant | null;
  readonly started: Instant | null;
  readonly ended: Instant | null;
  /** Results from before do not halt it: a person saw them and resumed it. */
  readonly countFrom: Instant | null;
  readonly halt: Halt | null;
  /** The versions at which groups stayed before it was done; what a later recall puts back. */
  readonly pinned: readonly { readonly group: string; readonly version: string | null }[];
  /** Grows with each change, so that two servers do not act on the same state. */
  readonly revision: number;
};

export type RolloutResult = "offered" | "succeeded" | "failed";

/** What became of one device in one rollout; there is a row from the moment at which it was offered the release, not before. */
export type RolloutDevice = {
  readonly rollout: string;
  readonly device: string;
  readonly phase: number;
  readonly offered: Instant;
  readonly result: RolloutResult;
  /** When the result came. */
  readonly at: Instant | null;
  /** Sequence of the report that says so. */
  readonly sequence: number;
  readonly code: string | null;
  readonly step: string | null;
  readonly firstError: string | null;
};

/** What judging a rollout needs of each device. */
export type RosterDevice = {
  readonly id: string;
  readonly name: string;
  readonly group: string;
  readonly status: "active" | "pending" | "revoked";
  readonly enrolled: Instant;
  readonly lastSeen: Instant | null;
  /** `linux-x64-glibc`. */
  readonly platform: string;
  readonly labels: Labels;
};

/** Rollouts that are over and change nothing any more. */
export function isOver(state: RolloutState): boolean {
  return state === "done" || state === "aborted" || state === "recalled";
}
