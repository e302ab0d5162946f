// What one refresh may keep in memory and what it reads again: to the second of an expiry, and to the byte of a limit.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { SECOND, type Instant } from "../../core/instant.ts";
import { NO_RETRY } from "../../mirror/fetch.ts";
import { RepositorySimulator } from "../../testing/repository-simulator.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { NO_EXTRA } from "../metadata.ts";
import { DEFAULT_LIMITS } from "../limits.ts";
import { parseTargetName } from "../names.ts";
import { initialRoot, storedTimestamp } from "../trusted-set.ts";
import { RefreshTime } from "./known-time.ts";
import { findTarget, loadSnapshot, loadTargets, type LoadContext, type Session } from "./session.ts";
import { memoryStore } from "./store.ts";

async function world(edit: (repo: RepositorySimulator) => void = () => {}) {
  const repo = await RepositorySimulator.create();
  edit(repo);
  await repo.publish();
  const clock = new ScriptedClock("2026-11-21T04:00:00Z");
  const context = (limits: Partial<LoadContext["limits"]> = {}): LoadContext => ({
    store: memoryStore(),
    limits: { ...DEFAULT_LIMITS, ...limits },
    tools: { clock, random: { bytes: (length) => new Uint8Array(length) }, retry: NO_RETRY },
    signal: undefined,
  });
  const root = initialRoot(repo.rootBytes(1));
  /** A refresh that begins at `start`, with nothing remembered of time. */
  const session = ({
    start = clock.now(),
    ...changes
  }: Partial<Session> & { start?: Instant } = {}): Session => ({
    time: new RefreshTime(start, null, root.signed),
    root,
    timestamp: storedTimestamp(root, repo.source.files.get("metadata/timestamp.json")!),
    snapshot: null,
    roles: new Map(),
    mirrors: [repo.mirror],
    ...changes,
  });
  return { repo, context, session };
}

describe("a snapshot in memory", () => {
  it("is used until the very second of its expiry (indefinite freeze attack)", async () => {
    const { repo, context, session } = await world();
    const snapshot = await loadSnapshot(context(), session());
    repo.source.requests.length = 0;
    const { expires } = snapshot.signed;
    assert.equal(await loadSnapshot(context(), session({ snapshot, start: expires - SECOND })), snapshot);
    assert.deepEqual(repo.source.requests, []);
    await assert.rejects(loadSnapshot(context(), session({ snapshot, start: expires })), {
      code: "repository/expired",
    });
  });
});

describe("a role in memory", () => {
  it("is used until the very second of its expiry (indefinite freeze attack)", async () => {
    const { repo, context, session } = await world((repo) => {
      // Outlived by its snapshot, so that nothing else ends first.
      repo.targets.expires = repo.snapshot.expires - SECOND;
    });
    const first = session();
    const targets = await loadTargets(context(), first);
    repo.source.requests.length = 0;
    const { snapshot, roles } = first;
    const { expires } = targets.signed;
    const before = session({ snapshot, roles, start: expires - SECOND });
    assert.equal(await loadTargets(context(), before), targets);
    assert.deepEqual(repo.source.requests, []);
    await assert.rejects(loadTargets(context(), session({ snapshot, roles, start: expires })), {
      code: "repository/expired",
    });
  });
});

describe("metadata of a listed length", () => {
  it("is fetched up to what is accepted, and beyond that not even asked for (endless data attack)", async () => {
    const length = 5000;
    const { repo, context, session } = await world();
    const first = session();
    const snapshot = await loadSnapshot(context(), first);
    const meta = new Map([["targets", { version: 1, length, extra: NO_EXTRA }]]);
    const listed = { ...snapshot, signed: { ...snapshot.signed, meta } };
    repo.source.requests.length = 0;
    await assert.rejects(loadTargets(context({ targetsBytes: length - 1 }), session({ snapshot: listed })), {
      code: "repository/limit",
      facts: { role: "targets", length, limit: length - 1 },
    });
    assert.deepEqual(repo.source.requests, []);
    // At the limit it is asked for; that it then has another length is another refusal.
    await assert.rejects(
      loadTargets(context({ targetsBytes: length }), session({ snapshot: listed })),
      ({ code }: { readonly code: string }) => code !== "repository/limit",
    );
    assert.ok(repo.source.requests.length > 0);
  });
});

describe("the search for a target", () => {
  it("asks as many roles as the limit says, and not one more", async () => {
    const { context, session } = await world((repo) => {
      repo.delegate("targets", "a", {});
      repo.addTarget("file", toUtf8("x"), "a");
    });
    const name = parseTargetName("file");
    assert.equal((await findTarget(context({ roles: 2 }), session(), name))?.role, "a");
    await assert.rejects(findTarget(context({ roles: 1 }), session(), name), { code: "repository/limit" });
  });
});
