// The channel pointer: which release a channel stands for, which releases were taken back, and the steps for very old devices.

import { signEnvelope, verifyEnvelope, type DsseSigner } from "../core/dsse.ts";
import { parseJson, type Json } from "../core/json.ts";
import { checkSchema, instantSchema, nameSchema, sha256Schema, versionSchema, z } from "../core/schema.ts";
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
});
export type Recalled = Readonly<z.infer<typeof recalledSchema>>;

export const channelSchema = z.strictObject({
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
});
export type ChannelPointer = Readonly<z.infer<typeof channelSchema>>;

/** The payload's bytes: JSON with sorted members. */
export function serialiseChannel(pointer: ChannelPointer): Uint8Array {
  return stableJson(checkChannel(pointer as unknown as Json) as unknown as Json);
}

/** Errors: `json/*`, `schema/invalid`, `release/wrong-document`. */
export function parseChannel(payload: Uint8Array): ChannelPointer {
  return checkChannel(parseJson(payload));
}

/** Signs a pointer as a DSSE `channel`. */
export function signChannel(pointer: ChannelPointer, signers: readonly DsseSigner[]): Promise<Uint8Array> {
  return signEnvelope("channel", serialiseChannel(pointer), signers);
}

/** The only way from bytes to a pointer that may be acted on. Errors: `dsse/*`, `schema/invalid`, `release/wrong-document`. */
export function openChannel(
  bytes: Uint8Array,
  trusted: DocumentKeys,
  expected: { readonly product: string; readonly channel: string },
): ChannelPointer {
  const { body } = verifyEnvelope(bytes, "channel", trusted.keys, {
    limit: CHANNEL_LIMIT,
    threshold: trusted.threshold,
  });
  const pointer = parseChannel(body);
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

function checkChannel(value: Json): ChannelPointer {
  const pointer = checkSchema(channelSchema, value, "channel pointer");
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
  return pointer;
}
