// Releases and channels as a repository lists them, read by the operator through the same doors as devices use.

import { sha256Hex } from "../../core/digest.ts";
import type { Disk } from "../../core/disk.ts";
import { compareVersions, parseVersion } from "../../core/version.ts";
import {
  CHANNEL_LIMIT,
  openChannel,
  type ChannelPointer,
  type ReleaseReference,
} from "../../release/channel.ts";
import { ATTESTATION_LIMIT, ATTESTATIONS, type AttestationKind } from "../../release/attestation.ts";
import { openRelease, RELEASE_LIMIT, type ReleaseManifest } from "../../release/manifest.ts";
import {
  attestationTarget,
  channelTarget,
  parseTargetName,
  productRole,
  releaseTarget,
  TRUSTED_KEYS_TARGET,
} from "../../release/target-names.ts";
import {
  keysFor,
  parseTrustedKeys,
  TRUSTED_KEYS_LIMIT,
  type TrustedKeys,
} from "../../release/trusted-keys.ts";
import type { Draft } from "./draft.ts";
import { PublisherError } from "./publisher-errors.ts";
import { readTargetOf } from "./publisher.ts";

/** Where targets lie. */
export type ReadTools = { readonly disk: Disk; readonly folder: string };

/** A release as the repository lists it. */
export type ListedRelease = ReleaseReference & {
  readonly manifest: ReleaseManifest;
  /** Channels that point to it. */
  readonly channels: readonly string[];
};

/** Every release of every product, or of one, oldest first. */
export async function listReleases(
  tools: ReadTools,
  draft: Draft,
  only: string | null,
): Promise<readonly ListedRelease[]> {
  const trusted = await trustedKeys(tools, draft);
  const out: ListedRelease[] = [];
  for (const product of await productsOf(draft)) {
    if (only !== null && product !== only) continue;
    const pointers = await channelsOf(tools, draft, trusted, product);
    const versions = versionsIn((await draft.allTargets(productRole(product))).keys());
    for (const version of versions.sort((a, b) => compareVersions(parseVersion(a), parseVersion(b)))) {
      const { manifest, reference } = await readRelease(tools, draft, trusted, product, version);
      const channels = pointers.filter((p) => p.version === version).map((p) => p.channel);
      out.push({ ...reference, manifest, channels });
    }
  }
  return out;
}

export async function productsOf(draft: Draft): Promise<readonly string[]> {
  return (await draft.delegatedRoles())
    .map((role) => role.name)
    .filter((name) => name.startsWith("product."))
    .map((name) => name.slice("product.".length))
    .sort();
}

export async function channelsOf(
  tools: ReadTools,
  draft: Draft,
  trusted: TrustedKeys,
  product: string,
): Promise<readonly ChannelPointer[]> {
  const out: ChannelPointer[] = [];
  for (const name of (await draft.allTargets(productRole(product))).keys()) {
    const parsed = parseTargetName(name);
    if (parsed?.kind !== "channel") continue;
    const pointer = await readChannel(tools, draft, trusted, product, parsed.channel);
    if (pointer !== null) out.push(pointer);
  }
  return out.sort((a, b) => (a.channel < b.channel ? -1 : 1));
}

/** Throws `publisher/bad-input` for a repository of another tool, which lists no keys of releases yet. */
export async function trustedKeys({ disk, folder }: ReadTools, draft: Draft): Promise<TrustedKeys> {
  if ((await draft.find(TRUSTED_KEYS_TARGET)) === null) {
    throw new PublisherError(
      "publisher/bad-input",
      "The repository lists no keys that may sign releases: another tool made it.",
      { target: TRUSTED_KEYS_TARGET },
      { hint: "upkeep repo adopt gets it ready for releases." },
    );
  }
  return parseTrustedKeys(await readTargetOf(disk, folder, draft, TRUSTED_KEYS_TARGET, TRUSTED_KEYS_LIMIT));
}

export async function readRelease(
  { disk, folder }: ReadTools,
  draft: Draft,
  trusted: TrustedKeys,
  product: string,
  version: string,
): Promise<{ readonly manifest: ReleaseManifest; readonly reference: ReleaseReference }> {
  const target = releaseTarget(product, version);
  if ((await draft.find(target)) === null) {
    throw new PublisherError(
      "publisher/bad-input",
      `There is no release ${product} ${version}.`,
      { product, version },
      { hint: "upkeep release list shows what there is." },
    );
  }
  const bytes = await readTargetOf(disk, folder, draft, target, RELEASE_LIMIT);
  const manifest = openRelease(bytes, keysFor(trusted, "release", product), { product, version });
  return { manifest, reference: { version, target, sha256: sha256Hex(bytes) } };
}

/** The documents that were published about a release. */
export async function readAttestations(
  { disk, folder }: ReadTools,
  draft: Draft,
  product: string,
  version: string,
): Promise<ReadonlyMap<AttestationKind, Uint8Array>> {
  const found = new Map<AttestationKind, Uint8Array>();
  for (const kind of ATTESTATIONS) {
    const target = attestationTarget(product, version, kind);
    if ((await draft.find(target)) === null) continue;
    found.set(kind, await readTargetOf(disk, folder, draft, target, ATTESTATION_LIMIT));
  }
  return found;
}

export async function readChannel(
  { disk, folder }: ReadTools,
  draft: Draft,
  trusted: TrustedKeys,
  product: string,
  channel: string,
): Promise<ChannelPointer | null> {
  const target = channelTarget(product, channel);
  if ((await draft.find(target)) === null) return null;
  const bytes = await readTargetOf(disk, folder, draft, target, CHANNEL_LIMIT);
  return openChannel(bytes, keysFor(trusted, "channel", product), { product, channel });
}

export function versionsIn(names: Iterable<string>): string[] {
  const versions: string[] = [];
  for (const name of names) {
    const parsed = parseTargetName(name);
    if (parsed?.kind === "release") versions.push(parsed.version);
  }
  return versions;
}
