// Gates at work: read from the repository, changed by the targets role, and asked before a channel is pointed to a release.

import type { Demand } from "../../release/demands.ts";
import { GATES_LIMIT, GATES_TARGET, parseGates, serialiseGates, type Gates } from "../../release/gates.ts";
import type { ReleaseManifest } from "../../release/manifest.ts";
import { attestationTarget } from "../../release/target-names.ts";
import type { ReleaseTools } from "./document-signing.ts";
import type { Draft } from "./draft.ts";
import { targetFileOf } from "./new-repository.ts";
import { PublisherError } from "./publisher-errors.ts";
import { readTargetOf, type Outcome } from "./publisher.ts";

type Reading = Pick<ReleaseTools, "disk" | "folder">;

/** Errors: `schema/invalid`, `json/*`, `publisher/inconsistent`. */
export async function readGates({ disk, folder }: Reading, draft: Draft): Promise<Gates> {
  if ((await draft.find(GATES_TARGET)) === null) return new Map();
  return parseGates(await readTargetOf(disk, folder, draft, GATES_TARGET, GATES_LIMIT));
}

/** Sets what a product demands; nothing takes its gate away. */
export async function setGate(
  tools: ReleaseTools,
  product: string,
  demands: readonly Demand[],
): Promise<Outcome> {
  return tools.publisher.change(async (draft) => {
    const before = await readGates(tools, draft);
    const after = new Map([...before, [product, demands]]);
    draft.trace("gate/changed", product, { before: [...(before.get(product) ?? [])], after: [...demands] });
    const bytes = serialiseGates(after);
    const file = targetFileOf(bytes);
    await draft.changeTargets("targets", { put: new Map([[GATES_TARGET, file]]) });
    await tools.publisher.placeBytes(GATES_TARGET, file, bytes);
  });
}

/** Error: `publisher/gate` with everything that is missing. */
export async function checkGate(
  tools: Reading,
  draft: Draft,
  manifest: Pick<ReleaseManifest, "product" | "version" | "publisher">,
): Promise<void> {
  const { product, version } = manifest;
  const missing: Demand[] = [];
  for (const demand of (await readGates(tools, draft)).get(product) ?? []) {
    const met =
      demand === "publisher"
        ? manifest.publisher !== undefined
        : (await draft.find(attestationTarget(product, version, demand))) !== null;
    if (!met) missing.push(demand);
  }
  if (missing.length === 0) return;
  throw new PublisherError(
    "publisher/gate",
    `${product} demands ${missing.join(", ")} of a release before a channel may point to it, and ${version} lacks ${missing.length === 1 ? "it" : "them"}.`,
    { product, version, missing },
    {
      hint: "Add the release again under a higher version with --sbom, --provenance or a publisher in --config; `upkeep repo gates` shows what is demanded.",
    },
  );
}
