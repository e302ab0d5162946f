// A release as other people's update clients read it. Each such feed is weaker than the repository: it is not signed as a whole, does not
// expire, and says nothing of recalls; what its client checks of the bytes is all there is.

import { UpkeepError, REFUSED, USAGE, type Traits } from "../core/errors.ts";
import type { Artifact, ReleaseManifest } from "../release/manifest.ts";

export type FeedErrorCode = "feed/nothing-fits" | "feed/ambiguous" | "feed/needs-text";
export const FEED_ERRORS = {
  "feed/nothing-fits": REFUSED,
  "feed/ambiguous": REFUSED,
  "feed/needs-text": USAGE,
} satisfies Traits<FeedErrorCode>;

export class FeedError extends UpkeepError<FeedErrorCode> {
  protected override get traits(): Traits<FeedErrorCode> {
    return FEED_ERRORS;
  }
}

/** One artifact, and the address where its bytes are. */
export type FeedItem = { readonly artifact: Artifact; readonly url: string };

export type FeedRelease = {
  readonly manifest: ReleaseManifest;
  readonly channel: string;
  readonly items: readonly FeedItem[];
};

/** A file of the feed, by its name beside the others. */
export type FeedFile = { readonly name: string; readonly text: string };

/** Items for the system; those for any system are for none of these clients. */
export function itemsFor(release: FeedRelease, os: Artifact["os"]): readonly FeedItem[] {
  return release.items.filter(({ artifact }) => artifact.os === os);
}

/** The one item of an architecture; null if there is none. Error: `feed/ambiguous`. */
export function onlyItem(items: readonly FeedItem[], arch: Artifact["arch"], what: string): FeedItem | null {
  const fitting = items.filter(({ artifact }) => artifact.arch === arch);
  if (fitting.length < 2) return fitting[0] ?? null;
  throw new FeedError(
    "feed/ambiguous",
    `${what} has room for one file for ${arch}, and the release has ${fitting.length} (by C library, system version or hardware).`,
    { arch, targets: fitting.map(({ artifact }) => artifact.target) },
  );
}

/** Error for a release that has nothing for the clients of a feed. */
export function nothingFits(what: string, release: FeedRelease): FeedError {
  const { product, version } = release.manifest;
  return new FeedError(
    "feed/nothing-fits",
    `${product} ${version} has no artifact that ${what} could offer.`,
    { product, version },
    { hint: "Releases for these clients have an artifact for one system each (release add --platform)." },
  );
}

/** YAML 1.2 holds JSON: a string written as one is read as what it was, whatever stands in it. */
export function yamlText(text: string): string {
  return JSON.stringify(text);
}

/** XML 1.0: what has a meaning of its own is escaped, what cannot stand in a document at all is left out. */
export function xmlText(text: string): string {
  return text
    .replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, "")
    .replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);
}
