// The words of a policy; apart from the schema, so that a command table needs no schema library.

/** What an update is for. A recall takes the place of an installed version that its publisher took back; a repair, of a damaged slot. */
export const KINDS = ["feature", "security", "recall", "repair"] as const;
export type Kind = (typeof KINDS)[number];

/** From the earliest to the latest: of two, the later one holds. */
export const WHENS = ["now", "when-possible", "after-safe-point", "ask"] as const;
export type When = (typeof WHENS)[number];
