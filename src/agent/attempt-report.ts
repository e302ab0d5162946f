// The one terminal report of an attempt, made from its journal.

import { REPAIRED } from "../report/outcomes.ts";
import type { AttemptReport, Report } from "../report/report.ts";
import type { Attempt } from "../slot/attempt.ts";
import { AgentError } from "./errors.ts";
import type { ChainFields } from "./outbox.ts";

const OUTCOMES: { readonly [E in NonNullable<Attempt["end"]>["end"]]: AttemptReport["outcome"] } = {
  committed: "success",
  failed: "failure",
  refused: "refused",
  superseded: "superseded",
  "rolled-back": "rolled-back",
};

/** The one terminal report of an attempt, from its journal. */
export function reportOf(product: string, attempt: Attempt, fetched: number, fields: ChainFields): Report {
  const { begin, end, verified } = attempt;
  if (end === null)
    throw new AgentError("agent/interrupted", "An attempt that has not ended has nothing to report.", {});
  return {
    ...fields,
    kind: "attempt",
    attempt: begin.attempt,
    product,
    from: begin.from?.version ?? null,
    to: begin.to.version,
    // With nothing to go back to, nothing was rolled back.
    outcome: begin.from === null && end.end === "rolled-back" ? "failure" : OUTCOMES[end.end],
    ...(end.code === null ? {} : { code: end.code }),
    // A word that older servers read as any other step.
    step: begin.damage === "repair" && end.end === "committed" ? REPAIRED : end.step,
    started: begin.at,
    duration: end.duration,
    bytes: verified?.bytes ?? fetched,
    source: verified?.source ?? "none",
    ...(verified?.by === undefined ? {} : { bytesBy: verified.by }),
    ...(verified?.detour === undefined ? {} : { detour: verified.detour }),
    running: end.running,
    ...(end.reason === null ? {} : { reason: end.reason }),
  };
}
