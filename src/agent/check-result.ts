// What comes of a check as a whole.

import { UpkeepError } from "../core/errors.ts";
import { codeOf, retryAfterOf, sentenceOf } from "./errors.ts";
import type { World } from "./ports.ts";
import type { ComponentResult } from "./update-component.ts";

export type CheckResult = {
  readonly at: string;
  readonly components: readonly ComponentResult[];
  /** Why the check as a whole came to nothing; null if it went through. */
  readonly failure: { readonly code: string; readonly message: string; readonly hint: string | null } | null;
  /** What the server asked for. */
  readonly interval: number | null;
  readonly seq: number | null;
  readonly retryAfter: number | null;
};

/**
 * Why a check came to nothing, logged; `alarm` is the sentence for people. What is not even an `Error` is thrown on.
 */
export function checkFailure(
  error: unknown,
  log: World["log"],
): {
  readonly failure: NonNullable<CheckResult["failure"]>;
  readonly retryAfter: number | null;
  readonly alarm: string;
} {
  if (!(error instanceof UpkeepError)) {
    log({ level: "error", event: "unforeseen", at: "check", message: sentenceOf(error) });
    if (!(error instanceof Error)) throw error;
  }
  const [code, message] = [codeOf(error), sentenceOf(error)];
  log({ level: "error", event: "check-failed", code, message });
  return {
    failure: { code, message, hint: error instanceof UpkeepError ? (error.hint ?? null) : null },
    retryAfter: retryAfterOf(error),
    // TUF 1.5.1, indefinite freeze: the alarm calls the attack by its name.
    alarm: code === "repository/expired" ? `The repository is frozen. ${message}` : message,
  };
}
