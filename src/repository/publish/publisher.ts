// The publisher: one change at a time, read, edited, signed, written in the safe order, looked at from outside.

import type { Clock } from "../../core/clock.ts";
import {
  makeDirectories,
  parentOf,
  readOrNull,
  statOrNull,
  writeAtomic,
  type Disk,
} from "../../core/disk.ts";
import { sameDigest, sha256Hex } from "../../core/digest.ts";
import type { Instant } from "../../core/instant.ts";
import { targetFilePath, ZSTD_SUFFIX } from "./disk-names.ts";
import { Draft, type Trace } from "./draft.ts";
import type { Root, TargetFile } from "../metadata.ts";
import { existsAlready, findTarget, hasRepository, readPublished, type Published } from "./published.ts";
import {
  assemble,
  lacks,
  prepareParts,
  renewTimestamp,
  type Lack,
  type Part,
  type Publication,
} from "./publication.ts";
import { isDue } from "./publisher-policy.ts";
import { PublisherError } from "./publisher-errors.ts";
import type { KeyRing } from "./quorum.ts";

/** One holder at a time, across processes. Call the result to let go. Throws `publisher/busy`. */
export type PublisherLock = () => Promise<() => Promise<void>>;

export type PublisherTools = {
  readonly disk: Disk;
  /** Holds `metadata/` and `targets/`. */
  readonly folder: string;
  readonly clock: Clock;
  readonly ring: KeyRing;
  readonly lock: PublisherLock;
  /** A fresh client from the first root on; throws what it finds wrong. Runs after every publication, before success is reported. */
  readonly lookFromOutside: (folder: string) => Promise<void>;
  /** What was published last from here; kept apart from the repository. Without it, nothing is compared. */
  readonly memory?: PublisherMemory;
  /** Where what people change is written down. */
  readonly audit?: PublisherAudit;
};

/** An audit log. Nothing is published when it throws. */
export interface PublisherAudit {
  /** Asked before a change begins: could it be written down? */
  ready(): Promise<void>;
  /** Durable before the first file of the change is written. */
  write(traces: readonly Trace[]): Promise<void>;
}

/** Version numbers by role that were published from here. Whoever can change the repository alone cannot wind it back unnoticed. */
export type PublishedVersions = ReadonlyMap<string, number>;
export interface PublisherMemory {
  load(): Promise<PublishedVersions | null>;
  save(versions: PublishedVersions): Promise<void>;
}

/** A target file that lies on the target volume already, under a temporary name. */
export type StagedFile = {
  readonly path: string;
  readonly length: number;
  /** Its zstd form, which a web server may send instead; nothing signed speaks of it. */
  readonly zstd?: string;
};

export type Outcome =
  | { readonly kind: "published"; readonly publication: Publication }
  /** Nothing was published: signatures are missing. The parts carry those that are there. */
  | {
      readonly kind: "waiting";
      readonly parts: readonly Part[];
      readonly lacks: readonly Lack[];
      /** What the change was made on; null for a new repository. */
      readonly published: Published | null;
      readonly traces: readonly Trace[];
    }
  | { readonly kind: "unchanged" };

export interface Publisher {
  read(): Promise<Published>;
  /** Makes the first version of everything. Throws `publisher/exists`. */
  create(root: Root, edit: (draft: Draft) => Promise<void>): Promise<Outcome>;
  /** `edit` changes the draft; nothing is written when it throws. `base`, for recovery, stands in for what is published. */
  change(edit: (draft: Draft) => Promise<void>, base?: Published): Promise<Outcome>;
  /** Publishes parts that gathered their signatures elsewhere; `find` judges them by what is published now. */
  complete(
    find: (published: Published | null) => Promise<readonly Part[]>,
    base?: Published,
    traces?: readonly Trace[],
  ): Promise<Outcome>;
  /** Renews snapshot and timestamp when they are due. For a scheduler: cheap when nothing is. */
  renewOnline(now: Instant): Promise<Outcome>;
  /**
   * Snapshot and timestamp that are good until `ends`, for one copy that is carried to devices without a network. Their numbers are used
   * up: the repository goes on above them with its own lives, so a device that has been online believes the copy too, and what it
   * learned from the copy never keeps it from the repository.
   */
  signForCopy(ends: Instant): Promise<Publication>;
  /** A published target's bytes, verified against signed metadata. Throws `publisher/bad-input` when it is not listed. */
  readTarget(name: string, limit: number): Promise<Uint8Array>;
  /** Puts a target file where clients will look for it; harmless until metadata lists it. */
  placeTarget(name: string, file: TargetFile, staged: StagedFile): Promise<void>;
  placeBytes(name: string, file: TargetFile, bytes: Uint8Array): Promise<void>;
}

export function openPublisher(tools: PublisherTools): Publisher {
  const { disk, folder, clock, ring } = tools;

  const locked = async <T>(action: () => Promise<T>): Promise<T> => {
    await makeDirectories(disk, folder);
    const unlock = await tools.lock();
    try {
      return await action();
    } finally {
      await unlock();
    }
  };
  const write = async (publication: Publication): Promise<void> => {
    await makeDirectories(disk, `${folder}/metadata`);
    await makeDirectories(disk, `${folder}/targets`);
    for (const { name, bytes } of publication.files)
      await writeAtomic(disk, `${folder}/metadata/${name}`, bytes);
    await tools.memory?.save(versionsOf(await readPublished(disk, folder)));
    try {
      await tools.lookFromOutside(folder);
    } catch (cause) {
      throw new PublisherError(
        "publisher/not-verified",
        "The change was published, but a fresh client cannot follow it.",
        { root: publication.root, timestamp: publication.timestamp },
        {
          cause,
          hint: "upkeep repo doctor looks at every file; do not publish further before it is content.",
        },
      );
    }
  };
  const finish = async (draft: Draft): Promise<Outcome> => {
    const { published } = draft;
    const parts = await prepareParts(draft, ring, clock.now());
    if (parts.length === 0) return { kind: "unchanged" };
    return publishParts(published, parts, draft.traces);
  };
  const publishParts = async (
    published: Published | null,
    parts: readonly Part[],
    traces: readonly Trace[],
  ): Promise<Outcome> => {
    const missing = lacks(parts);
    if (missing.length > 0) return { kind: "waiting", parts, lacks: missing, published, traces };
    const publication = await assemble(published, parts, ring, clock.now());
    // What people do is written down before it takes effect.
    await tools.audit?.write(tracesOf(published, publication, traces));
    await write(publication);
    return { kind: "published", publication };
  };
  const read = async (): Promise<Published> => {
    const published = await readPublished(disk, folder);
    for (const [role, version] of (await tools.memory?.load()) ?? []) {
      const found = versionsOf(published).get(role) ?? 0;
      if (found >= version) continue;
      throw new PublisherError(
        "publisher/inconsistent",
        `The repository is older than what was published from here: ${role} is at version ${found}, and version ${version} was published. Either somebody wound it back, or an old copy was restored.`,
        { role, found, published: version },
        { hint: "Bring the newest copy back; if it is lost for good: upkeep repo recover." },
      );
    }
    return published;
  };

  return {
    read,
    create: (root, edit) =>
      locked(async () => {
        await tools.audit?.ready();
        const remembered = (await tools.memory?.load()) ?? null;
        if (remembered !== null || (await hasRepository(disk, folder))) throw existsAlready(folder);
        const draft = new Draft(null, root);
        await edit(draft);
        return finish(draft);
      }),
    change: (edit, base) =>
      locked(async () => {
        await tools.audit?.ready();
        const published = base ?? (await read());
        const draft = new Draft(published, published.root.signed);
        await edit(draft);
        return finish(draft);
      }),
    complete: (find, base, traces = []) =>
      locked(async () => {
        await tools.audit?.ready();
        const published = base ?? ((await hasRepository(disk, folder)) ? await read() : null);
        return publishParts(published, await find(published), traces);
      }),
    renewOnline: (now) =>
      locked(async () => {
        const published = await read();
        const { roles } = published.root.signed;
        if (isDue("snapshot", roles.snapshot, published.snapshot.signed.expires, now)) {
          const publication = await assemble(published, [], ring, now);
          await write(publication);
          return { kind: "published", publication };
        }
        if (isDue("timestamp", roles.timestamp, published.timestamp.signed.expires, now)) {
          const publication = await renewTimestamp(published, ring, now);
          await write(publication);
          return { kind: "published", publication };
        }
        return { kind: "unchanged" };
      }),
    signForCopy: (ends) =>
      locked(async () => {
        const published = await read();
        const now = clock.now();
        const copy = await assemble(published, [], ring, now, ends);
        const used = <T extends { readonly signed: { readonly version: number } }>(
          file: T,
          version: number,
        ): T => ({
          ...file,
          signed: { ...file.signed, version },
        });
        const { snapshot, timestamp } = published;
        const above: Published = {
          ...published,
          snapshot: used(snapshot, copy.snapshot),
          timestamp: used(timestamp, copy.timestamp),
        };
        await write(await assemble(above, [], ring, now));
        return copy;
      }),
    readTarget: async (name, limit) => {
      const published = await read();
      return readTargetOf(disk, folder, new Draft(published, published.root.signed), name, limit);
    },
    placeTarget: async (name, file, staged) => {
      const path = `${folder}/${targetFilePath(name, file, true)}`;
      await makeDirectories(disk, parentOf(path));
      if (staged.zstd !== undefined) await disk.rename(staged.zstd, `${path}${ZSTD_SUFFIX}`);
      await disk.rename(staged.path, path);
      await disk.syncDirectory(parentOf(path));
    },
    placeBytes: async (name, file, bytes) => {
      const path = `${folder}/${targetFilePath(name, file, true)}`;
      await makeDirectories(disk, parentOf(path));
      if ((await statOrNull(disk, path))?.size !== bytes.length) await writeAtomic(disk, path, bytes);
    },
  };
}

/** Every change leaves a trace, also one that says nothing of itself; each carries the numbers that it was published under. */
function tracesOf(
  before: Published | null,
  { root, timestamp }: Publication,
  traces: readonly Trace[],
): readonly Trace[] {
  const numbers = {
    rootBefore: before?.root.signed.version ?? null,
    root,
    timestampBefore: before?.timestamp.signed.version ?? null,
    timestamp,
  };
  if (traces.length > 0)
    return traces.map(({ action, subject, facts }) => ({ action, subject, facts: { ...facts, timestamp } }));
  return [{ action: "repository/published", subject: "repository", facts: numbers }];
}

function versionsOf({ root, timestamp, snapshot }: Published): PublishedVersions {
  return new Map([
    ["root", root.signed.version],
    ["timestamp", timestamp.signed.version],
    ["snapshot", snapshot.signed.version],
    // Bins are bound by the snapshot's number, and are many.
    ...[...snapshot.signed.meta]
      .filter(([role]) => !/\.bin-[0-9a-f]+$/.test(role))
      .map(([role, { version }]) => [role, version] as const),
  ]);
}

/** A target's bytes as a view of the repository lists it, verified. Throws `publisher/bad-input`, `publisher/inconsistent`. */
export async function readTargetOf(
  disk: Disk,
  folder: string,
  view: Draft,
  name: string,
  limit: number,
): Promise<Uint8Array> {
  const found = await findTarget(view, name);
  if (found === null) {
    throw new PublisherError("publisher/bad-input", `The repository has no target ${name}.`, {
      target: name,
    });
  }
  const path = `${folder}/${targetFilePath(name, found.file, view.root.consistentSnapshot)}`;
  const bytes = await readOrNull(disk, path, Math.min(limit, found.file.length));
  if (bytes === null || !sameDigest(sha256Hex(bytes), found.file.hashes["sha256"] ?? "")) {
    throw new PublisherError(
      "publisher/inconsistent",
      `The target ${name} is ${bytes === null ? "listed and not there" : "not the file that signed metadata lists"}.`,
      { target: name },
      { hint: "Restore targets/ from a mirror or a backup." },
    );
  }
  return bytes;
}
