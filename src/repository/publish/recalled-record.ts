// The product's record of what was recalled: a number that stands in it is used up for ever, also when no channel says so any more.

import { checkSchema, instantSchema, sha256Schema, versionSchema, z } from "../../core/schema.ts";
import { parseJson, type Json } from "../../core/json.ts";
import { stableJsonFile } from "../../core/stable-json.ts";
import { compareVersions, parseVersion } from "../../core/version.ts";
import { productRole, recalledTarget } from "../../release/target-names.ts";
import type { TrustedKeys } from "../../release/trusted-keys.ts";
import type { Draft } from "./draft.ts";
import { targetFileOf } from "./new-repository.ts";
import { readTargetOf, type Publisher } from "./publisher.ts";
import { channelsOf, type ReadTools } from "./release-reader.ts";

const LIMIT = 1024 * 1024;

/** A reader carries members that it does not know. */
const entrySchema = z.looseObject({
  version: versionSchema,
  reason: z.string().check(z.minLength(1), z.maxLength(500)),
  since: instantSchema,
  /** SHA-256 of the release document; null for a release that was not listed when it was recalled. */
  document: z.nullable(sha256Schema),
  /** The floor that it set on devices which committed it; null if it set none, or if that is not known. */
  floor: z.nullable(versionSchema),
  liftsFloor: z.exactOptional(z.literal(true)),
});
const recordSchema = z.looseObject({
  recalled: z.array(entrySchema).check(z.maxLength(4096)),
});
export type RecalledEntry = Readonly<z.infer<typeof entrySchema>>;

/**
 * Every recall of a product, oldest first: of the record, and of channels that were signed before there was one. The record is a target
 * of the product's role like its files. Errors: `publisher/inconsistent`, `schema/invalid`, those of the channels.
 */
export async function recalledOf(
  tools: ReadTools,
  draft: Draft,
  trusted: TrustedKeys,
  product: string,
): Promise<readonly RecalledEntry[]> {
  const found = new Map<string, RecalledEntry>();
  for (const pointer of await channelsOf(tools, draft, trusted, product))
    for (const recalled of pointer.recalled)
      found.set(recalled.version, { ...recalled, document: null, floor: null });
  const target = recalledTarget(product);
  if ((await draft.find(target)) !== null) {
    const bytes = await readTargetOf(tools.disk, tools.folder, draft, target, LIMIT);
    const { recalled } = checkSchema(recordSchema, parseJson(bytes), `record of recalls of ${product}`);
    for (const entry of recalled) found.set(entry.version, entry);
  }
  return [...found.values()].sort(
    (a, b) =>
      compareVersions(parseVersion(a.version), parseVersion(b.version)) || (a.version < b.version ? -1 : 1),
  );
}

export async function putRecalled(
  publisher: Publisher,
  draft: Draft,
  product: string,
  recalled: readonly RecalledEntry[],
): Promise<void> {
  const bytes = stableJsonFile({ recalled: recalled as unknown as Json });
  const file = targetFileOf(bytes);
  const target = recalledTarget(product);
  await publisher.placeBytes(target, file, bytes);
  await draft.changeTargets(productRole(product), { put: new Map([[target, file]]) });
}
