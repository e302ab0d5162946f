// Why a component is told to stay as it is; apart from the schema, so that a command table needs no schema library.

/** A closed list: no text of the server's reaches the device. */
export const HOLD_REASONS = [
  "paused",
  "not-your-turn",
  "recalled",
  "halted",
  "no-release",
  "unavailable",
] as const;
export type HoldReason = (typeof HOLD_REASONS)[number];

/** What a person may say; the others are the server's own conclusions. */
export const OPERATOR_HOLDS = ["paused", "halted"] as const satisfies readonly HoldReason[];
