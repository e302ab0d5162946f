// What a copy for devices without a network takes along: the releases that channels point to, the ways to them, and what they need.

import { parseTargetName, productRole } from "../../release/target-names.ts";
import { ATTESTATIONS } from "../../release/attestation.ts";
import type { ChannelPointer } from "../../release/channel.ts";
import type { TargetFile } from "../metadata.ts";
import type { Draft } from "./draft.ts";
import { PublisherError } from "./publisher-errors.ts";
import { channelsOf, productsOf, readRelease, trustedKeys, type ReadTools } from "./release-reader.ts";

/** Null stands for all of them. */
export type Carried = {
  readonly products: readonly string[] | null;
  readonly channels: readonly string[] | null;
};

/**
 * Targets by name: everything that is of no product, and of each product its channels with the releases that they point to, the steps for
 * old devices, and the same of what these depend on. Error: `publisher/bad-input` for a product or channel that there is not.
 */
export async function carriedTargets(
  tools: ReadTools,
  draft: Draft,
  wish: Carried,
): Promise<ReadonlyMap<string, TargetFile>> {
  const out = new Map<string, TargetFile>();
  const known = await productsOf(draft);
  for (const role of ["targets", ...(await draft.delegatedRoles()).map(({ name }) => name)])
    for (const [name, file] of await draft.allTargets(role))
      if (!known.some((product) => role === productRole(product))) out.set(name, file);
  const absent = wish.products?.find((product) => !known.includes(product));
  if (absent !== undefined)
    throw new PublisherError("publisher/bad-input", `There is no product ${absent} in this repository.`, {
      product: absent,
    });
  // A repository without documents of ours has products of nobody.
  if (known.length === 0) return out;

  const trusted = await trustedKeys(tools, draft);
  const queue = [...(wish.products ?? known)];
  const seenChannels = new Set<string>();
  for (let at = 0; at < queue.length; at++) {
    const product = queue[at]!;
    const all = await draft.allTargets(productRole(product));
    const pointers = (await channelsOf(tools, draft, trusted, product)).filter(
      ({ channel }) => wish.channels?.includes(channel) ?? true,
    );
    for (const pointer of pointers) {
      seenChannels.add(pointer.channel);
      for (const version of versionsOf(pointer)) {
        for (const [name, file] of all) if (belongsTo(name, pointer.channel, version)) out.set(name, file);
        const { manifest } = await readRelease(tools, draft, trusted, product, version);
        for (const needed of manifest.dependencies)
          if (!queue.includes(needed.product) && known.includes(needed.product)) queue.push(needed.product);
      }
    }
  }
  const strange = wish.channels?.find((channel) => !seenChannels.has(channel));
  if (strange !== undefined)
    throw new PublisherError(
      "publisher/bad-input",
      `No product that is taken along has a channel ${strange}.`,
      {
        channel: strange,
      },
    );
  return out;
}

const PAPERS: ReadonlySet<string> = new Set(ATTESTATIONS.map((kind) => `${kind}.json`));

function versionsOf({ version, steps }: ChannelPointer): readonly string[] {
  return [...steps.map((step) => step.version), version];
}

/** The channel's own document, and of a release the document and the artifacts with their signatures; papers about it stay at home. */
function belongsTo(name: string, channel: string, version: string): boolean {
  const parsed = parseTargetName(name);
  if (parsed === null) return false;
  if (parsed.kind === "channel") return parsed.channel === channel;
  return parsed.version === version && !PAPERS.has(name.slice(name.lastIndexOf("/") + 1));
}
