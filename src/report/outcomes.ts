// How an attempt ended; apart from the schema, so that a command table needs no schema library.

/** Success means: the new version runs and came through its probation. */
export const OUTCOMES = ["success", "failure", "rolled-back", "refused", "superseded"] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** The step of a success that put the same version back in place of a damaged copy, and how such an attempt is shown. */
export const REPAIRED = "repaired";

/** How attempts are listed. */
export const RESULTS = [...OUTCOMES, REPAIRED] as const;
