// What a journal can say: one event per durable step of an attempt, from its intent to its one end.

import { lengthSchema, instantSchema, sha256Schema, versionSchema, z } from "../core/schema.ts";
import { slotIdSchema } from "./layout.ts";

/** 16 random bytes in hex. */
export const attemptIdSchema = z
  .string()
  .check(z.regex(/^[0-9a-f]{32}$/, "expected 32 lower-case hex digits"));
const text = z.string().check(z.maxLength(1000));
const code = z.string().check(z.maxLength(120));
const attempt = attemptIdSchema;

/** Steps in the order they are reached; a report names the last one. */
export const STEPS = [
  "chosen",
  "downloading",
  "verifying",
  "staging",
  "activating",
  "probation",
  "committed",
  "rolling-back",
] as const;
export type Step = (typeof STEPS)[number];

/** How an attempt ends. Only `committed` is a success. */
export const ENDS = ["committed", "failed", "refused", "superseded", "rolled-back"] as const;
export type End = (typeof ENDS)[number];

/**
 * Where the bytes of an artifact came from: fetched from each kind of source, fetched as patches, taken from what was installed.
 * Absent in what older agents wrote, and when all came from one source.
 */
export const bytesBySchema = z.strictObject({
  origin: z.exactOptional(lengthSchema),
  mirror: z.exactOptional(lengthSchema),
  peer: z.exactOptional(lengthSchema),
  bundle: z.exactOptional(lengthSchema),
  patch: z.exactOptional(lengthSchema),
  own: z.exactOptional(lengthSchema),
});
export type BytesBy = Readonly<z.infer<typeof bytesBySchema>>;

export const journalEventSchema = z.discriminatedUnion("event", [
  /** The intent, before the first byte is fetched. `from` is null at a first installation. */
  z.strictObject({
    event: z.literal("begin"),
    attempt,
    at: instantSchema,
    from: z.nullable(slotIdSchema),
    to: slotIdSchema,
    length: lengthSchema,
    manifestSha256: sha256Schema,
    /** No older version than this may ever run here again, once this attempt is committed. */
    floor: z.nullable(versionSchema),
    /** Whether an operator asked for an older version that was good here before. */
    manual: z.boolean(),
    /** What a damaged slot had to do with it: `repair` puts the same bytes into a fresh slot, `fall-back` goes to the last good version. */
    damage: z.exactOptional(z.enum(["repair", "fall-back"])),
  }),
  /** The artifact is whole on disk and every check passed. */
  z.strictObject({
    event: z.literal("verified"),
    attempt,
    bytes: lengthSchema,
    source: z.enum(["origin", "mirror", "peer", "bundle", "none"]),
    by: z.exactOptional(bytesBySchema),
    /** Code of what went wrong on the way that was tried first: a patch that did not lead to the release. */
    detour: z.exactOptional(code),
  }),
  /** The slot is whole, read back and durable under its final name. */
  z.strictObject({
    event: z.literal("staged"),
    attempt,
    /** SHA-256 of the slot's record, by which a changed record is noticed. Absent in what older agents wrote. */
    record: z.exactOptional(sha256Schema),
  }),
  /** All is at hand, and the switch waits: by which rule, why, and until when as far as it was known then. The last one counts. */
  z.strictObject({
    event: z.literal("ready"),
    attempt,
    rule: z.string().check(z.regex(/^[a-z][a-z-]{0,39}$/, "expected a rule such as active-hours")),
    reason: text,
    until: z.nullable(instantSchema),
  }),
  /** From here on `current` may change. */
  z.strictObject({ event: z.literal("activating"), attempt }),
  /** The component's data was copied; `bytes` of it. Absent when there was none, or nothing ran before. */
  z.strictObject({ event: z.literal("snapshot"), attempt, bytes: lengthSchema }),
  /** Written before the new version is started for the n-th time, so that crash loops end. */
  z.strictObject({
    event: z.literal("starting"),
    attempt,
    number: z.number().check(z.int(), z.minimum(1)),
    boot: z.string().check(z.maxLength(64)),
  }),
  /** The agent was stopped in good order while the new version was watched: that start is not held against it. */
  z.strictObject({ event: z.literal("paused"), attempt }),
  /** The decision to go back, with the reason that the report will carry. */
  z.strictObject({
    event: z.literal("rolling-back"),
    attempt,
    code,
    reason: text,
    /** The machine was in the way, not the release: after the way back the attempt is open as before its switch. */
    postpone: z.exactOptional(z.literal(true)),
  }),
  /** The data is that of before the attempt again. */
  z.strictObject({ event: z.literal("restored"), attempt }),
  /** Everything is as it was before `activating`; the attempt waits for its next try. */
  z.strictObject({ event: z.literal("postponed"), attempt }),
  /** The one end of an attempt. A one-way door: nothing after it changes how the attempt ended. */
  z.strictObject({
    event: z.literal("end"),
    attempt,
    end: z.enum(ENDS),
    step: z.enum(STEPS),
    code: z.nullable(code),
    reason: z.nullable(text),
    at: instantSchema,
    /** Milliseconds since `begin`, over restarts of the agent. */
    duration: lengthSchema,
    running: z.nullable(versionSchema),
  }),
  /** The report of the end lies in the outbox. */
  z.strictObject({ event: z.literal("reported"), attempt }),
  /** A check of an installed slot came to another result than the one before; belongs to no attempt. */
  z.strictObject({
    event: z.literal("slot-check"),
    slot: slotIdSchema,
    found: z.enum(["damaged", "whole"]),
    /** What is wrong, in a sentence; null if nothing is. */
    what: z.nullable(text),
    at: instantSchema,
  }),
]);
export type JournalEvent = z.infer<typeof journalEventSchema>;
export type BeginEvent = Extract<JournalEvent, { event: "begin" }>;
export type EndEvent = Extract<JournalEvent, { event: "end" }>;
export type SlotCheckEvent = Extract<JournalEvent, { event: "slot-check" }>;
