// Why the agent did not do something, or refused to.

import { UpkeepError } from "../core/errors.ts";

export type AgentErrorCode =
  | "agent/not-enrolled"
  | "agent/already-enrolled"
  | "agent/damaged-identity"
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
  | "agent/dependency-circle"
  | "agent/outbox-full"
  | "agent/self-check-failed"
  | "agent/repair-waits"
  | "agent/rolled-back-by-hand"
  | "agent/unusable-certificate";
export class AgentError extends UpkeepError<AgentErrorCode> {}

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
