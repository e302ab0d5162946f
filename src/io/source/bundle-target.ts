// trust/bundle.json as a TUF target: read only when it is new, and believed from the top-level targets role alone.

import { IdentityError } from "../../identity/errors.ts";
import { TRUST_BUNDLE_LIMIT } from "../../identity/trust-bundle.ts";
import { TRUST_BUNDLE_TARGET } from "../../release/target-names.ts";
import type { Repository } from "../../repository/client/client.ts";

/**
 * The bundle of a repository that was refreshed; null when none is listed, or when it is the one with this SHA-256, which is known.
 * Errors: `identity/bad-bundle` when a role below lists it (a product's keys decide nothing about trust), `repository/*`, `mirror/*`.
 */
export async function readBundleTarget(
  client: Repository,
  knownSha256: string | null,
  signal?: AbortSignal,
): Promise<Uint8Array | null> {
  const info = await client.target(TRUST_BUNDLE_TARGET, signal);
  if (info === null || (knownSha256 !== null && info.hashes.sha256 === knownSha256)) return null;
  if (info.role !== "targets") {
    throw new IdentityError(
      "identity/bad-bundle",
      `The list of authorities is refused: the role ${info.role} signed it, and only the role targets may. Either you are under attack, or a delegation is too wide.`,
      { role: info.role },
    );
  }
  return client.readTarget(TRUST_BUNDLE_TARGET, TRUST_BUNDLE_LIMIT, signal);
}
