// Recalling: a release is taken back, its channels return to where they pointed before, and its number is used up for ever.

import { UpkeepError } from "../../core/errors.ts";
import { formatInstant } from "../../core/instant.ts";
import { compareVersions, inRange, parseRange, parseVersion } from "../../core/version.ts";
import { movedHistory, type ChannelPointer } from "../../release/channel.ts";
import type { ReleaseManifest } from "../../release/manifest.ts";
import { parseTargetName, productRole, releaseTarget } from "../../release/target-names.ts";
import type { TrustedKeys } from "../../release/trusted-keys.ts";
import { putChannel, type ReleaseTools } from "./document-signing.ts";
import type { Draft } from "./draft.ts";
import { recalledForDevices } from "./promote.ts";
import { PublisherError } from "./publisher-errors.ts";
import type { Outcome } from "./publisher.ts";
import { putRecalled, recalledOf, type RecalledEntry } from "./recalled-record.ts";
import { channelsOf, productsOf, readRelease, trustedKeys, versionsIn } from "./release-reader.ts";

export type Recall = {
  readonly product: string;
  readonly version: string;
  readonly reason: string;
  /** Where devices go instead; by default where each channel pointed last before. */
  readonly to?: string;
  /** The floor that the release set counts no more: it was none of ours. */
  readonly liftFloor?: boolean;
};

export type RecallMove = {
  readonly channel: string;
  readonly to: string;
  /** The floor of devices that committed the release, if it keeps them from going there; null if nothing does. */
  readonly floor: string | null;
};

export type RecallResult = {
  /** Channels that pointed to it, and where they point now. */
  readonly moves: readonly RecallMove[];
  /** Whether the repository listed it; a thief's release is recalled by its number alone. */
  readonly listed: boolean;
  /** True if it was recalled before and nothing has changed. */
  readonly already: boolean;
  /** Other releases whose dependencies the recalled version satisfies. */
  readonly dependents: readonly string[];
};

/**
 * Takes a release back: withdraws its files from the signed lists, moves every channel that points to it, signs the permission for
 * devices that run it to go back, and writes the number down as used up. Throws `publisher/bad-input`, also when a channel has nowhere
 * to go: then `to` has to say it.
 */
export async function recall(
  tools: ReleaseTools,
  wish: Recall,
): Promise<RecallResult & { readonly outcome: Outcome }> {
  let done: RecallResult | null = null;
  const outcome = await tools.publisher.change(async (draft) => {
    done = await recallIn(tools, draft, wish);
  });
  return { outcome, ...done! };
}

async function recallIn(tools: ReleaseTools, draft: Draft, wish: Recall): Promise<RecallResult> {
  const { product, version, reason } = wish;
  const trusted = await trustedKeys(tools, draft);
  const role = productRole(product);
  if ((await draft.delegatorOf(role)) === null) {
    throw new PublisherError(
      "publisher/bad-input",
      `The repository has no product ${product}.`,
      { product },
      { hint: "upkeep release list shows what there is." },
    );
  }
  const targets = await draft.allTargets(role);
  const listed = targets.get(releaseTarget(product, version)) ?? null;
  const manifest = listed === null ? null : await manifestOf(tools, draft, trusted, product, version);
  const before = await recalledOf(tools, draft, trusted, product);
  const known = before.find((entry) => entry.version === version);
  const lifts = wish.liftFloor === true || known?.liftsFloor === true;
  const entry: RecalledEntry = {
    ...(known ?? { reason, since: formatInstant(tools.now()) }),
    version,
    document: listed?.hashes["sha256"] ?? known?.document ?? null,
    floor: manifest?.floor ?? known?.floor ?? null,
    ...(lifts ? { liftsFloor: true as const } : {}),
  };
  const recalled = [...before.filter((other) => other !== known), entry];
  const dependents = await dependentsOf(tools, draft, trusted, product, version);
  const pointers = await channelsOf(tools, draft, trusted, product);
  const pointing = pointers.filter((pointer) => pointer.version === version);
  const already = known !== undefined && known.liftsFloor === entry.liftsFloor;
  if (already && listed === null && pointing.length === 0)
    return { moves: [], listed: false, already, dependents };

  const moves: RecallMove[] = [];
  for (const pointer of pointers) {
    const move =
      pointer.version === version ? await moveOf(tools, draft, trusted, pointer, recalled, wish) : null;
    if (move !== null) moves.push(move);
    await putChannel(
      tools,
      draft,
      trusted,
      await movedPointer(tools, draft, trusted, pointer, recalled, move),
      pointer,
    );
    if (move !== null)
      draft.trace("channel/moved-back", `${product}/${pointer.channel}`, {
        before: version,
        after: move.to,
        reason,
      });
  }
  const remove = [...targets.keys()].filter((name) => {
    const parsed = parseTargetName(name);
    return parsed !== null && parsed.kind !== "channel" && parsed.version === version;
  });
  if (remove.length > 0) await draft.changeTargets(role, { remove });
  await putRecalled(tools.publisher, draft, product, recalled);
  draft.trace("release/recalled", `${product} ${version}`, {
    before: listed === null ? "not listed" : "listed",
    after: "recalled",
    reason: entry.reason,
    document: entry.document,
    liftsFloor: lifts,
  });
  return { moves, listed: listed !== null, already: false, dependents };
}

/** Null for a document that cannot be believed any more: a thief's is recalled all the same. */
async function manifestOf(
  tools: ReleaseTools,
  draft: Draft,
  trusted: TrustedKeys,
  product: string,
  version: string,
): Promise<ReleaseManifest | null> {
  try {
    return (await readRelease(tools, draft, trusted, product, version)).manifest;
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

async function movedPointer(
  tools: ReleaseTools,
  draft: Draft,
  trusted: TrustedKeys,
  pointer: ChannelPointer,
  recalled: readonly RecalledEntry[],
  move: RecallMove | null,
): Promise<ChannelPointer> {
  const updated = formatInstant(tools.now());
  const gone = new Set(recalled.map(({ version }) => version));
  const steps = pointer.steps.filter((step) => !gone.has(step.version));
  const common = { ...pointer, updated, recalled: recalled.map(recalledForDevices) };
  if (move === null) return { ...common, steps };
  const { reference } = await readRelease(tools, draft, trusted, pointer.product, move.to);
  return {
    ...common,
    ...reference,
    steps: steps.filter((step) => isLower(step.version, move.to)),
    history: [...movedHistory(pointer, move.to, updated)],
  };
}

/** Where a channel goes that points to what is recalled. Throws `publisher/bad-input` when there is nothing: people have to say it. */
async function moveOf(
  tools: ReleaseTools,
  draft: Draft,
  trusted: TrustedKeys,
  pointer: ChannelPointer,
  recalled: readonly RecalledEntry[],
  wish: Recall,
): Promise<RecallMove> {
  const { product, channel } = pointer;
  const gone = new Set(recalled.map(({ version }) => version));
  const floor = await floorOf(tools, draft, trusted, pointer, recalled);
  const keptBy = (to: string): string | null => (floor !== null && isLower(to, floor) ? floor : null);
  if (wish.to !== undefined) {
    const found = recalled.find(({ version }) => version === wish.to);
    if (found !== undefined) {
      throw new PublisherError(
        "publisher/bad-input",
        `${product} ${wish.to} ${wish.to === wish.version ? "is what is being recalled" : `was recalled itself: ${found.reason}`}.`,
        { product, version: wish.to },
        { hint: "Name another release with --to: upkeep release list shows what there is." },
      );
    }
    await readRelease(tools, draft, trusted, product, wish.to);
    return { channel, to: wish.to, floor: keptBy(wish.to) };
  }
  const pointed: string[] = [];
  for (const { version } of (pointer.history ?? []).toReversed()) {
    if (gone.has(version) || pointed.includes(version)) continue;
    if ((await draft.find(releaseTarget(product, version))) !== null) pointed.push(version);
  }
  // The last one that the floor allows; if it allows none, the last one, for the devices that have not committed the release.
  const to = pointed.find((version) => keptBy(version) === null) ?? pointed[0];
  if (to !== undefined) return { channel, to, floor: keptBy(to) };
  const listed = versionsIn((await draft.allTargets(productRole(product))).keys())
    .filter((version) => !gone.has(version))
    .sort((a, b) => compareVersions(parseVersion(b), parseVersion(a)));
  throw new PublisherError(
    "publisher/bad-input",
    `${product}/${channel} never pointed to another release than ${wish.version} that is not recalled: where shall its devices go?`,
    { product, channel, version: wish.version, candidates: listed.slice(0, 8).join(", ") },
    {
      hint:
        listed.length > 0
          ? `Say it with --to, one of ${listed.slice(0, 8).join(", ")}; none of them was ever promoted to ${channel}. Or add a repaired release under a higher version and name that.`
          : `Add a repaired release under a higher version first, and name it with --to: upkeep release add ${product} ...`,
    },
  );
}

/** The highest floor that devices of the channel may hold, by what its releases set, the recalled ones included. */
async function floorOf(
  tools: ReleaseTools,
  draft: Draft,
  trusted: TrustedKeys,
  pointer: ChannelPointer,
  recalled: readonly RecalledEntry[],
): Promise<string | null> {
  let highest: string | null = null;
  const pointed = new Set((pointer.history ?? [pointer]).map(({ version }) => version));
  for (const version of pointed) {
    const entry = recalled.find((one) => one.version === version);
    if (entry?.liftsFloor === true) continue;
    const floor =
      entry?.floor ??
      (entry === undefined
        ? (await manifestOf(tools, draft, trusted, pointer.product, version))?.floor
        : null) ??
      null;
    if (floor !== null && (highest === null || isLower(highest, floor))) highest = floor;
  }
  return highest;
}

function isLower(a: string, b: string): boolean {
  return compareVersions(parseVersion(a), parseVersion(b)) < 0;
}

async function dependentsOf(
  tools: ReleaseTools,
  draft: Draft,
  trusted: TrustedKeys,
  product: string,
  version: string,
): Promise<readonly string[]> {
  const out: string[] = [];
  for (const other of await productsOf(draft)) {
    for (const pointer of await channelsOf(tools, draft, trusted, other)) {
      const manifest = await manifestOf(tools, draft, trusted, other, pointer.version);
      const needs = manifest?.dependencies.some(
        (dependency) =>
          dependency.product === product && inRange(parseVersion(version), parseRange(dependency.range)),
      );
      if (needs === true) out.push(`${other} ${manifest!.version}`);
    }
  }
  return [...new Set(out)];
}
