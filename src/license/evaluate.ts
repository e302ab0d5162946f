// One question about one feature, answered from memory: the value, why, until when, and whether that is certain.

import { formatInstant } from "../core/instant.ts";
import type { Standing, Reason } from "./state-table.ts";

export type Evaluation = {
  readonly value: boolean;
  readonly amount: number | null;
  readonly reason: Reason | "FALLBACK" | "NOT_GRANTED";
  readonly conclusive: boolean;
  readonly until: string | null;
};

/** What is absent is not granted, whatever an upgrade of the application asks for. */
export function evaluate(standing: Standing, feature: string): Evaluation {
  const value = Object.hasOwn(standing.features, feature) ? standing.features[feature]! : undefined;
  const granted = value !== undefined && value !== 0;
  const reason =
    granted && standing.degraded
      ? "FALLBACK"
      : !granted && !standing.degraded
        ? "NOT_GRANTED"
        : standing.reason;
  return {
    value: granted,
    amount: typeof value === "number" ? value : null,
    reason,
    conclusive: standing.conclusive,
    until: standing.until === null ? null : formatInstant(standing.until),
  };
}
