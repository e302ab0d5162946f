// Brings an artifact to the disk by the cheapest way that works: each failure is noted and leads to the next way, the whole at the end.

import { sha256Hex } from "../core/digest.ts";
import { removeTree, statOrNull, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { algorithmOf } from "../delta/algorithms.ts";
import { readHeader } from "../delta/hd1-format.ts";
import type { Expected } from "../delta/hd1.ts";
import type { PatchStep, Way } from "../delta/plan.ts";
import type { Artifact } from "../release/manifest.ts";
import type { SlotId } from "../slot/layout.ts";
import { waysTo } from "./byte-plan.ts";
import type { Component } from "./component.ts";
import { AgentError, codeOf, sentenceOf } from "./errors.ts";
import type { Downloaded, DownloadOptions, Releases } from "./ports.ts";
import { isSeed, readSeed } from "./seed.ts";

export type Wanted = {
  readonly component: Component;
  readonly releases: Releases;
  readonly artifact: Artifact;
  /** Where the artifact goes; patches lie beside it meanwhile. */
  readonly part: string;
  readonly options: DownloadOptions;
};

/** What was fetched on ways so far, also on those that led nowhere. */
type Spent = { bytes: number; source: Downloaded["source"] };

/** Errors: those of `Releases.download`, for the whole; what went wrong on another way is in the log and in `detour`. */
export async function fetchByPatch(wanted: Wanted): Promise<Downloaded> {
  const { component, releases, artifact, part, options } = wanted;
  const { disk } = component.world;
  const base = component.state.committed;
  let detour: string | undefined;
  const spent: Spent = { bytes: 0, source: "none" };
  // What an earlier run brought, whole or in part, is gone on with.
  const begun = (await statOrNull(disk, part)) ?? (await statOrNull(disk, `${part}.part`));
  const ways = begun === null ? await knownWays(wanted, base) : [];
  for (const way of ways) {
    if (way.kind === "whole" || base === null) continue;
    try {
      await takeWay(wanted, way, base, spent);
      const own = Math.max(artifact.length - way.bytes, 0);
      return { ...spent, by: { patch: spent.bytes, own }, ...(detour === undefined ? {} : { detour }) };
    } catch (error) {
      if (options.signal.aborted || !(error instanceof UpkeepError)) throw error;
      detour ??= codeOf(error);
      noteFailure(component, way, error);
    }
  }
  const got = await releases.download(artifact, part, options);
  if (detour === undefined) return got;
  const by = {
    ...(got.source === "none" ? {} : { [got.source]: got.bytes }),
    ...(spent.bytes === 0 ? {} : { patch: spent.bytes }),
  };
  return { ...got, bytes: got.bytes + spent.bytes, by, detour };
}

/** Removes what lies beside the artifact while it is made. */
export async function removeBeside(disk: Disk, part: string): Promise<void> {
  for (const path of [madeOf(part), patchOf(part, 0), patchOf(part, 1)])
    for (const suffix of ["", ".part"]) await removeTree(disk, `${path}${suffix}`);
}

/** None when a seed cannot be read, or nobody can be asked: then the whole is fetched, and says what is wrong. */
async function knownWays(wanted: Wanted, base: SlotId | null): Promise<readonly Way[]> {
  const { component, releases, artifact, options } = wanted;
  if (base === null || artifact.deltas.length === 0) return [];
  try {
    if (!(await isSeed(component, base))) return [];
    return await waysTo(releases, component.product, artifact, base.sha256);
  } catch (error) {
    if (options.signal.aborted || !(error instanceof UpkeepError)) throw error;
    noteFailure(component, { kind: "whole", bytes: artifact.length }, error);
    return [];
  }
}

async function takeWay(
  wanted: Wanted,
  way: Exclude<Way, { kind: "whole" }>,
  base: SlotId,
  spent: Spent,
): Promise<void> {
  const { component, artifact, part } = wanted;
  const { disk } = component.world;
  try {
    const patches: Uint8Array[] = [];
    for (const [i, step] of way.steps.entries()) {
      const got = await fetchPatch(wanted, step, patchOf(part, i));
      spent.bytes += got.bytes;
      if (got.source !== "none") spent.source = got.source;
    }
    // Read only now: its signed length and digests were checked when it was fetched, and nothing of it was looked at before.
    for (const [i, step] of way.steps.entries()) patches.push(await disk.read(patchOf(part, i), step.length));
    let old = await readSeed(component, base);
    if (way.kind === "chain") old = middleOf(way.steps, patches, old);
    const step = way.steps.at(-1)!;
    await writeMade(disk, madeOf(part), algorithmOf(step.algorithm).apply(old, patches.at(-1)!, artifact));
    await disk.rename(madeOf(part), part);
    await removeBeside(disk, part);
  } catch (error) {
    if (wanted.options.signal.aborted) throw error;
    // Whatever is wrong with it, it would be wrong again.
    await removeBeside(disk, part);
    throw error;
  }
}

/** The artifact between two patches, in memory. Its length is what the second patch, which is signed, is from. */
function middleOf(
  [first, last]: readonly [PatchStep, PatchStep],
  patches: readonly Uint8Array[],
  old: Uint8Array,
): Uint8Array {
  const expected: Expected = { length: readHeader(patches[1]!).oldLength, sha256: last.from };
  const out = new Uint8Array(expected.length);
  let at = 0;
  for (const part of algorithmOf(first.algorithm).apply(old, patches[0]!, expected)) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

async function fetchPatch(wanted: Wanted, step: PatchStep, path: string): Promise<Downloaded> {
  const listed = await wanted.releases.listed(step.target);
  if (listed === null)
    throw new AgentError("agent/wrong-release", `${step.target} is not listed any more.`, {
      target: step.target,
    });
  const got = await listed.fetch(path, wanted.options);
  // A wall of its own: what is parsed next is what was signed.
  const found = sha256Hex(await wanted.component.world.disk.read(path, step.length));
  if (found === listed.sha256) return got;
  throw new AgentError("agent/wrong-bytes", `${step.target} does not have the bytes that are listed.`, {
    target: step.target,
    expected: listed.sha256,
    found,
  });
}

async function writeMade(disk: Disk, path: string, parts: Iterable<Uint8Array>): Promise<void> {
  const file = await disk.open(path, "write", 0o600);
  try {
    await file.truncate(0);
    let at = 0;
    for (const part of parts) {
      await file.write(at, part);
      at += part.length;
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

function noteFailure(component: Component, way: Way, error: UpkeepError): void {
  component.world.log({
    level: "warn",
    event: "way-failed",
    product: component.product,
    way: way.kind,
    bytes: way.bytes,
    code: codeOf(error),
    message: sentenceOf(error),
  });
}

function patchOf(part: string, i: number): string {
  return `${part}.patch-${i}`;
}

function madeOf(part: string): string {
  return `${part}.made`;
}
