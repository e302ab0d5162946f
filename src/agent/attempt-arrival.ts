// The part of an attempt before anything that runs is touched: room, bytes, verification, the slot.

import { statOrNull } from "../core/disk.ts";
import { RunningDigests, sha256Hex } from "../core/digest.ts";
import { programsOfKind } from "../release/component-kind.ts";
import { artifactFileName, type Artifact, type ReleaseManifest } from "../release/manifest.ts";
import { PUBLISHER_ROOTS_LIMIT, PUBLISHER_ROOTS_TARGET } from "../release/target-names.ts";
import type { Attempt } from "../slot/attempt.ts";
import { stage } from "../slot/install.ts";
import { readFile } from "../slot/read-file.ts";
import { recordDigest } from "../slot/record.ts";
import type { AttemptState } from "./attempt-table.ts";
import type { Component } from "./component.ts";
import { AgentError } from "./errors.ts";
import { fetchByPatch } from "./fetch-by-patch.ts";
import type { Downloaded, Releases } from "./ports.ts";
import { runOf } from "./run-spec.ts";

/** What an attempt needs while it still fetches; later states live from the journal and the slot alone. */
export type Plan = {
  readonly manifest: ReleaseManifest;
  readonly artifact: Artifact;
  readonly releases: Releases;
};

export type Arrival = {
  readonly component: Component;
  readonly attempt: Attempt;
  readonly plan: Plan | null;
  /** Where artifacts lie until they are staged. */
  readonly downloads: string;
  readonly signal: AbortSignal;
  readonly tell: (state: AttemptState, bytes: number) => void;
};

/** Room that is left alone beside what an attempt needs, for blocks, names and journals: an eighth of it, within these bounds. */
const MARGIN = { least: 256 * 1024, most: 16 * 1024 * 1024 } as const;
/** Entries an archive may have; the signed manifest bounds the bytes. */
const MAX_ENTRIES = 200_000;

export function partOf(downloads: string, attempt: Attempt): string {
  return `${downloads}/${attempt.begin.to.sha256}.artifact`;
}

/** A slot that has its name was verified before it got it. */
export function isStaged(component: Component, attempt: Attempt): Promise<boolean> {
  return component.isWhole(attempt.begin.to);
}

function staged({ component, attempt }: Arrival): Promise<boolean> {
  return isStaged(component, attempt);
}

function planOf({ plan }: Arrival): Plan {
  if (plan === null)
    throw new AgentError("agent/interrupted", "The release of the attempt is not at hand.", {});
  return plan;
}

export function marginFor(written: number): number {
  return Math.min(Math.max(Math.ceil(written / 8), MARGIN.least), MARGIN.most);
}

/** Checked before the first byte, so that a small disk fails early and says how much is missing. Errors: `agent/no-space`, `disk/*`. */
export async function reserveSpace(arrival: Arrival): Promise<void> {
  if (await staged(arrival)) return;
  const { artifact } = planOf(arrival);
  const { disk } = arrival.component.world;
  // Whole, or as far as an earlier run came.
  const found =
    (await statOrNull(disk, partOf(arrival.downloads, arrival.attempt))) ??
    (await statOrNull(disk, `${partOf(arrival.downloads, arrival.attempt)}.part`));
  const present = found?.size ?? 0;
  const written = Math.max(0, artifact.length - present) + artifact.unpackedLength;
  const { diskFloor } = arrival.component.settings;
  const needed = written + Math.max(marginFor(written), diskFloor);
  const free = await disk.free(arrival.component.layout.folder);
  if (free >= needed) return;
  throw new AgentError(
    "agent/no-space",
    `The update needs ${needed} bytes on disk and ${free} are free; it is tried again at the next check.`,
    { needed, free },
    { hint: "Make room on the volume that holds the agent's data folder." },
  );
}

/** Brings the artifact to this disk. Errors: those of `Releases.download`. */
export async function fetchArtifact(arrival: Arrival): Promise<Downloaded> {
  if (await staged(arrival)) return { bytes: 0, source: "none" };
  const { artifact, releases } = planOf(arrival);
  const part = partOf(arrival.downloads, arrival.attempt);
  const { component, signal } = arrival;
  const options = { signal, progress: (bytes: number) => arrival.tell("downloading", bytes) };
  return fetchByPatch({ component, releases, artifact, part, options });
}

/** TUF said what the target's bytes are, the manifest says it again, and both must hold for what lies on this disk. Errors: `agent/wrong-bytes`. */
export async function checkBytes(arrival: Arrival): Promise<void> {
  if (await staged(arrival)) return;
  const { artifact } = planOf(arrival);
  const { disk, background } = arrival.component.world;
  const running = new RunningDigests();
  for await (const part of readFile(background, partOf(arrival.downloads, arrival.attempt)))
    running.update(part);
  const { sha256, sha512 } = running.digests();
  if (running.length === artifact.length && sha256 === artifact.sha256 && sha512 === artifact.sha512) return;
  await disk.removeFile(partOf(arrival.downloads, arrival.attempt));
  throw new AgentError(
    "agent/wrong-bytes",
    `${artifact.target} does not have the bytes that its release names: either you are under attack, or it was damaged on its way.`,
    { target: artifact.target, expected: artifact.sha256, found: sha256, length: running.length },
  );
}

/** The publisher's own signature, independent of TUF's targets keys. Errors: `agent/no-verifier`, `agent/wrong-bytes` (of a signature beside it), `artifact/*`, `repository/role-missing` without roots. */
export async function checkPublisher(arrival: Arrival): Promise<void> {
  const unpinned = arrival.plan !== null && arrival.plan.manifest.publisher === undefined;
  if (unpinned || (await staged(arrival))) return;
  const { publisher } = planOf(arrival).manifest;
  if (publisher === undefined) return;
  const { verifyPublisher } = arrival.component.world;
  // Failing closed: a pin that nobody can check is a pin that does not hold.
  if (verifyPublisher === null) {
    throw new AgentError(
      "agent/no-verifier",
      "The release demands that its publisher's signature is checked, and this agent has no verifier for it.",
      { target: planOf(arrival).artifact.target },
    );
  }
  const { artifact, releases } = planOf(arrival);
  // Whom publishers are below is TUF's to say, not this machine's.
  const roots = await releases.document(PUBLISHER_ROOTS_TARGET, PUBLISHER_ROOTS_LIMIT);
  const { world, product } = arrival.component;
  const file = {
    path: partOf(arrival.downloads, arrival.attempt),
    name: artifactFileName(artifact),
    product,
    version: planOf(arrival).manifest.version,
    platform: world.platform,
    signature: artifact.signature === undefined ? null : await fetchSignature(releases, artifact.signature),
  };
  await verifyPublisher(file, publisher, roots, world.clock.now());
}

/** Listed by TUF and named by the manifest: both must hold, as for the artifact. Errors: `agent/wrong-bytes`, those of `Releases.document`. */
async function fetchSignature(
  releases: Releases,
  { target, length, sha256 }: NonNullable<Artifact["signature"]>,
): Promise<Uint8Array> {
  const bytes = await releases.document(target, length);
  const found = sha256Hex(bytes);
  if (bytes.length === length && found === sha256) return bytes;
  throw new AgentError(
    "agent/wrong-bytes",
    `${target} does not have the bytes that its release names: either you are under attack, or the repository was assembled wrongly.`,
    { target, expected: sha256, found, length: bytes.length },
  );
}

/** Makes the slot, and returns the SHA-256 of its record. Errors: `slot/*`, `disk/*`. */
export async function stageArtifact(arrival: Arrival): Promise<string> {
  const { world, layout, product } = arrival.component;
  if (await staged(arrival)) {
    await world.disk.syncDirectory(layout.slots);
    return recordDigest(world.disk, layout, arrival.attempt.begin.to);
  }
  const { artifact, manifest } = planOf(arrival);
  const { to, manifestSha256 } = arrival.attempt.begin;
  const { component } = manifest;
  const program = manifest.entryPoint?.command[0] ?? null;
  const probed = manifest.health?.kind === "command" ? manifest.health.command[0]! : null;
  const called = programsOfKind(component);
  const name = artifactFileName(artifact);
  return stage(
    world.background,
    layout,
    {
      product,
      id: to,
      artifact: partOf(arrival.downloads, arrival.attempt),
      artifactLength: artifact.length,
      // A single file that is started, asked how it is, or called must be executable.
      format:
        artifact.format === "file"
          ? { kind: "file", name, executable: [program, probed, ...called].includes(name) }
          : { kind: artifact.format },
      limits: { bytes: artifact.unpackedLength, entries: MAX_ENTRIES, names: world.platform.os },
      manifestSha256,
      run: runOf(manifest),
      entry: program ?? probed,
      named: component?.kind === "handler" ? [component.file] : called,
    },
    world.zip,
  );
}
