// The newest root and the newest timestamp that any mirror has: one stale or bad mirror never wins over a good one.

import { MirrorError } from "../../mirror/errors.ts";
import { fetchFirst, isAbort, mostTelling, type Failure, type RetryTools } from "../../mirror/fetch.ts";
import type { Source } from "../../mirror/source.ts";
import { equalBytes } from "../../core/bytes.ts";
import { UpkeepError } from "../../core/errors.ts";
import type { Limits } from "../limits.ts";
import { RepositoryError } from "../errors.ts";
import type { Root, Signed, Timestamp } from "../metadata.ts";
import { roleFile } from "../names.ts";
import { isReplaced, type RefreshTime } from "./known-time.ts";
import { accepted, type MetadataStore } from "./store.ts";
import {
  finalTimestamp,
  initialRoot,
  newTimestamp,
  nextRoot,
  wasRotated,
  type Minimums,
} from "../trusted-set.ts";

/** How one mirror did in one refresh; `failures` are error codes in the order they came. */
export type MirrorReport = {
  readonly name: string;
  readonly failures: readonly string[];
  /** The timestamp version it offered; lower than the one trusted means that it is stale. */
  readonly timestamp: number | null;
};

/** What the steps of one refresh share. */
export type RefreshContext = {
  readonly store: MetadataStore;
  readonly limits: Limits;
  readonly tools: RetryTools;
  readonly signal: AbortSignal | undefined;
  readonly reports: ReadonlyMap<Source, { failures: string[]; timestamp: number | null; alive: boolean }>;
};

/**
 * TUF 5.2 and 5.3. `trustedRoot` is where trust begins, else the stored root.
 * `known` is what this process verified before. Also says whether keys were rotated since `trustedRoot`.
 */
export async function latestRoot(
  context: RefreshContext,
  trustedRoot: Uint8Array | undefined,
  known: Signed<Root> | undefined,
): Promise<{ readonly root: Signed<Root>; readonly minimumsHold: boolean }> {
  const { store, limits } = context;
  const first = trustedRoot ?? (await store.load("root", limits.rootBytes));
  if (first === null) {
    throw new RepositoryError(
      "repository/no-root",
      "There is no trusted root to start from.",
      {},
      {
        hint: "Start with the root that was handed over with the program.",
      },
    );
  }
  // TUF 5.2: the root we were shipped with.
  const anchor = initialRoot(first);
  let root = known ?? anchor;

  // The chain that was walked before. Each link is verified again: nobody gains by writing into the store.
  for (;;) {
    const trusted = root;
    const next = await accepted(store.loadRoot(trusted.signed.version + 1, limits.rootBytes), (bytes) =>
      nextRoot(trusted, bytes),
    );
    if (next === null) break;
    root = next;
  }

  // TUF 5.3.3: no more than Y root versions at a time.
  for (let i = 0; i < limits.roots; i++) {
    const next = await rootAfter(context, root);
    if (next === null) break;
    // TUF 5.3.11: done before the new root is stored, so that a crash in between cannot keep fast-forwarded versions alive.
    if (
      wasRotated(root.signed, next.signed, "timestamp") ||
      wasRotated(root.signed, next.signed, "snapshot")
    ) {
      await store.remove("timestamp");
      await store.remove("snapshot");
    }
    await forgetNumbers(store, root.signed, next.signed);
    // TUF 5.3.7 and 5.3.8.
    await store.saveRoot(next.signed.version, next.bytes);
    await store.save("root", next.bytes);
    root = next;
  }
  const newest = await accepted(store.load("root", limits.rootBytes), (bytes) => bytes);
  if (newest === null || !equalBytes(newest, root.bytes)) await store.save("root", root.bytes);

  const rotated =
    wasRotated(anchor.signed, root.signed, "timestamp") || wasRotated(anchor.signed, root.signed, "snapshot");
  return { root, minimumsHold: !rotated };
}

/** Numbers under new keys say nothing about whether a file is older than the remembered time. */
async function forgetNumbers(store: MetadataStore, before: Root, after: Root): Promise<void> {
  const gone = (["timestamp", "snapshot"] as const).filter((role) => isReplaced(before, after, role));
  const known = gone.length === 0 ? null : await store.loadKnownTime();
  if (known === null) return;
  const versions = { ...known.versions, ...Object.fromEntries(gone.map((role) => [role, 0])) };
  await store.saveKnownTime({ ...known, versions });
}

/** TUF 5.3.3 to 5.3.5: the root after `root` that any mirror has, or null. */
async function rootAfter(context: RefreshContext, root: Signed<Root>): Promise<Signed<Root> | null> {
  const file = roleFile("root", root.signed.version + 1);
  const answers = await askAll(context, file, context.limits.rootBytes, (bytes) => nextRoot(root, bytes));
  if (answers.length === 0) return null;
  const found = answers.find((answer) => answer.value !== null);
  if (found !== undefined) return found.value;
  // One honest "there is none" is an answer; a mirror that sends rubbish instead must not stop us.
  if (answers.some((answer) => answer.failure?.error.code === "mirror/not-found")) return null;
  throw mostTelling(
    answers.flatMap((answer) => answer.failure ?? []),
    file,
  );
}

/** TUF 5.4: the newest timestamp any mirror has that passes, and the mirrors in order of freshness. */
export async function latestTimestamp(
  context: RefreshContext,
  root: Signed<Root>,
  stored: Signed<Timestamp> | null,
  minimums: Minimums,
  time: RefreshTime,
): Promise<{ readonly timestamp: Signed<Timestamp>; readonly ranking: readonly Source[] }> {
  const file = roleFile("timestamp");
  const answers = await askAll(context, file, context.limits.timestampBytes, (bytes) => {
    const timestamp = newTimestamp(root, stored, bytes, minimums);
    finalTimestamp(timestamp, time.consider);
    return timestamp;
  });
  if (answers.length === 0 && stored !== null) return { timestamp: stored, ranking: [] };
  const good = answers
    .flatMap(({ source, value }) => (value === null ? [] : [{ source, value }]))
    .sort((a, b) => b.value.signed.version - a.value.signed.version);
  for (const { source, value } of good) context.reports.get(source)!.timestamp = value.signed.version;
  const best = good[0];
  if (best === undefined)
    throw mostTelling(
      answers.flatMap((answer) => answer.failure ?? []),
      file,
    );
  const ranking = good.map((answer) => answer.source);
  const others = [...context.reports.keys()].filter((source) => !ranking.includes(source));
  return { timestamp: best.value, ranking: [...ranking, ...others] };
}

type Answer<T> = { readonly source: Source; readonly value: T | null; readonly failure: Failure | null };

/** Asks every mirror that answered so far, at once. A mirror that cannot be reached is left alone for the rest of this refresh. */
async function askAll<T>(
  context: RefreshContext,
  file: string,
  limit: number,
  check: (bytes: Uint8Array) => T,
): Promise<readonly Answer<T>[]> {
  const { reports, signal, tools } = context;
  const all = [...reports.keys()];
  const alive = all.filter((source) => reports.get(source)!.alive);
  return Promise.all(
    (alive.length > 0 ? alive : all).map(async (source): Promise<Answer<T>> => {
      try {
        return {
          source,
          value: await fetchFirst([source], file, limit, check, tools, { signal }),
          failure: null,
        };
      } catch (error) {
        if (!(error instanceof UpkeepError) || isAbort(error, signal)) throw error;
        if (error.code !== "mirror/not-found") reports.get(source)!.failures.push(error.code);
        if (error instanceof MirrorError && error.code !== "mirror/not-found")
          reports.get(source)!.alive = false;
        return { source, value: null, failure: { source, error } };
      }
    }),
  );
}
