// The check: the one path that start, schedule, wake-up and operator all take. What is believed is decided here, in this order.

import { toBase64Url } from "../core/bytes.ts";
import type { Instant } from "../core/instant.ts";
import { openAssignment, type Assignment, type AssignedComponent } from "../message/assignment.ts";
import type { CheckInRequest } from "../message/check-in.ts";
import { openChannel, CHANNEL_LIMIT, type ChannelPointer } from "../release/channel.ts";
import { openRelease, RELEASE_LIMIT } from "../release/manifest.ts";
import type { Candidate } from "../release/select.ts";
import { channelTarget, releaseTarget, TRUSTED_KEYS_TARGET } from "../release/target-names.ts";
import { keysFor, parseTrustedKeys, TRUSTED_KEYS_LIMIT, type TrustedKeys } from "../release/trusted-keys.ts";
import { fromBase64 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { AgentError } from "./errors.ts";
import type { DeviceIdentity, Notice, Releases, Repository, UpdateServer, World } from "./ports.ts";

/** What a check is told to believe, and from which state of the repository. */
export type Instructions = {
  readonly releases: Releases;
  readonly trusted: TrustedKeys;
  readonly assignment: Assignment;
  /** Seconds until the server wants to be asked again. */
  readonly interval: number;
  readonly seq: number;
};

export type Asking = {
  readonly world: World;
  readonly identity: DeviceIdentity;
  readonly repository: Repository;
  readonly server: UpdateServer;
  /** Told what the refresh noticed, before anything else can fail. */
  readonly notice: (notices: readonly Notice[]) => Promise<void>;
  readonly signal: AbortSignal;
};

/**
 * Steps 1 to 3 of a check. Errors: those of the ports, `release/bad-keys`, `release/no-key`, `dsse/*`, `message/*`, `schema/invalid`.
 */
export async function askWhatToRun(
  asking: Asking,
  running: CheckInRequest["components"],
): Promise<Instructions> {
  const { world, identity, repository, server, notice, signal } = asking;
  // TUF 5.1: the time of the update is fixed once.
  const now: Instant = world.clock.now();
  // 1. What exists: signed metadata, independent of the server that is asked below.
  const releases = await repository.refresh(now, signal);
  await notice(releases.notices);
  // 2. Who may say what: keys from TUF, never from a file beside the program.
  const trusted = parseTrustedKeys(await releases.document(TRUSTED_KEYS_TARGET, TRUSTED_KEYS_LIMIT));
  // 3. What this device should run: an answer to this question, for this device, from the director, in time.
  const nonce = toBase64Url(world.random.bytes(32));
  const { os, arch, libc } = world.platform;
  const answer = await server.checkIn(
    {
      nonce,
      platform: { os, arch, ...(libc === null ? {} : { libc }) },
      components: running,
      ...(releases.timestampSha256 === null ? {} : { timestamp: releases.timestampSha256 }),
    },
    signal,
  );
  const { keys } = keysFor(trusted, "assignment", null);
  const assignment = openAssignment(fromBase64(answer.assignment), {
    keys,
    device: identity.device,
    nonce,
    // Asking may have taken long; the answer is judged by the time of its arrival.
    now: world.clock.now(),
  });
  return { releases, trusted, assignment, interval: answer.interval, seq: answer.seq };
}

export type AssignedRelease = Extract<AssignedComponent, { release: unknown }>;

export function isRelease(component: AssignedComponent): component is AssignedRelease {
  return "release" in component;
}

/**
 * Step 4: the release that the assignment names, as TUF lists it and its product's keys signed it.
 * The director chooses among listed releases; it cannot introduce one. Errors: `agent/wrong-release`, `repository/*`, `release/*`, `dsse/*`.
 */
export async function loadAssigned(
  { releases, trusted }: Instructions,
  assigned: AssignedRelease,
): Promise<Candidate> {
  const { version, manifestSha256 } = assigned.release;
  const candidate = await loadRelease(releases, trusted, assigned.product, version);
  if (candidate.sha256 !== manifestSha256) {
    throw new AgentError(
      "agent/wrong-release",
      `The assignment names ${assigned.product} ${version} with another manifest than the repository lists: either you are under attack, or the server's copy of the repository is not this one.`,
      { product: assigned.product, version, assigned: manifestSha256, listed: candidate.sha256 },
    );
  }
  return candidate;
}

export async function loadRelease(
  releases: Releases,
  trusted: TrustedKeys,
  product: string,
  version: string,
): Promise<Candidate> {
  const bytes = await releases.document(releaseTarget(product, version), RELEASE_LIMIT);
  const manifest = openRelease(bytes, keysFor(trusted, "release", product), { product, version });
  return { manifest, sha256: sha256Hex(bytes) };
}

/** The channel the component follows: its recalls and steps are signed by the product's keys, not by the server. */
export async function loadChannel(
  { releases, trusted }: Instructions,
  product: string,
  channel: string,
): Promise<ChannelPointer> {
  const bytes = await releases.document(channelTarget(product, channel), CHANNEL_LIMIT);
  return openChannel(bytes, keysFor(trusted, "channel", product), { product, channel });
}

/** Components in an order in which each comes after those it depends on. Errors: `agent/dependency-circle`. */
export function inOrder<T extends { readonly candidate: Candidate }>(offers: readonly T[]): readonly T[] {
  const byProduct = new Map(offers.map((offer) => [offer.candidate.manifest.product, offer]));
  const out: T[] = [];
  const state = new Map<string, "entered" | "done">();
  const visit = (offer: T, path: readonly string[]): void => {
    const { product, dependencies } = offer.candidate.manifest;
    if (state.get(product) === "done") return;
    if (state.get(product) === "entered") {
      const circle = [...path.slice(path.indexOf(product)), product].join(" → ");
      throw new AgentError(
        "agent/dependency-circle",
        `The assigned releases depend on each other in a circle: ${circle}.`,
        {
          circle,
        },
      );
    }
    state.set(product, "entered");
    for (const dependency of dependencies) {
      const next = byProduct.get(dependency.product);
      if (next !== undefined) visit(next, [...path, product]);
    }
    state.set(product, "done");
    out.push(offer);
  };
  for (const offer of offers) visit(offer, []);
  return out;
}
