// What one refresh established, and the roles that are loaded and verified under it as they are needed.

import { fetchFirst, type RetryTools } from "../../mirror/fetch.ts";
import type { Source } from "../../mirror/source.ts";
import { delegatesFor } from "../delegations.ts";
import { RepositoryError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type {
  MetaFile,
  Root,
  RoleKeys,
  Signed,
  Snapshot,
  TargetFile,
  Targets,
  Timestamp,
} from "../metadata.ts";
import { roleFile, type TargetName } from "../names.ts";
import type { RefreshTime } from "./known-time.ts";
import { accepted, type MetadataStore } from "./store.ts";
import { listedRole, newSnapshot, newTargets, storedSnapshot, type Delegator } from "../trusted-set.ts";

/** A verified role without its bytes, which may be many. */
export type Verified<T extends Snapshot | Targets> = { readonly signed: T; readonly length: number };

/** What one refresh established. Later calls work on this and never on a mixture. */
export type Session = {
  readonly time: RefreshTime;
  readonly root: Signed<Root>;
  readonly timestamp: Signed<Timestamp>;
  snapshot: Verified<Snapshot> | null;
  /** Verified roles, with the delegator they were verified against. */
  readonly roles: Map<string, { readonly delegator: RoleKeys; readonly targets: Verified<Targets> }>;
  /** Mirrors, freshest first. */
  readonly mirrors: readonly { readonly metadata: Source; readonly targets: Source }[];
};

/** What loading needs of the world. */
export type LoadContext = {
  readonly store: MetadataStore;
  readonly limits: Limits;
  readonly tools: RetryTools;
  readonly signal: AbortSignal | undefined;
};

/** TUF 5.5. */
export async function loadSnapshot(context: LoadContext, session: Session): Promise<Verified<Snapshot>> {
  const { store, limits } = context;
  const { root, timestamp } = session;
  const start = session.time.judge;
  if (session.snapshot !== null && session.snapshot.signed.expires > session.time.start)
    return session.snapshot;
  const bytes = await accepted(store.load("snapshot", limits.snapshotBytes), (bytes) => bytes);
  let snapshot = await accepted(bytes, (bytes) => newSnapshot(root, timestamp, null, bytes, start));
  if (snapshot === null) {
    // Whatever its hash says today, what we trusted before bounds the versions (TUF 5.5.5).
    const trusted = await accepted(bytes, (bytes) => storedSnapshot(root, bytes));
    const listed = timestamp.signed.snapshot;
    snapshot = await fetchRole(context, session, "snapshot", listed, limits.snapshotBytes, (bytes) =>
      newSnapshot(root, timestamp, trusted, bytes, start),
    );
    await store.save("snapshot", snapshot.bytes);
  }
  session.snapshot = verified(snapshot);
  return session.snapshot;
}

/** TUF 5.6.1 to 5.6.6: the top-level targets role. */
export function loadTargets(context: LoadContext, session: Session): Promise<Verified<Targets>> {
  return loadRole(context, session, "targets", topLevel(session));
}

/** TUF 5.6.1 to 5.6.6, for `targets` and delegated roles alike. */
async function loadRole(
  context: LoadContext,
  session: Session,
  name: string,
  delegator: Delegator,
): Promise<Verified<Targets>> {
  const { store, limits } = context;
  const known = session.roles.get(name);
  // A role that was verified against another delegator must convince this one too.
  const fresh = known !== undefined && known.targets.signed.expires > session.time.start;
  if (fresh && known.delegator === delegator.role) return known.targets;
  const snapshot = await loadSnapshot(context, session);
  const verify = (bytes: Uint8Array): Signed<Targets> =>
    newTargets(snapshot, name, delegator, bytes, session.time.judge);
  const listed = listedRole(snapshot, name);
  let targets = await accepted(store.load(name, limits.targetsBytes), verify);
  if (targets === null) {
    targets = await fetchRole(context, session, name, listed, limits.targetsBytes, verify);
    await store.save(name, targets.bytes);
  }
  const loaded = { delegator: delegator.role, targets: verified(targets) };
  session.roles.set(name, loaded);
  return loaded.targets;
}

/** TUF 5.6.7: the first role, in pre-order depth-first, that lists the target. Throws `repository/limit` and what loading throws. */
export async function findTarget(
  context: LoadContext,
  session: Session,
  name: TargetName,
): Promise<{ readonly role: string; readonly file: TargetFile } | null> {
  const { roles: limit } = context.limits;
  type Step = { readonly name: string; readonly delegator: Delegator };
  let stack: Step[] = [{ name: "targets", delegator: topLevel(session) }];
  const visited = new Set<string>();
  for (let step = stack.pop(); step !== undefined; step = stack.pop()) {
    // TUF 5.6.7.1: cycles are cut, and the number of roles is bounded.
    if (visited.has(step.name)) continue;
    if (visited.size >= limit) {
      throw new RepositoryError(
        "repository/limit",
        `The target ${name} was not found in the first ${limit} roles; more are not searched.`,
        { target: name, limit },
      );
    }
    const { signed } = await loadRole(context, session, step.name, step.delegator);
    visited.add(step.name);
    const file = signed.targets.get(name);
    if (file !== undefined) return { role: step.name, file };
    const { delegations } = signed;
    if (delegations === null) continue;
    const next: Step[] = [];
    for (const delegate of delegatesFor(delegations, name)) {
      next.push({ name: delegate.name, delegator: { keys: delegations.keys, role: delegate.role } });
      // TUF 5.6.7.2.1: after a terminating delegation nothing else is asked.
      if (delegate.terminating) {
        stack = [];
        break;
      }
    }
    stack.push(...next.toReversed());
  }
  return null;
}

async function fetchRole<T>(
  context: LoadContext,
  session: Session,
  name: string,
  listed: MetaFile,
  limit: number,
  check: (bytes: Uint8Array) => T,
): Promise<T> {
  // TUF 5.5.1, 5.6.1: up to the listed length, or what the application sets.
  if (listed.length !== undefined && listed.length > limit) {
    throw new RepositoryError(
      "repository/limit",
      `The ${name} metadata is ${listed.length} bytes long, and at most ${limit} are accepted.`,
      { role: name, length: listed.length, limit },
    );
  }
  const file = roleFile(name, session.root.signed.consistentSnapshot ? listed.version : undefined);
  const sources = session.mirrors.map((mirror) => mirror.metadata);
  const { tools, signal } = context;
  return fetchFirst(sources, file, listed.length ?? limit, check, tools, { signal });
}

function topLevel({ root }: Session): Delegator {
  return { keys: root.signed.keys, role: root.signed.roles.targets };
}

function verified<T extends Snapshot | Targets>({ signed, bytes }: Signed<T>): Verified<T> {
  return { signed, length: bytes.length };
}
