// Why the agent did not do something, or refused to.

import { FAILED, PENDING, REFUSED, TRANSIENT, USAGE, UpkeepError, type Traits } from "../core/errors.ts";

export type AgentErrorCode =
  | "agent/not-enrolled"
  | "agent/already-enrolled"
  | "agent/damaged-identity"
  | "agent/exposed-folder"
  | "agent/locked"
  | "agent/not-running"
  | "agent/bad-settings"
  | "agent/bad-request"
  | "agent/refused"
  | "agent/wrong-release"
  | "agent/wrong-bytes"
  | "agent/no-verifier"
  | "agent/no-space"
  | "agent/superseded"
  | "agent/interrupted"
  | "agent/stopping"
  | "agent/not-installed"
  | "agent/nothing-to-go-back-to"
  | "agent/needed"
  /** What the server is told, and why nothing of it is installed: a decision of the device's owner. */
  | "agent/uninstalled"
  | "agent/dependency-circle"
  | "agent/outbox-full"
  | "agent/self-check-failed"
  | "agent/image-refused"
  | "agent/repair-waits"
  | "agent/rolled-back-by-hand"
  | "agent/unusable-certificate"
  /** An error that no room declared: a defect. */
  | "agent/unforeseen";
export const AGENT_ERRORS = {
  "agent/not-enrolled": FAILED,
  "agent/already-enrolled": FAILED,
  "agent/damaged-identity": FAILED,
  "agent/exposed-folder": REFUSED,
  "agent/locked": PENDING,
  "agent/not-running": FAILED,
  "agent/bad-settings": USAGE,
  "agent/bad-request": USAGE,
  "agent/refused": REFUSED,
  "agent/wrong-release": REFUSED,
  "agent/wrong-bytes": REFUSED,
  "agent/no-verifier": REFUSED,
  "agent/no-space": TRANSIENT,
  "agent/superseded": FAILED,
  "agent/interrupted": FAILED,
  "agent/stopping": TRANSIENT,
  "agent/not-installed": { ...FAILED, hint: "`upkeep agent status` shows what is installed." },
  "agent/needed": REFUSED,
  "agent/uninstalled": REFUSED,
  "agent/nothing-to-go-back-to": FAILED,
  "agent/dependency-circle": REFUSED,
  "agent/outbox-full": FAILED,
  "agent/self-check-failed": REFUSED,
  "agent/image-refused": REFUSED,
  "agent/repair-waits": TRANSIENT,
  "agent/rolled-back-by-hand": FAILED,
  "agent/unusable-certificate": { nature: "transient", exit: "refused" },
  "agent/unforeseen": FAILED,
} satisfies Traits<AgentErrorCode>;

export class AgentError extends UpkeepError<AgentErrorCode> {
  protected override get traits(): Traits<AgentErrorCode> {
    return AGENT_ERRORS;
  }
}

/** The code an error carries, or one that says that nobody foresaw it. */
export function codeOf(error: unknown): string {
  return error instanceof UpkeepError ? error.code : "agent/unforeseen";
}

/** One sentence, bounded, for reports, journals and status. */
export function sentenceOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  // eslint-disable-next-line no-control-regex -- control characters and direction marks must not reach a terminal or a report
  const clean = text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]+/g, " ");
  return clean.toWellFormed().slice(0, 800);
}

/** Seconds that an error asks to wait, wherever in its causes. */
export function retryAfterOf(error: unknown): number | null {
  for (let e: unknown = error; e instanceof Error; e = e.cause) {
    const value = e instanceof UpkeepError ? e.facts["retryAfter"] : undefined;
    if (typeof value === "number") return value;
  }
  return null;
}
