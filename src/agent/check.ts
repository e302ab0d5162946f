// The check: the one path that start, schedule, wake-up and operator all take. What is believed is decided here, in this order.

import { toBase64Url } from "../core/bytes.ts";
import { parseInstant, type Instant } from "../core/instant.ts";
import { openAssignment, type AssignedComponent } from "../message/assignment.ts";
import type { AuditHead } from "../message/audit-head.ts";
import type { CheckInAnswer, CheckInRequest } from "../message/check-in.ts";
import type { PublicKey } from "../keys/public-key.ts";
import type { MessageKeyStatement } from "../message/message-key.ts";
import { openRelease, RELEASE_LIMIT } from "../release/manifest.ts";
import type { Candidate } from "../release/select.ts";
import { releaseTarget, TRUSTED_KEYS_TARGET } from "../release/target-names.ts";
import {
  keysFor,
  messengersIn,
  parseTrustedKeys,
  TRUSTED_KEYS_LIMIT,
  type TrustedKeys,
} from "../release/trusted-keys.ts";
import { fromBase64 } from "../core/bytes.ts";
import type { Policy } from "../manners/policy.ts";
import { sha256Hex } from "../core/digest.ts";
import { UpkeepError } from "../core/errors.ts";
import { AgentError, sentenceOf } from "./errors.ts";
import { loadChannel, type Signed } from "./load-channel.ts";
import { followAlone, isAway } from "./follow-alone.ts";
import { followLocations, type LocationsPort } from "./follow-locations.ts";
import { followTrust } from "./follow-trust.ts";
import type {
  DeviceIdentity,
  KeptAssignment,
  Licensing,
  Notice,
  Releases,
  Repository,
  ServerTrust,
  UpdateServer,
  World,
} from "./ports.ts";

/** What a check is told to believe, and from which state of the repository. */
export type Instructions = {
  readonly releases: Releases;
  readonly trusted: TrustedKeys;
  /** Feature words that this agent knows. */
  readonly known: readonly string[];
  readonly components: readonly AssignedComponent[];
  /** False if nothing is said about what is not among the components. */
  readonly complete: boolean;
  /** Seconds until the server wants to be asked again; null if no server was asked. */
  readonly interval: number | null;
  readonly seq: number | null;
  /** What the server signed beside the components; null if no server was asked. */
  readonly group: { readonly policy: Policy | null; readonly issued: Instant } | null;
  /** Why no server said it, when what was said last is gone by; null otherwise. */
  readonly away: UpkeepError | null;
};

/** What the owner of a device wants of a copy of the repository that he brought. */
export type Wish = {
  /** Null: what is installed and in the copy. */
  readonly products: readonly string[] | null;
  readonly channel: string;
};

/** The mark of the last answer, and where the next one is kept. */
export type Marks = {
  load(): Promise<string | null>;
  keep(mark: string): Promise<void>;
  /** The newest head of the server's audit log that was given to this device. */
  head(): Promise<AuditHead | null>;
  keepHead(head: AuditHead): Promise<void>;
};

/** What a check has to do with messages: it tells the server the key for them, and learns who may send them. */
export type Correspondence = {
  /** Null while the server has it. */
  statement(): Promise<MessageKeyStatement | null>;
  /** The id of the key that the server says it holds. */
  answered(id: string | null): void;
  /** The keys that trust/keys.json names for messages now. */
  trust(messengers: readonly PublicKey[]): Promise<void>;
};

export type Asking = {
  readonly world: World;
  readonly identity: DeviceIdentity;
  readonly repository: Repository;
  readonly server: UpdateServer;
  readonly trust: ServerTrust;
  readonly kept: KeptAssignment;
  /** Null for a question beside a check, and where none are kept. */
  readonly licenses: Licensing | null;
  /** Null for a question beside a check. */
  readonly marks: Marks | null;
  /** Where updates come from; without it, from where they always came. */
  readonly locations?: LocationsPort | undefined;
  /** What the device says of itself beside what runs. */
  readonly state?: () => Pick<CheckInRequest, "updates" | "alarms">;
  /** What concerns messages; null for a device that opens none. */
  readonly messages?: Correspondence | null;
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
  const { world, identity, repository, server, trust, kept, licenses, marks, notice, signal } = asking;
  // TUF 5.1: the time of the update is fixed once.
  const now: Instant = world.clock.now();
  // 1. What exists: signed metadata, independent of the server that is asked below.
  const releases = await repository.refresh(now, signal);
  // Whom to take for the server comes from there too, before the server is spoken to.
  const noticed = [...releases.notices, ...(await followTrust(trust, releases))];
  await notice(noticed);
  // 2. Who may say what: keys from TUF, never from a file beside the program.
  const listed = await releases.document(TRUSTED_KEYS_TARGET, TRUSTED_KEYS_LIMIT);
  const trusted = parseTrustedKeys(listed);
  const known = world.program.features;
  await licenses?.follow({
    document: async (target, limit) =>
      target === TRUSTED_KEYS_TARGET ? listed : releases.document(target, limit),
  });
  const leases = await licenses?.ask();
  await asking.messages?.trust(messengersIn(trusted));
  // From where to ask from now on comes from there too; this check goes on where it is.
  const { locations } = asking;
  if (locations !== undefined && marks !== null && releases.topDocument !== undefined) {
    const find = releases.topDocument.bind(releases);
    const followed = await followLocations(locations, find, trusted, now, signal);
    if (followed.length > 0) await notice([...noticed, ...followed]);
  }
  // 3. What this device should run: an answer to this question, for this device, from the director, in time.
  const nonce = toBase64Url(world.random.bytes(32));
  const { os, arch, libc } = world.platform;
  const auditHead = (await marks?.head()) ?? null;
  const question = {
    agent: world.program,
    nonce,
    platform: { os, arch, ...(libc === null ? {} : { libc }) },
    components: running,
    ...(releases.timestampSha256 === null ? {} : { timestamp: releases.timestampSha256 }),
    ...(marks === null ? {} : { mark: await marks.load() }),
    ...(auditHead === null ? {} : { auditHead }),
    ...(leases === undefined ? {} : { licenses: leases }),
    ...(await messageKeyOf(asking)),
    ...(marks === null ? {} : asking.state?.()),
  };
  let answer: CheckInAnswer;
  try {
    answer = await server.checkIn(question, signal);
  } catch (error) {
    const components = isAway(error) ? await followAlone(asking, { releases, trusted, known }) : [];
    if (components.length === 0) throw error;
    return {
      releases,
      trusted,
      known,
      components,
      complete: false,
      interval: null,
      seq: null,
      group: null,
      away: error as UpkeepError,
    };
  }
  const { keys } = keysFor(trusted, "assignment", null);
  const envelope = fromBase64(answer.assignment);
  const assignment = openAssignment(envelope, {
    keys,
    device: identity.device,
    nonce,
    // Asking may have taken long; the answer is judged by the time of its arrival.
    now: world.clock.now(),
    freshUntil: releases.freshUntil,
    known,
  });
  await kept.save(envelope);
  await licenses?.take(answer.licenses);
  await licenses?.noteUpdates(answer.notEntitled);
  // Kept before anything is done with the answer: what is acted on was acknowledged.
  if (answer.mark !== undefined) await marks?.keep(answer.mark);
  if (answer.auditHead !== undefined) await marks?.keepHead(answer.auditHead);
  if (marks !== null) asking.messages?.answered(answer.messageKey ?? null);
  const { components } = assignment;
  const { interval, seq } = answer;
  const group = { policy: assignment.policy ?? null, issued: parseInstant(assignment.issued) };
  return { releases, trusted, known, components, complete: true, interval, seq, group, away: null };
}

/** A disk that cannot take a new key keeps nobody from an update. */
async function messageKeyOf({
  world,
  marks,
  messages,
}: Asking): Promise<{ readonly messageKey?: MessageKeyStatement }> {
  if (marks === null || messages === undefined || messages === null) return {};
  try {
    const messageKey = await messages.statement();
    return messageKey === null ? {} : { messageKey };
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    world.log({ level: "warn", event: "message-key-not-kept", code: error.code, message: sentenceOf(error) });
    return {};
  }
}

/**
 * Steps 1 to 3 without a server: what exists comes from a copy that somebody brought, who may say what from its TUF metadata, and what this
 * device should run from the channel, which the product's keys signed. The one thing that the owner decides is that it happens now.
 * Errors: those of `askWhatToRun`, `repository/role-missing` for a product that the copy does not list.
 */
export async function readWhatWasBrought(
  { world, repository, trust, signal }: Pick<Asking, "world" | "repository" | "trust" | "signal">,
  installed: readonly string[],
  wish: Wish,
): Promise<Instructions> {
  const { releases, trusted, known } = await readRepository({ world, repository, signal });
  // A copy can also bring a device back that its server's authorities have left behind.
  for (const { code, about, message } of await followTrust(trust, releases))
    world.log({ level: "warn", event: "notice", code, about, message });
  const components: AssignedComponent[] = [];
  for (const product of wish.products ?? installed) {
    try {
      const { version, sha256 } = await loadChannel({ releases, trusted, known }, product, wish.channel);
      components.push({ product, channel: wish.channel, release: { version, manifestSha256: sha256 } });
    } catch (error) {
      const missing =
        error instanceof UpkeepError &&
        // Not listed, or listed and not taken along.
        (error.code === "repository/role-missing" || error.code === "mirror/not-found");
      // What is installed and was not brought along is none of this errand.
      if (!missing || wish.products !== null) throw error;
    }
  }
  return {
    releases,
    trusted,
    known,
    components,
    complete: false,
    interval: null,
    seq: null,
    group: null,
    away: null,
  };
}

/** Step 1 and 2 alone, for who needs to know what exists and not what should run. Errors: those of `askWhatToRun` but the server's. */
export async function readRepository({
  world,
  repository,
  signal,
}: Pick<Asking, "world" | "repository" | "signal">): Promise<Signed> {
  const releases = await repository.refresh(world.clock.now(), signal);
  const trusted = parseTrustedKeys(await releases.document(TRUSTED_KEYS_TARGET, TRUSTED_KEYS_LIMIT));
  return { releases, trusted, known: world.program.features };
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
  instructions: Instructions,
  assigned: AssignedRelease,
): Promise<Candidate> {
  const { version, manifestSha256 } = assigned.release;
  const candidate = await loadRelease(instructions, assigned.product, version);
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
  { releases, trusted, known }: Signed,
  product: string,
  version: string,
): Promise<Candidate> {
  const bytes = await releases.document(releaseTarget(product, version), RELEASE_LIMIT);
  const manifest = openRelease(bytes, keysFor(trusted, "release", product), { product, version }, known);
  return { manifest, sha256: sha256Hex(bytes) };
}

/** Offers in an order in which each comes after those it depends on, and those that cannot be ordered, each with its circle. */
export type Order<T> = {
  readonly ordered: readonly T[];
  readonly circular: readonly { readonly offer: T; readonly error: AgentError }[];
};

/** What is part of a circle is refused; the others are not kept from their updates by it. */
export function inOrder<T extends { readonly candidate: Candidate }>(offers: readonly T[]): Order<T> {
  const byProduct = new Map(offers.map((offer) => [offer.candidate.manifest.product, offer]));
  const ordered: T[] = [];
  const done = new Set<string>();
  const circles = new Map<string, string>();
  const visit = (offer: T, path: readonly string[]): void => {
    const { product, dependencies } = offer.candidate.manifest;
    const entered = path.indexOf(product);
    if (entered >= 0) {
      const circle = path.slice(entered);
      const text = [...circle, product].join(" → ");
      for (const member of circle) circles.set(member, circles.get(member) ?? text);
      return;
    }
    if (done.has(product)) return;
    for (const dependency of dependencies) {
      const next = byProduct.get(dependency.product);
      if (next !== undefined) visit(next, [...path, product]);
    }
    done.add(product);
    ordered.push(offer);
  };
  for (const offer of offers) visit(offer, []);
  const circleOf = (offer: T): string | undefined => circles.get(offer.candidate.manifest.product);
  return {
    ordered: ordered.filter((offer) => circleOf(offer) === undefined),
    circular: offers.flatMap((offer) => {
      const circle = circleOf(offer);
      if (circle === undefined) return [];
      const sentence = `The assigned releases depend on each other in a circle: ${circle}.`;
      return [{ offer, error: new AgentError("agent/dependency-circle", sentence, { circle }) }];
    }),
  };
}
