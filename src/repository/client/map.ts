// Several repositories that must agree (TAP 4): a map says for which targets, which of them, and how many.

import { isJsonObject, parseJson, type Json, type JsonObject } from "../../core/json.ts";
import { UpkeepError } from "../../core/errors.ts";
import type { FetchOptions, RefreshResult, Repository, TargetInfo } from "./client.ts";
import { RepositoryError } from "../errors.ts";
import { Fields } from "../fields.ts";
import { matchesPattern } from "../glob.ts";
import { parseTargetName, type TargetName } from "../names.ts";

/** TAP 4. Entries are tried in order; the first whose paths cover the target and whose repositories agree decides. */
export type RepositoryMap = {
  /** Addresses of each repository's mirrors, by its name; the name also is the name of its folder. */
  readonly repositories: ReadonlyMap<string, readonly string[]>;
  readonly mapping: readonly MapEntry[];
};

export type MapEntry = {
  /** Patterns as in delegations; `*` alone covers every target, whatever its depth. */
  readonly paths: readonly string[];
  readonly repositories: readonly string[];
  /** How many of them must list the target with the same length and digests. */
  readonly threshold: number;
  /** Do not go on to the next entry if they don't. */
  readonly terminating: boolean;
};

/** Throws `repository/bad-map`; `facts.fields` lists what is wrong where. */
export function parseMap(bytes: Uint8Array): RepositoryMap {
  const refuse = (fields: readonly string[], cause?: unknown): RepositoryError =>
    new RepositoryError(
      "repository/bad-map",
      `The map file is not valid: ${fields.join("; ")}.`,
      { fields },
      { cause },
    );
  let value: Json;
  try {
    value = parseJson(bytes);
  } catch (cause) {
    if (!(cause instanceof UpkeepError)) throw cause;
    throw refuse([cause.message], cause);
  }
  if (!isJsonObject(value)) throw refuse(["(whole): expected an object"]);
  const f = new Fields();
  const repositories = repositoriesOf(f, value);
  const mapping = f
    .array(value, "mapping")
    .map((entry, i) => f.within(`mapping.${i}`, () => entryOf(f, f.asObject(entry), repositories)));
  if (mapping.length === 0) f.problem("mapping", "expected at least one entry");
  if (f.problems.length > 0) throw refuse(f.problems);
  return { repositories, mapping };
}

/** How the refresh of each repository went. */
export type MapRefresh = ReadonlyMap<string, RefreshResult | UpkeepError>;

export interface MappedRepositories {
  /** Refreshes all; one that fails does not stop the others, and is missing from every count until it succeeds. */
  refresh(signal?: AbortSignal): Promise<MapRefresh>;
  /** Null if no entry's repositories list the target at all. Throws `repository/no-quorum` if they do not agree or too few answer. */
  target(name: string, signal?: AbortSignal): Promise<MappedTarget | null>;
  /** From the first repository that can deliver what all agreed upon. */
  fetchTarget(target: MappedTarget, path: string, options: FetchOptions): Promise<void>;
}

/** A target that enough repositories list alike. */
export type MappedTarget = Pick<TargetInfo, "name" | "length" | "hashes"> & {
  /** The repositories that agree, and what each says; `custom` may differ. */
  readonly by: ReadonlyMap<string, TargetInfo>;
};

/** `repositories` must hold every name of the map. Throws `repository/bad-map` if one is missing. */
export function openMap(
  map: RepositoryMap,
  repositories: ReadonlyMap<string, Repository>,
): MappedRepositories {
  for (const name of map.repositories.keys()) {
    if (repositories.has(name)) continue;
    throw new RepositoryError("repository/bad-map", `The repository ${name} of the map was not opened.`, {
      repository: name,
    });
  }
  let failed = new Map<string, UpkeepError>();

  async function refresh(signal?: AbortSignal): Promise<MapRefresh> {
    const results = new Map<string, RefreshResult | UpkeepError>();
    const failures = new Map<string, UpkeepError>();
    for (const name of map.repositories.keys()) {
      try {
        results.set(name, await repositories.get(name)!.refresh(signal));
      } catch (error) {
        if (!(error instanceof UpkeepError) || signal?.aborted === true) throw error;
        failures.set(name, error);
        results.set(name, error);
      }
    }
    failed = failures;
    return results;
  }

  async function target(text: string, signal?: AbortSignal): Promise<MappedTarget | null> {
    const name = parseTargetName(text);
    let refusal: RepositoryError | null = null;
    for (const entry of map.mapping) {
      if (!entry.paths.some((pattern) => pattern === "*" || matchesPattern(pattern, name))) continue;
      const found = new Map<string, TargetInfo>();
      const failures = new Map<string, UpkeepError>();
      for (const repository of entry.repositories) {
        try {
          const failure = failed.get(repository);
          if (failure !== undefined) throw failure;
          const info = await repositories.get(repository)!.target(name, signal);
          if (info !== null) found.set(repository, info);
        } catch (error) {
          if (!(error instanceof UpkeepError) || signal?.aborted === true) throw error;
          failures.set(repository, error);
        }
      }
      const agreed = agreement(name, found, entry.threshold);
      if (agreed !== null) return agreed;
      if (found.size > 0 || failures.size > 0) refusal ??= noQuorum(name, entry, found, failures);
      if (entry.terminating) break;
    }
    if (refusal !== null) throw refusal;
    return null;
  }

  async function fetchTarget(target: MappedTarget, path: string, options: FetchOptions): Promise<void> {
    const failures: unknown[] = [];
    for (const [name, info] of target.by) {
      try {
        // What one repository delivers must fit what all of them list.
        return await repositories.get(name)!.fetchTarget({ ...info, hashes: target.hashes }, path, options);
      } catch (error) {
        if (!(error instanceof UpkeepError) || options.signal?.aborted === true) throw error;
        failures.push(error);
      }
    }
    throw failures[0];
  }

  return { refresh, target, fetchTarget };
}

/** TAP 4: the same length and hashes; each group shares a strong digest, and nobody in it contradicts another known one. */
function agreement(
  name: TargetName,
  found: ReadonlyMap<string, TargetInfo>,
  threshold: number,
): MappedTarget | null {
  for (const algorithm of ["sha512", "sha256"] as const) {
    const groups = new Map<string, Map<string, TargetInfo>>();
    for (const [repository, info] of found) {
      const digest = info.hashes[algorithm];
      if (digest === undefined) continue;
      const key = `${info.length} ${digest}`;
      groups.set(key, (groups.get(key) ?? new Map<string, TargetInfo>()).set(repository, info));
    }
    for (const by of groups.values()) {
      if (by.size < threshold) continue;
      const infos = [...by.values()];
      const same = (other: "sha256" | "sha512"): boolean =>
        new Set(infos.flatMap((info) => info.hashes[other] ?? [])).size <= 1;
      if (!same("sha256") || !same("sha512")) continue;
      const hashes = Object.assign({}, ...infos.map((info) => info.hashes)) as TargetInfo["hashes"];
      return { name, length: infos[0]!.length, hashes, by };
    }
  }
  return null;
}

function noQuorum(
  name: string,
  entry: MapEntry,
  found: ReadonlyMap<string, TargetInfo>,
  failures: ReadonlyMap<string, UpkeepError>,
): RepositoryError {
  const absent = entry.repositories.filter(
    (repository) => !found.has(repository) && !failures.has(repository),
  );
  const parts = [
    ...(found.size > 0 ? [`${[...found.keys()].join(", ")} list(s) it`] : []),
    ...(absent.length > 0 ? [`${absent.join(", ")} do(es) not`] : []),
    ...[...failures].map(([repository, error]) => `${repository} failed (${error.code})`),
  ];
  return new RepositoryError(
    "repository/no-quorum",
    `${entry.threshold} of the repositories ${entry.repositories.join(", ")} must list ${name} alike, and do not: ${parts.join("; ")}.`,
    {
      target: name,
      threshold: entry.threshold,
      listed: [...found.keys()],
      absent,
      failed: [...failures.keys()],
    },
    { cause: [...failures.values()][0] },
  );
}

/** A repository's name becomes a folder's name. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

function repositoriesOf(f: Fields, o: JsonObject): ReadonlyMap<string, readonly string[]> {
  const repositories = new Map<string, readonly string[]>();
  const listed = f.object(o, "repositories");
  for (const name of Object.keys(listed)) {
    if (!NAME.test(name))
      f.problem(`repositories.${name}`, "expected letters, digits, dots, dashes, underscores, at most 64");
    const urls = f.within("repositories", () =>
      f.array(listed, name).map((url, i) => f.asString(url, `${name}.${i}`)),
    );
    repositories.set(name, urls);
  }
  if (repositories.size === 0) f.problem("repositories", "expected at least one");
  return repositories;
}

function entryOf(f: Fields, o: JsonObject, known: ReadonlyMap<string, unknown>): MapEntry {
  const texts = (member: string): readonly string[] => {
    const list = f.array(o, member).map((text, i) => f.asString(text, `${member}.${i}`));
    if (list.length === 0) f.problem(member, "expected at least one");
    return list;
  };
  const repositories = texts("repositories");
  for (const name of repositories)
    if (!known.has(name)) f.problem("repositories", `${name} is not listed above`);
  // The same repository twice would agree with itself.
  if (new Set(repositories).size !== repositories.length) f.problem("repositories", "a name appears twice");
  const threshold = f.integer(o, "threshold", 1);
  if (threshold > repositories.length) f.problem("threshold", "more than there are repositories");
  return { paths: texts("paths"), repositories, threshold, terminating: f.boolean(o, "terminating") };
}
