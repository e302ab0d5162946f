// Why an update that is at hand is not activated now, and what of a policy or an answer cannot be read.

import { FAILED, PENDING, REFUSED, USAGE, UpkeepError, type Traits } from "../core/errors.ts";

export type MannersErrorCode =
  /** One code for each rule that makes an update wait (decide.ts). */
  | "manners/interlock"
  | "manners/server-hold"
  | "manners/opted-out"
  | "manners/held"
  | "manners/busy"
  | "manners/skipped"
  | "manners/asks"
  | "manners/active-hours"
  | "manners/window"
  | "manners/metered"
  | "manners/battery"
  | "manners/load"
  | "manners/idle"
  /** What this device remembered of holds and answers could not be read. */
  | "manners/forgotten"
  /** An update waits whose deadline comes soon: for people who look after the device. */
  | "manners/deadline-near"
  /** The signed policy forbids the old version to run after the deadline. */
  | "manners/overdue"
  | "manners/bad-policy"
  | "manners/unknown-prompt"
  | "manners/bad-lock";
export const MANNERS_ERRORS = {
  "manners/interlock": PENDING,
  "manners/server-hold": PENDING,
  "manners/opted-out": PENDING,
  "manners/held": PENDING,
  "manners/busy": PENDING,
  "manners/skipped": PENDING,
  "manners/asks": PENDING,
  "manners/active-hours": PENDING,
  "manners/window": PENDING,
  "manners/metered": PENDING,
  "manners/battery": PENDING,
  "manners/load": PENDING,
  "manners/idle": PENDING,
  "manners/forgotten": FAILED,
  "manners/deadline-near": PENDING,
  "manners/overdue": REFUSED,
  "manners/bad-policy": USAGE,
  "manners/unknown-prompt": USAGE,
  "manners/bad-lock": USAGE,
} satisfies Traits<MannersErrorCode>;

export class MannersError extends UpkeepError<MannersErrorCode> {
  protected override get traits(): Traits<MannersErrorCode> {
    return MANNERS_ERRORS;
  }
}
