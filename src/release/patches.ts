// Patches of a release: how their targets are named, and from which earlier artifacts they are worth making.

import { compareVersions, parseVersion } from "../core/version.ts";
import type { Artifact } from "./manifest.ts";
import { selectorKey, type Selector } from "./platform.ts";
import { parseTargetName } from "./target-names.ts";

/** From one artifact's bytes to another's. */
export type PatchEnds = { readonly from: string; readonly to: string; readonly algorithm: string };

/** Formats whose bytes a device has again once they are installed. */
export const SEED_FORMATS: ReadonlySet<Artifact["format"]> = new Set(["file", "tar"]);

/** The file name of a patch, by the SHA-256 of both artifacts. */
export function patchFile({ from, to, algorithm }: PatchEnds): string {
  return `from-${from}-to-${to.slice(0, SHOWN)}.${algorithm}`;
}

/** The SHA-256 of the artifact that a patch to `to` is from; null if the target is not named so: a patch of a later program. */
export function patchBase(target: string, to: string, algorithm: string): string | null {
  const parsed = parseTargetName(target);
  if (parsed?.kind !== "artifact") return null;
  const match = /^from-([0-9a-f]{64})-to-/.exec(parsed.file);
  if (match === null) return null;
  const from = match[1]!;
  return parsed.file === patchFile({ from, to, algorithm }) ? from : null;
}

/** How many of the last releases a patch is made from. */
export const LAST_RELEASES = 3;

export type EarlierRelease = {
  readonly version: string;
  readonly artifacts: readonly Artifact[];
  /** True while a channel points to it. */
  readonly offered: boolean;
};
export type PatchBase = { readonly version: string; readonly artifact: Artifact };

/**
 * The artifacts that patches to a new one are made from, newest first: of the last releases for the same platform, of each release that a
 * channel points to, or of the `wished` versions instead. Formats whose bytes devices do not have again are passed over.
 */
export function patchBases(
  earlier: readonly EarlierRelease[],
  version: string,
  artifact: Selector & Pick<Artifact, "format" | "sha256">,
  wished: readonly string[] | null,
): readonly PatchBase[] {
  if (!SEED_FORMATS.has(artifact.format)) return [];
  const key = selectorKey(artifact);
  const fitting = earlier
    .filter((one) => compareVersions(parseVersion(one.version), parseVersion(version)) < 0)
    .toSorted((a, b) => compareVersions(parseVersion(b.version), parseVersion(a.version)))
    .flatMap((one) => {
      const found = one.artifacts.find(
        (other) => selectorKey(other) === key && other.format === artifact.format,
      );
      return found === undefined ? [] : [{ ...one, artifact: found }];
    });
  const chosen = fitting.filter(({ version: own, offered }, i) =>
    wished === null ? i < LAST_RELEASES || offered : wished.includes(own),
  );
  const seen = new Set([artifact.sha256]);
  return chosen.flatMap(({ version: own, artifact: base }) => {
    if (seen.has(base.sha256)) return [];
    seen.add(base.sha256);
    return [{ version: own, artifact: base }];
  });
}

/** A patch is published only if it is smaller than this part of the compressed whole. */
export const WORTH_IT = 0.6;

const SHOWN = 16;
