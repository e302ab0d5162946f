// The ways to an artifact's bytes, from what signed metadata lists and what is installed here.

import { isAlgorithm } from "../delta/algorithms.ts";
import { planBytes, type PatchStep, type Way } from "../delta/plan.ts";
import type { Artifact } from "../release/manifest.ts";
import { patchBase, patchFile } from "../release/patches.ts";
import { artifactTarget } from "../release/target-names.ts";
import type { Releases } from "./ports.ts";

/**
 * Cheapest first, the whole at the end. The names of patches say which artifacts they are between, so a chain over an earlier release needs no
 * document of it. Errors: those of `Releases.listed`.
 */
export async function waysTo(
  releases: Releases,
  product: string,
  artifact: Artifact,
  installed: string | null,
): Promise<readonly Way[]> {
  const patches: PatchStep[] = [];
  const add = async (target: string, ends: Omit<PatchStep, "target" | "length">): Promise<void> => {
    const listed = await releases.listed(target);
    if (listed !== null) patches.push({ ...ends, target, length: listed.length });
  };
  if (installed === null || installed === artifact.sha256) return planBytes(null, artifact, []);
  for (const { from: version, algorithm, target } of artifact.deltas) {
    const base = patchBase(target, artifact.sha256, algorithm);
    if (base === null || !isAlgorithm(algorithm)) continue;
    await add(target, { algorithm, from: base, to: artifact.sha256 });
    // The first of two: named by what is installed and by the base of the second. Only hd1 says how long its old file is.
    if (base === installed || algorithm !== "hd1") continue;
    const ends = { algorithm, from: installed, to: base };
    await add(artifactTarget(product, version, patchFile(ends)), ends);
  }
  return planBytes(installed, artifact, patches);
}
