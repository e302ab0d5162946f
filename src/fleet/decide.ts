// The decision: which release each product of a device should be at, from the server's own state and nothing the device said.

import { formatInstant, type Instant } from "../core/instant.ts";
import type { AssignedComponent } from "../message/assignment.ts";
import type { Desired } from "./records.ts";

/** A release that the repository lists, verified through TUF. */
export type ListedRelease = { readonly version: string; readonly manifestSha256: string };

/** What the server knows of its repository. Implementations answer from memory. */
export interface Catalogue {
  /** SHA-256 of the timestamp file that the answers below come from; null before the first refresh. */
  timestamp(): string | null;
  /** What a channel points to now. */
  current(product: string, channel: string): ListedRelease | null;
  /** A release by its version, if it is listed. */
  byVersion(product: string, version: string): ListedRelease | null;
  /** True if a channel of the product that was read says that the release was recalled. */
  isRecalled?(product: string, version: string): boolean;
}

/**
 * No argument of this function comes from the device, so no lie about a version can withhold an update.
 * A hold whose time is over no longer holds. `followUntil`: how long a device may follow by itself what it follows here; a release that
 * somebody chose by its version is not followed.
 */
export function decide(
  desired: readonly Desired[],
  catalogue: Catalogue,
  now: Instant,
  followUntil: Instant | null = null,
): readonly AssignedComponent[] {
  return desired.map(({ product, channel, version, hold, holdUntil }): AssignedComponent => {
    if (hold !== null && (holdUntil === null || holdUntil > now)) {
      const until = holdUntil === null ? {} : { until: formatInstant(holdUntil) };
      return { product, channel, hold: { reason: hold, ...until } };
    }
    if (catalogue.timestamp() === null) return { product, channel, hold: { reason: "unavailable" } };
    const release =
      version === null ? catalogue.current(product, channel) : catalogue.byVersion(product, version);
    if (release === null) return { product, channel, hold: { reason: "no-release" } };
    return {
      product,
      channel,
      release: { version: release.version, manifestSha256: release.manifestSha256 },
      ...(version === null && followUntil !== null ? { followUntil: formatInstant(followUntil) } : {}),
    };
  });
}
