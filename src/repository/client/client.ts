// A TUF client: refreshes what it trusts, finds targets through delegations, and fetches them.

import { hash } from "node:crypto";
import { equalBytes } from "../../core/bytes.ts";
import { sameDigest, sha256Hex } from "../../core/digest.ts";
import type { Clock } from "../../core/clock.ts";
import type { Disk } from "../../core/disk.ts";
import { HOUR, type Instant } from "../../core/instant.ts";
import type { JsonObject } from "../../core/json.ts";
import type { Random } from "../../core/random.ts";
import { downloadFile, type Progress } from "../../mirror/download.ts";
import { DEFAULT_RETRY, fetchFirst, type RetryPolicy, type RetryTools } from "../../mirror/fetch.ts";
import { limited, type RateLimit } from "../../mirror/rate.ts";
import { METADATA_SPEED, TARGET_SPEED, withSpeedFloor, type SpeedFloor } from "../../mirror/speed.ts";
import { below, type Source } from "../../mirror/source.ts";
import { DEFAULT_LIMITS, type Limits } from "../limits.ts";
import { RepositoryError } from "../errors.ts";
import type { Hashes, Root, Signed, TargetFile } from "../metadata.ts";
import { parseTargetName, targetPath, type TargetName } from "../names.ts";
import { RefreshTime, type Contradiction } from "./known-time.ts";
import { latestRoot, latestTimestamp, type MirrorReport, type RefreshContext } from "./latest.ts";
import { accepted, type MetadataStore } from "./store.ts";
import { findTarget, loadSnapshot, loadTargets, type Session } from "./session.ts";
import { finalRoot, finalTimestamp, storedTimestamp, strongHashes, type Minimums } from "../trusted-set.ts";

/** One copy of the repository. Metadata and targets may live at different places. */
export type Mirror = { readonly metadata: Source; readonly targets: Source };

/** The usual layout: `metadata/` and `targets/` below one place. */
export function mirrorAt(source: Source): Mirror {
  return { metadata: below(source, "metadata"), targets: below(source, "targets") };
}

export type RepositoryOptions = {
  /** In order of preference. Without any, only what is stored is used, as long as it has not expired. */
  readonly mirrors: readonly Mirror[];
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly random: Random;
  /** The root this program was shipped with; without it, the stored `root.json` is where trust begins. */
  readonly trustedRoot?: Uint8Array;
  /** Versions that were out when this program was built. They bind until the role's keys are rotated. */
  readonly minimums?: Minimums;
  readonly limits?: Partial<Limits>;
  readonly retry?: RetryPolicy;
  readonly metadataSpeed?: SpeedFloor;
  readonly targetSpeed?: SpeedFloor;
  /** The cap on the bandwidth of artifacts; metadata is small and goes without. */
  readonly rate?: RateLimit;
};

export type RefreshResult = {
  /** False if the repository is what it was at the refresh before. */
  readonly changed: boolean;
  readonly root: number;
  readonly timestamp: number;
  readonly snapshot: number;
  /** The first of root, timestamp, snapshot and targets to expire, and when: renew before, or updates stop. */
  readonly expires: Instant;
  /** The same by role. */
  readonly expiries: { readonly [role in "root" | "timestamp" | "snapshot" | "targets"]: Instant };
  /** The time that expiry was judged by. */
  readonly start: Instant;
  /** The clock is behind a time at which a refresh succeeded before; that time was used instead. */
  readonly clockSetBack: boolean;
  /** A remembered time that newer signed metadata showed to be wrong, and which metadata; it was dropped. */
  readonly forgotten: (Contradiction & { readonly time: Instant }) | null;
  readonly mirrors: readonly MirrorReport[];
};

/** A target that signed metadata lists. Made by `target` only. */
export type TargetInfo = {
  readonly name: TargetName;
  readonly length: number;
  readonly hashes: Hashes;
  readonly custom: JsonObject | undefined;
  /** The role that listed it. */
  readonly role: string;
  /** Where it is, below the targets of any mirror. */
  readonly path: string;
};

export type FetchOptions = {
  readonly disk: Disk;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  /** Tried before the mirrors: neighbours, caches. Nothing they send is trusted. */
  readonly sources?: readonly Source[];
};

export interface Repository {
  /**
   * Brings trust up to date (TUF 5.1 to 5.6.6). Errors: `RepositoryError` of any code, `MirrorError`, `DiskError`.
   * `repository/expired` blocks updates and nothing else; what is trusted so far stays stored.
   */
  refresh(signal?: AbortSignal): Promise<RefreshResult>;
  /** TUF 5.6.7. Null if no role lists the target. Throws `repository/bad-name`, `repository/not-refreshed`, and what `refresh` throws. */
  target(name: string, signal?: AbortSignal): Promise<TargetInfo | null>;
  /** A small target, whole. `limit` in bytes. Throws `repository/role-missing` if no role lists it. */
  readTarget(name: string, limit: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** Streams a target to `path` (TUF 5.7.3): resumed from `<path>.part`, in place only when length and digests fit. */
  fetchTarget(info: TargetInfo, path: string, options: FetchOptions): Promise<void>;
}

export function openRepository(options: RepositoryOptions): Repository {
  const { store, clock, minimums = {} } = options;
  const limits: Limits = { ...DEFAULT_LIMITS, ...options.limits };
  const tools: RetryTools = { clock, random: options.random, retry: options.retry ?? DEFAULT_RETRY };
  const mirrors = options.mirrors.map((mirror) => ({
    metadata: withSpeedFloor(mirror.metadata, clock, options.metadataSpeed ?? METADATA_SPEED),
    targets: withSpeedFloor(mirror.targets, clock, options.targetSpeed ?? TARGET_SPEED),
  }));
  let session: Session | null = null;

  async function refresh(signal?: AbortSignal): Promise<RefreshResult> {
    const release = await store.lock();
    try {
      return await refreshLocked(signal);
    } finally {
      await release();
    }
  }

  async function refreshLocked(signal: AbortSignal | undefined): Promise<RefreshResult> {
    // TUF 5.1: the time is fixed at the beginning. Time never was earlier than the last refresh that succeeded.
    const now = clock.now();
    const reports: RefreshContext["reports"] = new Map(
      mirrors.map(({ metadata }) => [metadata, { failures: [], timestamp: null, alive: true }]),
    );
    const context: RefreshContext = { store, limits, tools, signal, reports };

    // TUF 5.2 and 5.3.
    const { root, minimumsHold } = await latestRoot(context, options.trustedRoot, session?.root);
    // Read after the climb, which may have freed it from numbers of keys that are gone.
    const time = new RefreshTime(now, await store.loadKnownTime(), root.signed);
    finalRoot(root, time.judge);

    // TUF 5.4.
    const stored = await accepted(store.load("timestamp", limits.timestampBytes), (bytes) =>
      storedTimestamp(root, bytes),
    );
    const bounds = minimumsHold ? minimums : {};
    const { timestamp, ranking } = await latestTimestamp(context, root, stored, bounds, time);
    finalTimestamp(timestamp, time.judge);
    const isNew = timestamp !== stored;
    if (isNew) await store.save("timestamp", timestamp.bytes);

    const order = ranking.map((source) => mirrors.find((mirror) => mirror.metadata === source)!);
    const before =
      session !== null && session.root === root && equalBytes(session.timestamp.bytes, timestamp.bytes)
        ? session
        : null;
    const current: Session = {
      time,
      root,
      timestamp,
      snapshot: before?.snapshot ?? null,
      roles: before?.roles ?? new Map(),
      mirrors: order,
    };

    // Nothing new since these very files were verified, and none of them has expired: done, whatever the number of targets.
    const names = { root: sha256Hex(root.bytes), timestamp: sha256Hex(timestamp.bytes) };
    let checked = await stillChecked(store, names, time.start);
    if (checked === null) {
      const snapshot = await loadSnapshot(context, current);
      const targets = await loadTargets(context, current);
      checked = {
        ...names,
        roles: {
          snapshot: { length: snapshot.length, expires: snapshot.signed.expires },
          targets: { length: targets.length, expires: targets.signed.expires },
        },
      };
      await store.saveChecked(checked);
    }
    const { start, known, contradiction } = time;
    // To the hour is enough against a clock set back, and spares the disk at every check with nothing new.
    if (known === null || contradiction !== null || start >= known.time + HOUR) {
      const versions = {
        root: root.signed.version,
        timestamp: timestamp.signed.version,
        snapshot: timestamp.signed.snapshot.version,
      };
      await store.saveKnownTime({ time: start, versions });
    }
    session = current;
    const { snapshot, targets } = checked.roles;
    const expiries = {
      root: root.signed.expires,
      timestamp: timestamp.signed.expires,
      snapshot: snapshot.expires,
      targets: targets.expires,
    };
    return {
      changed: isNew,
      root: root.signed.version,
      timestamp: timestamp.signed.version,
      snapshot: timestamp.signed.snapshot.version,
      expires: Math.min(...Object.values(expiries)),
      expiries,
      start,
      clockSetBack: start > now,
      forgotten: contradiction === null ? null : { ...contradiction, time: known!.time },
      mirrors: [...reports].map(([{ name }, { failures, timestamp }]) => ({ name, failures, timestamp })),
    };
  }

  async function target(text: string, signal?: AbortSignal): Promise<TargetInfo | null> {
    const name = parseTargetName(text);
    const current = established();
    const found = await findTarget({ store, limits, tools, signal }, current, name);
    return found === null ? null : describe(name, found.file, found.role, current.root);
  }

  async function readTarget(name: string, limit: number, signal?: AbortSignal): Promise<Uint8Array> {
    const info = await target(name, signal);
    if (info === null) {
      throw new RepositoryError("repository/role-missing", `No role lists the target ${name}.`, {
        target: name,
      });
    }
    if (info.length > limit) {
      throw new RepositoryError(
        "repository/limit",
        `The target ${name} is ${info.length} bytes long, and at most ${limit} are accepted.`,
        { target: name, length: info.length, limit },
      );
    }
    const sources = established().mirrors.map((mirror) => mirror.targets);
    return fetchFirst(sources, info.path, info.length, (bytes) => checkTarget(info, bytes), tools, {
      signal,
    });
  }

  async function fetchTarget(info: TargetInfo, path: string, more: FetchOptions): Promise<void> {
    const { sources = [], ...rest } = more;
    const floor = options.targetSpeed ?? TARGET_SPEED;
    await downloadFile({
      ...rest,
      sources: [
        ...sources.map((source) => withSpeedFloor(source, clock, floor)),
        ...established().mirrors.map((mirror) => mirror.targets),
      ].map((source) => (options.rate === undefined ? source : limited(source, options.rate))),
      from: info.path,
      to: path,
      length: info.length,
      digests: strongHashes(`the target ${info.name}`, info.hashes),
      tools,
    });
  }

  function established(): Session {
    if (session !== null) return session;
    throw new RepositoryError("repository/not-refreshed", "Nothing is trusted yet: refresh comes first.");
  }

  return { refresh, target, readTarget, fetchTarget };
}

function describe(name: TargetName, file: TargetFile, role: string, root: Signed<Root>): TargetInfo {
  // Refuses here, where it is looked up, what could not be checked later.
  const [first] = strongHashes(`the target ${name}`, file.hashes);
  return {
    name,
    length: file.length,
    hashes: file.hashes,
    custom: file.custom,
    role,
    // TUF 5.7.3: DIGEST.FILENAME in consistent snapshots.
    path: targetPath(name, root.signed.consistentSnapshot ? first![1] : undefined),
  };
}

/** TUF 5.7.3: length and every known digest must fit. Returns the bytes; throws `repository/content-mismatch`. */
export function checkTarget(
  info: Pick<TargetInfo, "name" | "length" | "hashes">,
  bytes: Uint8Array,
): Uint8Array {
  const digests = strongHashes(`the target ${info.name}`, info.hashes);
  const fits = digests.every(([algorithm, digest]) => sameDigest(hash(algorithm, bytes, "hex"), digest));
  if (bytes.length === info.length && fits) return bytes;
  throw new RepositoryError(
    "repository/content-mismatch",
    `The target ${info.name} is not the file that signed metadata lists: either you are under attack, or it was damaged.`,
    { target: info.name, length: bytes.length, expected: info.length },
  );
}

async function stillChecked(
  store: MetadataStore,
  names: { readonly root: string; readonly timestamp: string },
  start: Instant,
): ReturnType<MetadataStore["loadChecked"]> {
  const checked = await store.loadChecked();
  if (checked === null || checked.root !== names.root || checked.timestamp !== names.timestamp) return null;
  for (const role of ["snapshot", "targets"] as const) {
    const { length, expires } = checked.roles[role];
    if (expires <= start || (await store.lengthOf(role)) !== length) return null;
  }
  return checked;
}
