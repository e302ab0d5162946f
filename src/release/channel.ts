// The channel pointer: which release a channel stands for, which releases were taken back, and the steps for very old devices.

import { signEnvelope, verifyEnvelope, type DsseSigner } from "../core/dsse.ts";
import { checkWritten, growing, needing, readGrowing } from "../core/growth.ts";
import { parseJson, type Json } from "../core/json.ts";
import { instantSchema, nameSchema, sha256Schema, versionSchema, z } from "../core/schema.ts";
import { stableJson } from "../core/stable-json.ts";
import { compareVersions, parseVersion } from "../core/version.ts";
import { ReleaseError } from "./errors.ts";
import { releaseTarget } from "./target-names.ts";
import type { DocumentKeys } from "./trusted-keys.ts";

/** Largest channel document that is read, envelope included. */
export const CHANNEL_LIMIT = 512 * 1024;

/** A release by version, target name, and SHA-256 of the whole release document (envelope included). */
const referenceShape = {
  version: versionSchema,
  target: z.string().check(z.maxLength(512)),
  sha256: sha256Schema,
};
const referenceSchema = z.strictObject(referenceShape);
export type ReleaseReference = Readonly<z.infer<typeof referenceSchema>>;

const recalledSchema = z.strictObject({
  version: versionSchema,
  reason: z.string().check(z.minLength(1), z.maxLength(500)),
  since: instantSchema,
  /**
   * The floor that this release set counts no more. For a release that its publisher never made: whoever holds stolen keys can set a
   * floor that no honest version reaches. Only a floor that came with this very version goes.
   */
  liftsFloor: z.exactOptional(z.literal(true)),
});
export type Recalled = Readonly<z.infer<typeof recalledSchema>>;

/** Where the channel pointed, and since when. */
const historySchema = growing({ version: versionSchema, since: instantSchema });
export type ChannelHistory = readonly Readonly<z.infer<typeof historySchema>>[];

/** Moves of a channel that are remembered; the oldest go first. */
export const HISTORY_KEPT = 512;

export const channelSchema = growing({
  ...needing,
  product: nameSchema,
  channel: nameSchema,
  ...referenceShape,
  updated: instantSchema,
  /** Releases that bridge a `minimumFrom`, ascending, each lower than `version`. */
  steps: z.array(referenceSchema).check(z.maxLength(256)),
  /**
   * Releases that nobody installs any more. A device that runs one of them may go *back* to `version`:
   * this list is the signed permission to do so, and the only one. The floor holds all the same.
   */
  recalled: z.array(recalledSchema).check(z.maxLength(1024)),
  /** Where the channel has pointed, oldest first, the last entry being `version`. Absent in what older publishers signed. */
  history: z.exactOptional(z.array(historySchema).check(z.minLength(1), z.maxLength(HISTORY_KEPT))),
});
export type ChannelPointer = Readonly<z.infer<typeof channelSchema>>;

/** The payload's bytes: JSON with sorted members. Members that are not known are written only if they stood in `from`. */
export function serialiseChannel(pointer: ChannelPointer, from: ChannelPointer | null = null): Uint8Array {
  const written = checkWritten(channelSchema, pointer, "channel pointer", from);
  return stableJson(checkChannel(written) as unknown as Json);
}

/** Errors: `json/*`, `growth/needs-newer`, `schema/invalid`, `release/wrong-document`. */
export function parseChannel(payload: Uint8Array, known?: readonly string[]): ChannelPointer {
  return checkChannel(readGrowing(channelSchema, parseJson(payload), "channel pointer", known));
}

/** Signs a pointer as a DSSE `channel`. `from`: the pointer that it was made from, whose unknown members it carries on. */
export function signChannel(
  pointer: ChannelPointer,
  signers: readonly DsseSigner[],
  from: ChannelPointer | null = null,
): Promise<Uint8Array> {
  return signEnvelope("channel", serialiseChannel(pointer, from), signers);
}

/**
 * The only way from bytes to a pointer that may be acted on.
 * Errors: `dsse/*`, `growth/needs-newer`, `schema/invalid`, `release/wrong-document`.
 */
export function openChannel(
  bytes: Uint8Array,
  trusted: DocumentKeys,
  expected: { readonly product: string; readonly channel: string },
  known?: readonly string[],
): ChannelPointer {
  const { body } = verifyEnvelope(bytes, "channel", trusted.keys, {
    limit: CHANNEL_LIMIT,
    threshold: trusted.threshold,
  });
  const pointer = parseChannel(body, known);
  if (pointer.product !== expected.product || pointer.channel !== expected.channel) {
    throw new ReleaseError(
      "release/wrong-document",
      `The channel ${expected.product}/${expected.channel} turned out to be ${pointer.product}/${pointer.channel}: either you are under attack, or the repository was assembled wrongly.`,
      {
        expected: `${expected.product}/${expected.channel}`,
        found: `${pointer.product}/${pointer.channel}`,
      },
    );
  }
  return pointer;
}

function checkChannel(pointer: ChannelPointer): ChannelPointer {
  const wrong = (what: string): ReleaseError =>
    new ReleaseError("release/wrong-document", `The channel pointer is refused: ${what}.`, {
      product: pointer.product,
      channel: pointer.channel,
    });
  let below = null;
  for (const step of pointer.steps) {
    const version = parseVersion(step.version);
    if (below !== null && compareVersions(version, below) <= 0) throw wrong("its steps do not ascend");
    below = version;
  }
  if (below !== null && compareVersions(below, parseVersion(pointer.version)) >= 0)
    throw wrong("a step is not lower than the release it leads to");
  for (const reference of [pointer, ...pointer.steps]) {
    if (reference.target !== releaseTarget(pointer.product, reference.version))
      throw wrong(`${reference.target.slice(0, 120)} is not the release ${reference.version}`);
    if (pointer.recalled.some((recalled) => recalled.version === reference.version))
      throw wrong(`it points to ${reference.version}, which it lists as recalled`);
  }
  if (new Set(pointer.recalled.map((recalled) => recalled.version)).size !== pointer.recalled.length)
    throw wrong("a version is recalled twice");
  if (pointer.history !== undefined && pointer.history.at(-1)!.version !== pointer.version)
    throw wrong("its history does not end at the release that it points to");
  return pointer;
}

/** The recall of a version by its very text, or undefined. */
export function recallOf(
  recalled: readonly Recalled[] | undefined,
  version: string | null,
): Recalled | undefined {
  return recalled?.find((one) => one.version === version);
}

/** The recall of a number: what differs in build metadata alone has the same number. */
export function recallOfNumber<T extends { readonly version: string }>(
  recalled: readonly T[],
  version: string,
): T | undefined {
  const wanted = parseVersion(version);
  return recalled.find((one) => compareVersions(parseVersion(one.version), wanted) === 0);
}

/** The history after a move to `version`. Nothing is added when the channel stays where it is. */
export function movedHistory(
  pointer: Pick<ChannelPointer, "version" | "updated" | "history"> | null,
  version: string,
  now: string,
): ChannelHistory {
  // What an older publisher signed says at least where it points now.
  const before =
    pointer === null ? [] : (pointer.history ?? [{ version: pointer.version, since: pointer.updated }]);
  if (before.at(-1)?.version === version) return before;
  return [...before, { version, since: now }].slice(-HISTORY_KEPT);
}
