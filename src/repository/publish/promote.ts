// Promoting: a channel is pointed to a release, forward only, never to a number that was recalled.

import { formatInstant } from "../../core/instant.ts";
import { compareVersions, parseVersion } from "../../core/version.ts";
import {
  movedHistory,
  recallOfNumber,
  type ChannelPointer,
  type Recalled,
  type ReleaseReference,
} from "../../release/channel.ts";
import type { ReleaseManifest } from "../../release/manifest.ts";
import type { TrustedKeys } from "../../release/trusted-keys.ts";
import { putChannel, type ReleaseTools } from "./document-signing.ts";
import type { Draft } from "./draft.ts";
import { checkGate } from "./gates.ts";
import { PublisherError } from "./publisher-errors.ts";
import type { Outcome } from "./publisher.ts";
import { recalledOf, type RecalledEntry } from "./recalled-record.ts";
import { readChannel, readRelease, trustedKeys } from "./release-reader.ts";

export type Move = {
  readonly pointer: ChannelPointer;
  /** Where the channel pointed before; null for a new one. */
  readonly before: string | null;
};

/** Points a channel to a release. Going back is not promoting: throws `publisher/bad-input` and names `recall`. */
export async function promote(
  tools: ReleaseTools,
  product: string,
  version: string,
  channel: string,
): Promise<Move & { readonly outcome: Outcome }> {
  let done: Move | null = null;
  const outcome = await tools.publisher.change(async (draft) => {
    done = await promoteIn(tools, draft, product, version, channel);
  });
  return { outcome, ...done! };
}

/** The same within a larger change. A channel that points there already is left as it is. */
export async function promoteIn(
  tools: ReleaseTools,
  draft: Draft,
  product: string,
  version: string,
  channel: string,
): Promise<Move> {
  const trusted = await trustedKeys(tools, draft);
  const recalled = await recalledOf(tools, draft, trusted, product);
  refuseDead(product, version, recalled);
  const release = await readRelease(tools, draft, trusted, product, version);
  const current = await readChannel(tools, draft, trusted, product, channel);
  if (current !== null && current.version !== version) refuseBack(current, version);
  if (current?.version === version && current.sha256 === release.reference.sha256)
    return { pointer: current, before: version };
  await checkGate(tools, draft, release.manifest);
  const known = current === null ? [] : [...current.steps, referenceOf(current)];
  const updated = formatInstant(tools.now());
  const pointer: ChannelPointer = {
    ...current,
    product,
    channel,
    ...release.reference,
    updated,
    steps: await stepsTo(tools, draft, trusted, release.manifest, known),
    // What was recalled is so on every channel, also on one that is made later.
    recalled: recalled.map(recalledForDevices),
    history: [...movedHistory(current, version, updated)],
  };
  await putChannel(tools, draft, trusted, pointer, current);
  const before = current?.version ?? null;
  draft.trace("channel/promoted", `${product}/${channel}`, { before, after: version });
  return { pointer, before };
}

/** A number that was recalled is used up: throws `publisher/bad-input`. */
export function refuseDead(product: string, version: string, recalled: readonly RecalledEntry[]): void {
  const found = recallOfNumber(recalled, version);
  if (found === undefined) return;
  throw new PublisherError(
    "publisher/bad-input",
    `${product} ${found.version} was recalled and stays so: ${found.reason}`,
    { product, version, recalled: found.version, since: found.since },
    { hint: "Publish the repaired build under a higher version." },
  );
}

function refuseBack({ product, channel, version: current }: ChannelPointer, version: string): void {
  const order = compareVersions(parseVersion(version), parseVersion(current));
  if (order > 0) return;
  throw new PublisherError(
    "publisher/bad-input",
    order === 0
      ? `${product}/${channel} points to ${current}, which counts as the same version as ${version}: devices do not go from one to the other.`
      : `${product}/${channel} points to ${current}; devices refuse to go back to ${version}.`,
    { product, channel, version, current },
    {
      hint: `To take ${current} back: upkeep release recall ${product} ${current} --reason "..."`,
    },
  );
}

/** What a channel document says of a recall. */
export function recalledForDevices({ version, reason, since, liftsFloor }: RecalledEntry): Recalled {
  return { version, reason, since, ...(liftsFloor === undefined ? {} : { liftsFloor }) };
}

/** The releases that lead devices of any age to the new one: as few as possible, each reachable from the one before. */
async function stepsTo(
  tools: ReleaseTools,
  draft: Draft,
  trusted: TrustedKeys,
  newest: ReleaseManifest,
  known: readonly ReleaseReference[],
): Promise<ReleaseReference[]> {
  const steps: ReleaseReference[] = [];
  let manifest = newest;
  while (manifest.minimumFrom !== undefined) {
    const [least, most] = [parseVersion(manifest.minimumFrom), parseVersion(manifest.version)];
    const fitting = known.filter(({ version }) => {
      const candidate = parseVersion(version);
      return compareVersions(candidate, least) >= 0 && compareVersions(candidate, most) < 0;
    });
    // The lowest that will do: it reaches furthest back.
    const step = fitting.sort((a, b) => compareVersions(parseVersion(a.version), parseVersion(b.version)))[0];
    if (step === undefined || (await draft.find(step.target)) === null) break;
    steps.unshift(referenceOf(step));
    ({ manifest } = await readRelease(tools, draft, trusted, newest.product, step.version));
  }
  return steps;
}

function referenceOf({ version, target, sha256 }: ReleaseReference): ReleaseReference {
  return { version, target, sha256 };
}
