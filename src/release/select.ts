// Choosing a release: pure, from signed data and local facts only; every no has its reason.

import { compareVersions, inRange, parseRange, parseVersion } from "../core/version.ts";
import { recallOf, type ChannelPointer, type ReleaseReference } from "./channel.ts";
import type { Artifact, Dependency, ReleaseManifest } from "./manifest.ts";
import { bestFit, type Platform } from "./platform.ts";

/** What the device knows of one component; all of it its own, none of it told by a server. */
export type Installed = {
  /** The committed version, null before the first install. */
  readonly version: string | null;
  /** SHA-256 of the artifact it was made from: the version is only what it is called. */
  readonly sha256: string | null;
  /** Nothing below this is ever installed again; null when no floor was set yet. */
  readonly floor: string | null;
};

export type Candidate = {
  readonly manifest: ReleaseManifest;
  /** SHA-256 of the release document, for the skip list. */
  readonly sha256: string;
};

export type Surroundings = {
  readonly installed: Installed;
  readonly platform: Platform;
  /** Null when the operator installs from a bundle without a channel: then nothing may go back. */
  readonly channel: ChannelPointer | null;
  /** Why the candidate is skipped on this device: it failed here, or somebody went back from it by hand. Null if it is not. */
  readonly skipped: "failed-here" | "left-by-hand" | null;
  /** The other products on this device. */
  readonly others: Others;
};

/** What is committed of a product, and what it needs of others. */
export type Other = { readonly version: string; readonly dependencies: readonly Dependency[] };
export type Others = ReadonlyMap<string, Other>;

export type Obstacle =
  | { readonly code: "older"; readonly version: string; readonly installed: string }
  | { readonly code: "same-number"; readonly version: string; readonly installed: string }
  | { readonly code: "below-floor"; readonly version: string; readonly floor: string }
  | { readonly code: "recalled"; readonly version: string; readonly reason: string }
  | { readonly code: "failed-here" | "left-by-hand"; readonly version: string }
  | { readonly code: "no-artifact"; readonly version: string; readonly os: string; readonly arch: string }
  | { readonly code: "minimum-from"; readonly installed: string; readonly minimumFrom: string }
  | { readonly code: "dependency-missing"; readonly product: string; readonly range: string }
  | {
      readonly code: "dependency-version";
      readonly product: string;
      readonly range: string;
      readonly found: string;
    }
  | {
      readonly code: "dependant-version";
      readonly product: string;
      readonly version: string;
      readonly dependant: string;
      readonly dependantVersion: string;
      readonly range: string;
    };

export type Choice =
  | { readonly kind: "install"; readonly artifact: Artifact; readonly goesBack: boolean }
  | { readonly kind: "current" }
  /** Too old to go there directly: take this release first. */
  | { readonly kind: "step"; readonly step: ReleaseReference }
  | { readonly kind: "refused"; readonly obstacles: readonly Obstacle[] };

/** Decides whether a device goes to the candidate. Collects every obstacle, so that one look tells all. */
export function choose(candidate: Candidate, around: Surroundings): Choice {
  const { manifest } = candidate;
  const { installed, platform, channel } = around;
  const version = parseVersion(manifest.version);
  const from = installed.version === null ? null : parseVersion(installed.version);
  const order = from === null ? 1 : compareVersions(version, from);
  // What is called the same is the same only if it has the same bytes: build metadata does not order, and a thief may use a number twice.
  if (order === 0 && manifest.artifacts.some(({ sha256 }) => sha256 === installed.sha256))
    return { kind: "current" };

  const obstacles: Obstacle[] = [];
  const recalledHere = recallOf(channel?.recalled, installed.version) !== undefined;
  if (order === 0 && !(recalledHere && channel?.version === manifest.version))
    obstacles.push({ code: "same-number", version: manifest.version, installed: installed.version! });
  // Back only when the channel signed that the running version was recalled, and only to where the channel points.
  const goesBack = order < 0;
  if (goesBack && !(recalledHere && channel?.version === manifest.version)) {
    obstacles.push({ code: "older", version: manifest.version, installed: installed.version! });
  }
  if (installed.floor !== null && compareVersions(version, parseVersion(installed.floor)) < 0) {
    obstacles.push({ code: "below-floor", version: manifest.version, floor: installed.floor });
  }
  const recalled = recallOf(channel?.recalled, manifest.version);
  if (recalled !== undefined)
    obstacles.push({ code: "recalled", version: manifest.version, reason: recalled.reason });
  if (around.skipped !== null) obstacles.push({ code: around.skipped, version: manifest.version });

  const artifact = bestFit(manifest.artifacts, platform);
  if (artifact === null) {
    obstacles.push({
      code: "no-artifact",
      version: manifest.version,
      os: platform.os,
      arch: [platform.arch, platform.libc].filter((part) => part !== null).join("-"),
    });
  }
  obstacles.push(...entanglements(manifest, around.others));
  if (from !== null && !goesBack && manifest.minimumFrom !== undefined) {
    const bound = parseVersion(manifest.minimumFrom);
    if (compareVersions(from, bound) < 0) {
      const step = stepTowards(manifest, channel);
      if (step !== null && obstacles.length === 0) return { kind: "step", step };
      obstacles.push({
        code: "minimum-from",
        installed: installed.version!,
        minimumFrom: manifest.minimumFrom,
      });
    }
  }
  if (obstacles.length > 0 || artifact === null) return { kind: "refused", obstacles };
  return { kind: "install", artifact, goesBack };
}

/** Every range that would not hold with this release: those it asks of others, and those that others ask of it. */
export function entanglements(
  { product, version, dependencies }: Pick<ReleaseManifest, "product" | "version" | "dependencies">,
  others: Others,
): readonly Obstacle[] {
  const obstacles: Obstacle[] = [];
  for (const { product: needed, range } of dependencies) {
    const found = others.get(needed)?.version;
    if (found === undefined) obstacles.push({ code: "dependency-missing", product: needed, range });
    else if (!inRange(parseVersion(found), parseRange(range)))
      obstacles.push({ code: "dependency-version", product: needed, range, found });
  }
  for (const [dependant, other] of others) {
    for (const { product: needed, range } of other.dependencies) {
      if (needed !== product || inRange(parseVersion(version), parseRange(range))) continue;
      obstacles.push({
        code: "dependant-version",
        product,
        version,
        dependant,
        dependantVersion: other.version,
        range,
      });
    }
  }
  return obstacles;
}

/**
 * The lowest step that satisfies the bound, which the installed version is below, so that as little as possible lies between;
 * whether the device may take that step directly is asked again, of that release's own manifest.
 */
function stepTowards(manifest: ReleaseManifest, channel: ChannelPointer | null): ReleaseReference | null {
  const end = parseVersion(manifest.version);
  const least = parseVersion(manifest.minimumFrom ?? "0.0.0-0");
  for (const step of channel?.steps ?? []) {
    const version = parseVersion(step.version);
    if (compareVersions(version, least) >= 0 && compareVersions(version, end) < 0) return step;
  }
  return null;
}

/** One obstacle as a sentence for people. */
export function describeObstacle(obstacle: Obstacle): string {
  switch (obstacle.code) {
    case "older":
      return `${obstacle.version} is older than the installed ${obstacle.installed}, which was not recalled: a device goes back only when the version that it has was recalled`;
    case "same-number":
      return `${obstacle.version} counts as the same version as the installed ${obstacle.installed} and has other bytes: a number is used once, so publish it under a higher one`;
    case "below-floor":
      return `${obstacle.version} is below the floor ${obstacle.floor}, under which this device never goes again`;
    case "recalled":
      return `${obstacle.version} was recalled: ${obstacle.reason}`;
    case "failed-here":
      return `${obstacle.version} failed on this device before; a newer release will be taken`;
    case "left-by-hand":
      return `${obstacle.version} was left by hand on this device; a newer release will be taken`;
    case "no-artifact":
      return `${obstacle.version} has no artifact for ${obstacle.os}-${obstacle.arch}`;
    case "minimum-from":
      return `the installed ${obstacle.installed} is too old to go there directly (at least ${obstacle.minimumFrom} is needed), and the channel names no step between`;
    case "dependency-missing":
      return `it needs ${obstacle.product} ${obstacle.range}, which is not installed here`;
    case "dependency-version":
      return `it needs ${obstacle.product} ${obstacle.range}, but ${obstacle.found} is installed here`;
    case "dependant-version":
      return `${obstacle.dependant} ${obstacle.dependantVersion}, which is installed here, needs ${obstacle.product} ${obstacle.range}, and ${obstacle.version} is not in that range`;
  }
}
