// The words for what a program can do beyond the first version of a format, each with the version that knew it first.

/** What a document needs, or what a speaker can do: `follow-until`. Words are never used again for something else. */
export const FEATURES = {
  /** `policy` in an assignment: when updates are activated. */
  "activation-policy": "0.1.0",
  /** `needs` is looked for, and members that are not known are passed over (spec/growth.md). */
  needs: "0.1.0",
  /** `followUntil` in a component of an assignment. */
  "follow-until": "0.1.0",
  /** `mark` in a check-in and its answer. */
  "check-in-mark": "0.1.0",
  /** `sockets` in a release: the program inherits them. */
  sockets: "0.1.0",
  /** `auditHead` in a check-in and its answer. */
  "audit-head": "0.1.0",
  /** `messageKey` in a check-in and its answer, and messages that are sealed for it (spec/message.md). */
  "sealed-messages": "0.1.0",
  /** `component` in a release: what kind of component it is. */
  "component-kinds": "0.1.0",
  /** Artifacts of the format `tar` in a release. */
  "tar-artifacts": "0.1.0",
  /** `licenses` in a check-in and its answer. */
  licenses: "0.1.0",
} as const satisfies { readonly [word: string]: string };

export type Feature = keyof typeof FEATURES;

/** All that this program knows. */
export const KNOWN_FEATURES: readonly string[] = Object.keys(FEATURES);
