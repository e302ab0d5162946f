// Documents signed again: after a key was taken away, every release and channel that it signed gets a signature of a trusted one.

import { sha256Hex } from "../../core/digest.ts";
import type { ReleaseReference } from "../../release/channel.ts";
import { signRelease } from "../../release/manifest.ts";
import { productRole } from "../../release/target-names.ts";
import { keysFor, type TrustedKeys } from "../../release/trusted-keys.ts";
import { documentSigners, putChannel, type ReleaseTools } from "./document-signing.ts";
import type { Draft } from "./draft.ts";
import type { TargetFile } from "../metadata.ts";
import { targetFileOf } from "./new-repository.ts";
import { channelsOf, productsOf, readRelease, versionsIn } from "./release-reader.ts";

/**
 * Signs every document again that a key signed which is trusted no more, after verifying it under the keys of before.
 * Returns how many. A release keeps its meaning and gets another digest, which the channels follow.
 */
export async function resignDocuments(
  tools: ReleaseTools,
  draft: Draft,
  before: TrustedKeys,
  after: TrustedKeys,
  keyid: string,
): Promise<number> {
  let count = 0;
  for (const product of await productsOf(draft)) {
    const uses = (["release", "channel"] as const).some((kind) =>
      keysFor(before, kind, product).keys.some((key) => key.keyid === keyid),
    );
    if (!uses) continue;
    const pointers = await channelsOf(tools, draft, before, product);
    const versions = versionsIn((await draft.allTargets(productRole(product))).keys());
    const signers = await documentSigners(
      keysFor(after, "release", product),
      tools.ring,
      `releases of ${product}`,
    );
    const references = new Map<string, ReleaseReference>();
    const put = new Map<string, TargetFile>();
    for (const version of versions) {
      const { manifest, reference } = await readRelease(tools, draft, before, product, version);
      const bytes = await signRelease(manifest, signers, manifest);
      const file = targetFileOf(bytes);
      await tools.publisher.placeBytes(reference.target, file, bytes);
      put.set(reference.target, file);
      references.set(version, { ...reference, sha256: sha256Hex(bytes) });
      count++;
    }
    await draft.changeTargets(productRole(product), { put });
    for (const pointer of pointers) {
      const steps = pointer.steps.map((step) => references.get(step.version) ?? step);
      const changed = { ...pointer, ...references.get(pointer.version), steps };
      await putChannel(tools, draft, after, changed, pointer);
      count++;
    }
  }
  return count;
}
