// Exit codes: one small table that scripts may rely on. Which of them an error ends with is declared beside its code.

import { UpkeepError, type ExitName } from "../../core/errors.ts";

/** Documented in docs/errors.md; a number never changes its meaning. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  refused: 3,
  pending: 4,
  network: 5,
  "verify-failed": 6,
} as const satisfies { readonly [N in ExitName | "ok"]: number };

/** 1 for what is no error of ours: a defect. */
export function exitOf(error: unknown): number {
  return EXIT[error instanceof UpkeepError ? error.trait.exit : "failed"];
}
