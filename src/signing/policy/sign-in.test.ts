// Tests of who signs in: by which key, which token, which password and code, and how often nobody may guess.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseInstant } from "../../core/instant.ts";
import { systemRandom } from "../../io/system/random.ts";
import { sealWith } from "../custody/custody.ts";
import { Budgets } from "./budget.ts";
import type { SignerConfig } from "./config.ts";
import { hashPassword } from "./password.ts";
import { FAILURE_BUDGET, identify, type SignInPorts } from "./sign-in.ts";
import { stepOf, totpAt } from "./totp.ts";

const NOW = parseInstant("2026-11-23T12:00:00Z");
const KEY = new Uint8Array(32).fill(3);
const TOTP = new Uint8Array(20).fill(9);
const sealed = sealWith(KEY, TOTP, "totp alice", systemRandom);
const password = await hashPassword("correct horse", systemRandom);
const alice = { kind: "person", password, totp: `${sealed.nonce}.${sealed.ciphertext}` };
const config = {
  users: {
    build: { kind: "machine", keys: ["k1", "k2"] },
    old: { kind: "machine", keys: ["k3"], expires: "2026-11-23T12:00:00Z" },
    young: { kind: "machine", keys: ["k4"], expires: "2026-11-23T12:00:01Z" },
    alice,
    mallory: { ...alice },
    pipeline: { kind: "ci", keys: ["k5"] },
  },
} as unknown as SignerConfig;

function world(change: Partial<SignInPorts> = {}): SignInPorts & { readonly claimed: string[] } {
  const claimed: string[] = [];
  const holders = new Map<string, string>();
  return {
    claimed,
    service: { config },
    clock: { now: () => NOW, monotonic: () => 0, sleep: async () => {} },
    ledger: {
      claim: (what: string, spki: string) => {
        claimed.push(what);
        const holder = holders.get(what) ?? spki;
        holders.set(what, holder);
        return holder === spki;
      },
    },
    tokens: { check: async () => ({ user: "pipeline", used: "oidc:ci:1" }) },
    sealKey: KEY,
    failures: new Budgets(FAILURE_BUDGET),
    ...change,
  };
}
const code = (step = stepOf(NOW)): string => totpAt(TOTP, step);
const byPassword = (ports: SignInPorts, change: object = {}, spki = "k9", address = "a") =>
  identify(
    { method: "password", user: "alice", password: "correct horse", code: code(), ...change },
    spki,
    address,
    ports,
  );
const refused = (what: RegExp) => ({ code: "signing/refused", message: what });

describe("a machine", () => {
  it("is known by any of its keys, as long as it is not expired", async () => {
    const by = (spki: string) => identify({ method: "key" }, spki, "a", world());
    assert.deepEqual(
      [await by("k1"), await by("k2"), await by("k4")],
      [{ user: "build" }, { user: "build" }, { user: "young" }],
    );
    await assert.rejects(by("k3"), refused(/old expired/));
    await assert.rejects(by("k9"), refused(/no user has this key/));
    // The keys of other kinds of users open nothing.
    await assert.rejects(by("k5"), refused(/no user has this key/));
  });
});

describe("a pipeline", () => {
  it("may come again with its token and the same key, and nobody with another key", async () => {
    const ports = world();
    const by = (spki: string) => identify({ method: "oidc", token: "t" }, spki, "a", ports);
    assert.deepEqual(await by("k1"), { user: "pipeline", used: "oidc:ci:1" });
    assert.equal((await by("k1")).user, "pipeline");
    await assert.rejects(by("k2"), refused(/used before with another key/));
  });
});

describe("a person", () => {
  it("needs password and code, both right", async () => {
    const { user, used } = await byPassword(world());
    assert.deepEqual([user, used], ["alice", `totp:alice:${stepOf(NOW)}`]);
    await assert.rejects(byPassword(world(), { password: "wrong" }), refused(/password is wrong/));
    await assert.rejects(byPassword(world(), { code: code(stepOf(NOW) + 9) }), refused(/code is wrong/));
    for (const user of ["nobody", "build", "pipeline"])
      await assert.rejects(byPassword(world(), { user }), refused(/no such person/), user);
  });

  it("whose code secret was sealed for another name, or under another secret, does not come in", async () => {
    await assert.rejects(byPassword(world(), { user: "mallory" }), refused(/cannot be opened/));
    await assert.rejects(byPassword(world({ sealKey: new Uint8Array(32) })), refused(/cannot be opened/));
  });

  it("uses a code once, but for the same key", async () => {
    const ports = world();
    await byPassword(ports);
    await byPassword(ports);
    await assert.rejects(byPassword(ports, {}, "k8"), refused(/used before, with another key/));
    assert.deepEqual(new Set(ports.claimed), new Set([`totp:alice:${stepOf(NOW)}`]));
  });

  it("is not looked at after too many failures of the user or of the address", async () => {
    for (const spent of ["user alice", "address a"]) {
      const failures = new Budgets(FAILURE_BUDGET);
      for (let i = 0; i < FAILURE_BUDGET.burst; i++) assert.ok(failures.take(spent, 0));
      const ports = world({ failures });
      await assert.rejects(byPassword(ports), refused(/too many failed sign-ins/), spent);
      assert.deepEqual(ports.claimed, []);
    }
  });
});
