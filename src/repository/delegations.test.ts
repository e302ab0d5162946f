// Delegations: who is asked for a target, in which order, and where the search ends.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { NO_RETRY } from "../mirror/fetch.ts";
import { newSigner, RepositorySimulator } from "../testing/repository-simulator.ts";
import { ScriptedClock } from "../testing/scripted-clock.ts";
import { openRepository, type Repository } from "./client/client.ts";
import { NO_EXTRA } from "./metadata.ts";
import { targetNameHash } from "./names.ts";
import { memoryStore } from "./client/store.ts";
import { matchesPattern } from "./glob.ts";

async function refreshed(repo: RepositorySimulator, limits: { roles?: number } = {}): Promise<Repository> {
  await repo.publish();
  const repository = openRepository({
    mirrors: [repo.mirror],
    store: memoryStore(),
    clock: new ScriptedClock("2026-11-21T04:00:00Z"),
    random: { bytes: (length) => new Uint8Array(length) },
    retry: NO_RETRY,
    trustedRoot: repo.rootBytes(1),
    limits,
  });
  await repository.refresh();
  repo.source.requests.length = 0;
  return repository;
}

const asked = (repo: RepositorySimulator): string[] =>
  repo.source.requests.map((path) => path.replace(/^metadata\/\d+\./, "").replace(".json", ""));

describe("the search for a target", () => {
  // Edges as "from>to", "!" ends a terminating one. The order is pre-order, depth first.
  const graphs: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ["a chain", ["targets>a", "a>b", "b>c"], ["a", "b", "c"]],
    ["two branches", ["targets>a", "targets>b", "a>c", "b>d"], ["a", "c", "b", "d"]],
    ["a diamond", ["targets>a", "targets>b", "a>c", "b>c"], ["a", "c", "b"]],
    ["a cycle", ["targets>a", "a>b", "b>a"], ["a", "b"]],
    ["a role that delegates to itself", ["targets>a", "a>a"], ["a"]],
    ["a terminating first branch", ["targets>a!", "targets>b", "a>c"], ["a", "c"]],
    ["a terminating second branch", ["targets>a", "targets>b!", "targets>c", "a>d"], ["a", "d", "b"]],
    ["a terminating branch below", ["targets>a", "targets>b", "a>c!", "a>d"], ["a", "c"]],
  ];
  for (const [name, edges, order] of graphs) {
    it(`visits ${name} in the order ${order.join(" ")}`, async () => {
      const repo = await RepositorySimulator.create();
      for (const edge of edges) {
        const [from, to] = edge.replace("!", "").split(">");
        repo.delegate(from!, to!, { terminating: edge.endsWith("!") });
      }
      const repository = await refreshed(repo);
      assert.equal(await repository.target("nowhere"), null);
      assert.deepEqual(asked(repo), order);
    });
  }

  it("ends with the first role that lists the target", async () => {
    const repo = await RepositorySimulator.create();
    repo.delegate("targets", "a", {});
    repo.delegate("targets", "b", {});
    repo.addTarget("file", toUtf8("of a"), "a");
    repo.addTarget("file", toUtf8("of b"), "b");
    const repository = await refreshed(repo);
    assert.equal((await repository.target("file"))?.role, "a");
    assert.deepEqual(asked(repo), ["a"]);
  });

  it("believes a role nothing outside its paths", async () => {
    const repo = await RepositorySimulator.create();
    repo.delegate("targets", "product", { paths: ["products/p/*/*"] });
    repo.addTarget("products/q/1/file", toUtf8("x"), "product");
    repo.addTarget("products/p/1/file", toUtf8("x"), "product");
    const repository = await refreshed(repo);
    assert.equal(await repository.target("products/q/1/file"), null);
    assert.deepEqual(asked(repo), []);
    assert.equal((await repository.target("products/p/1/file"))?.role, "product");
  });

  it("does not follow the 33rd role, and says so", async () => {
    const repo = await RepositorySimulator.create();
    for (let i = 0; i < 40; i++) repo.delegate(i === 0 ? "targets" : `r${i - 1}`, `r${i}`, {});
    const repository = await refreshed(repo);
    await assert.rejects(repository.target("nowhere"), { code: "repository/limit" });
    assert.equal(asked(repo).length, 31);
    const patient = await refreshed(repo, { roles: 50 });
    assert.equal(await patient.target("nowhere"), null);
  });

  it("is not slowed down by ten thousand roles that do not speak for the target", async () => {
    const repo = await RepositorySimulator.create();
    const signer = newSigner();
    for (let i = 0; i < 10_000; i++) {
      repo.signers.set(`r${i}`, [signer]);
      repo.delegate("targets", `r${i}`, { paths: [`p${i}/*`] });
    }
    repo.delegated.clear();
    repo.delegate("targets", "last", { paths: ["last/*"] });
    repo.addTarget("last/file", toUtf8("x"), "last");
    const repository = await refreshed(repo);
    assert.equal((await repository.target("last/file"))?.role, "last");
    assert.deepEqual(asked(repo), ["last"]);
  });

  it("verifies a role again for each delegator that names it", async () => {
    const repo = await RepositorySimulator.create();
    repo.delegate("targets", "a", { paths: ["a-*"] });
    repo.delegate("targets", "b", { paths: ["b-*"] });
    repo.delegate("a", "shared", {});
    repo.delegate("b", "shared", {});
    const stranger = newSigner().publicKey;
    const [entry] = repo.role("b").delegations!.roles;
    entry!.keyids = [stranger.keyid];
    repo.role("b").delegations!.keys.set(stranger.keyid, stranger.tuf);
    repo.addTarget("a-file", toUtf8("x"), "shared");
    repo.addTarget("b-file", toUtf8("x"), "shared");
    const repository = await refreshed(repo);
    assert.equal((await repository.target("a-file"))?.role, "shared");
    await assert.rejects(repository.target("b-file"), { code: "repository/unsigned" });
  });

  it("refuses a delegated role that the snapshot does not list", async () => {
    const repo = await RepositorySimulator.create();
    repo.delegate("targets", "ghost", {});
    repo.delegated.delete("ghost");
    const repository = await refreshed(repo);
    await assert.rejects(repository.target("file"), { code: "repository/role-missing" });
  });

  it("takes role names for names and not for paths", async () => {
    for (const name of ["../up", "a/b", "?", "#", "é", "constructor", "12"]) {
      const repo = await RepositorySimulator.create();
      repo.delegate("targets", name, {});
      repo.addTarget("file", toUtf8("x"), name);
      const repository = await refreshed(repo);
      assert.equal((await repository.target("file"))?.role, name);
      assert.match(repo.source.requests[0]!, /^metadata\/1\.[A-Za-z0-9._~%-]+\.json$/);
    }
  });
});

describe("hash bins", () => {
  it("asks exactly the bin of the target by path_hash_prefixes", async () => {
    const repo = await RepositorySimulator.create();
    for (const digit of "0123456789abcdef")
      repo.delegate("targets", `bin-${digit}`, { pathHashPrefixes: [digit] });
    const bin = `bin-${targetNameHash("file")[0]!}`;
    repo.addTarget("file", toUtf8("x"), bin);
    const repository = await refreshed(repo);
    assert.equal((await repository.target("file"))?.role, bin);
    assert.deepEqual(asked(repo), [bin]);
  });

  for (const bits of [1, 3, 4, 7]) {
    it(`asks exactly the bin of the target among 2^${bits} succinct ones (TAP 15)`, async () => {
      const repo = await RepositorySimulator.create();
      repo.delegateToBins("targets", bits, "bin");
      const index = Number.parseInt(targetNameHash("file").slice(0, 8), 16) >>> (32 - bits);
      const bin = `bin-${index.toString(16).padStart(Math.ceil(bits / 4), "0")}`;
      repo.addTarget("file", toUtf8("x"), bin);
      const repository = await refreshed(repo);
      assert.equal((await repository.target("file"))?.role, bin);
      assert.deepEqual(asked(repo), [bin]);
    });
  }

  it("end the search: what the bin does not list, no other role is asked for (TAP 15)", async () => {
    const repo = await RepositorySimulator.create();
    repo.delegate("targets", "product", { paths: ["file"] });
    repo.delegate("targets", "other", { paths: ["file"] });
    repo.delegateToBins("product", 1, "bin");
    repo.addTarget("file", toUtf8("x"), "other");
    const repository = await refreshed(repo);
    assert.equal(await repository.target("file"), null);
    assert.ok(!asked(repo).includes("other"));
  });
});

describe("a delegation key", () => {
  it("of a kind we do not know is skipped while the threshold is met without it", async () => {
    const repo = await RepositorySimulator.create();
    repo.delegate("targets", "a", {});
    const delegations = repo.targets.delegations!;
    delegations.keys.set("future", { keytype: "quantum", scheme: "quantum/9", keyval: { public: "??" } });
    delegations.roles[0]!.keyids.unshift("future", "unlisted");
    repo.addTarget("file", toUtf8("x"), "a");
    const repository = await refreshed(repo);
    assert.equal((await repository.target("file"))?.role, "a");
    delegations.roles[0] = { ...delegations.roles[0]!, keyids: ["future"], extra: NO_EXTRA };
    const other = await refreshed(repo);
    await assert.rejects(other.target("file"), { code: "repository/unsigned" });
  });
});

describe("a path pattern", () => {
  const rows: readonly (readonly [string, string, boolean])[] = [
    ["*", "file", true],
    ["*", ".hidden", true],
    ["*", "a/b", false],
    ["a/*", "a/b", true],
    ["a/*", "a/b/c", false],
    ["a*b*c", "aXXbYYc", true],
    ["a*b*c", "aXXbYY", false],
    ["?.txt", "a.txt", true],
    ["?.txt", ".txt", false],
    ["a?b", "a/b", false],
    ["[abc]x", "bx", true],
    ["[!abc]x", "bx", false],
    ["[!abc]x", "dx", true],
    ["[a-c]x", "bx", true],
    ["[a-c]x", "dx", false],
    ["[]]x", "]x", true],
    ["[ab", "[ab", true],
    ["{a,b}.txt", "a.txt", false],
    ["!secret", "public", false],
    ["#notes", "#notes", true],
    ["**", "a/b", false],
    ["", "", true],
    ["A", "a", false],
  ];
  for (const [pattern, name, expected] of rows) {
    it(`${pattern} ${expected ? "matches" : "does not match"} ${name}`, () => {
      assert.equal(matchesPattern(pattern, name), expected);
    });
  }

  it("with many stars takes no time to fail", () => {
    assert.equal(matchesPattern("*a".repeat(200), "a".repeat(1000) + "b"), false);
  });
});
