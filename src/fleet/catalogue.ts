// The catalogue: what the repository offers, read through the same verifying client that devices use.

import { openChannel, CHANNEL_LIMIT } from "../release/channel.ts";
import { channelTarget, releaseTarget, TRUSTED_KEYS_TARGET } from "../release/target-names.ts";
import { keysFor, parseTrustedKeys, TRUSTED_KEYS_LIMIT, type TrustedKeys } from "../release/trusted-keys.ts";
import type { Catalogue, ListedRelease } from "./decide.ts";
import type { Desired } from "./records.ts";

/** What is needed of a repository client; the repository room's `Repository` is one. */
export interface ReadRepository {
  target(name: string): Promise<{ readonly hashes: { readonly sha256?: string } } | null>;
  readTarget(name: string, limit: number): Promise<Uint8Array>;
}

export type Problem = { readonly what: string; readonly error: unknown };

export const EMPTY_CATALOGUE: Catalogue = {
  timestamp: () => null,
  current: () => null,
  byVersion: () => null,
};

/**
 * Reads the channels and pinned releases that the fleet wants. A channel that cannot be believed is left out and told in `problems`:
 * its devices hold with `no-release`, and no other product is touched.
 */
export async function readCatalogue(
  repository: ReadRepository,
  timestamp: string,
  desired: readonly Pick<Desired, "product" | "channel" | "version">[],
): Promise<{ readonly catalogue: Catalogue; readonly problems: readonly Problem[] }> {
  const problems: Problem[] = [];
  const channels = new Map<string, ListedRelease>();
  const versions = new Map<string, ListedRelease>();
  const recalled = new Set<string>();
  let trusted: TrustedKeys;
  try {
    trusted = parseTrustedKeys(await repository.readTarget(TRUSTED_KEYS_TARGET, TRUSTED_KEYS_LIMIT));
  } catch (error) {
    return { catalogue: EMPTY_CATALOGUE, problems: [{ what: TRUSTED_KEYS_TARGET, error }] };
  }
  for (const { product, channel, version } of desired) {
    const key = `${product} ${version ?? channel}`;
    const known = version === null ? channels : versions;
    if (known.has(key)) continue;
    try {
      const release =
        version === null
          ? await readChannel(repository, trusted, product, channel, recalled)
          : await findRelease(repository, product, version);
      if (release !== null) known.set(key, release);
    } catch (error) {
      problems.push({
        what: version === null ? channelTarget(product, channel) : releaseTarget(product, version),
        error,
      });
    }
  }
  const catalogue: Catalogue = {
    timestamp: () => timestamp,
    current: (product, channel) => channels.get(`${product} ${channel}`) ?? null,
    byVersion: (product, version) => versions.get(`${product} ${version}`) ?? null,
    isRecalled: (product, version) => recalled.has(`${product} ${version}`),
  };
  return { catalogue, problems };
}

async function readChannel(
  repository: ReadRepository,
  trusted: TrustedKeys,
  product: string,
  channel: string,
  recalled: Set<string>,
): Promise<ListedRelease | null> {
  const name = channelTarget(product, channel);
  if ((await repository.target(name)) === null) return null;
  const bytes = await repository.readTarget(name, CHANNEL_LIMIT);
  const pointer = openChannel(bytes, keysFor(trusted, "channel", product), { product, channel });
  for (const { version } of pointer.recalled) recalled.add(`${product} ${version}`);
  return { version: pointer.version, manifestSha256: pointer.sha256 };
}

/** A release by its version; null when the repository does not list it. */
export async function findRelease(
  repository: ReadRepository,
  product: string,
  version: string,
): Promise<ListedRelease | null> {
  const sha256 = (await repository.target(releaseTarget(product, version)))?.hashes.sha256;
  return sha256 === undefined ? null : { version, manifestSha256: sha256 };
}
