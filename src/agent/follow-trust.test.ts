// A check follows the repository's list of authorities before it speaks to the server, and is not stopped by a bad one.

import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { makeDirectories } from "../core/disk.ts";
import { createAuthority, type Authority } from "../identity/authority.ts";
import { openBundleKeeper } from "../identity/bundle-keeper.ts";
import { firstBundle, serialiseTrustBundle, withPrepared } from "../identity/trust-bundle.ts";
import { localSigner } from "../keys/signer.ts";
import { MirrorError } from "../mirror/errors.ts";
import { TRUST_BUNDLE_TARGET } from "../release/target-names.ts";
import { AgentWorld } from "../testing/agent-world.ts";
import { DAY_ZERO } from "../testing/fleet-of-one.ts";
import { followTrust } from "./follow-trust.ts";

const random = { bytes: (n: number) => new Uint8Array(randomBytes(n)) };
const newAuthority = (name: string): Promise<Authority> => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  return createAuthority({
    name,
    signer: localSigner(privateKey, "ecdsa-sha2-nistp256"),
    now: DAY_ZERO,
    random,
  });
};
const [server, device, spare, other] = await Promise.all(["s", "d", "s2", "d2"].map(newAuthority));
const first = firstBundle(server!.certificate, device!.certificate);
const second = withPrepared(first, "server", spare!.certificate);

/** An agent that keeps the list on its disk, and notes when a new one held. */
async function trustingDevice() {
  const world = new AgentWorld();
  await makeDirectories(world.disk, "/agent/identity", 0o700);
  const keeper = await openBundleKeeper(world.disk, "/agent/identity/bundle.json");
  const told: string[] = [];
  world.trust = {
    get bundleSha256() {
      return keeper.sha256;
    },
    take: async (bytes) => {
      if (await keeper.take(bytes))
        told.push(`${keeper.bundle!.seq} after ${world.fleet.checkIns.length} check-ins`);
    },
  };
  const publish = (bytes: Uint8Array): void => void world.fleet.targets.set(TRUST_BUNDLE_TARGET, bytes);
  const agent = await world.open();
  await agent.start();
  return { world, keeper, told, publish, agent };
}

describe("a check", () => {
  it("does without a list of authorities, as before there was one", async () => {
    const { agent, told, keeper } = await trustingDevice();
    assert.equal((await agent.check("schedule")).failure, null);
    assert.deepEqual([told, keeper.bundle], [[], null]);
  });

  it("takes a new list over before the server is asked, and the same one once", async () => {
    const { agent, told, publish } = await trustingDevice();
    publish(serialiseTrustBundle(first));
    await agent.check("schedule");
    await agent.check("schedule");
    publish(serialiseTrustBundle(second));
    assert.equal((await agent.check("schedule")).failure, null);
    assert.deepEqual(told, ["1 after 0 check-ins", "2 after 2 check-ins"]);
  });

  it("goes on with the old trust when the list is older, cut or contradicts, and tells people (bundle rollback)", async () => {
    const { agent, keeper, publish, world } = await trustingDevice();
    const good = serialiseTrustBundle(second);
    publish(good);
    await agent.check("schedule");
    const twin = withPrepared(first, "device", other!.certificate);
    const bad = [
      [serialiseTrustBundle(first), "identity/old-bundle"],
      [serialiseTrustBundle(twin), "identity/old-bundle"],
      [good.subarray(0, 500), /^json\//],
      [serialiseTrustBundle({ seq: 9, authorities: twin.authorities }), "identity/bad-bundle"],
    ] as const;
    for (const [bytes, code] of bad) {
      publish(bytes);
      assert.equal((await agent.check("schedule")).failure, null, "the check is not stopped");
      const [notice, ...more] = (await agent.status()).notices;
      assert.equal(more.length, 0);
      if (typeof code === "string") assert.equal(notice?.code, code);
      else assert.match(notice?.code ?? "", code);
      assert.equal(keeper.bundle?.seq, 2);
    }
    const alarms = world.fleet.reports.filter(({ kind }) => kind === "alarm");
    assert.ok(alarms.length >= 3, "the server heard of it");
    publish(good);
    await agent.check("schedule");
    assert.deepEqual((await agent.status()).notices, []);
  });

  it("does not mistake a list that cannot be fetched for none, nor a fault of its own for a refusal", async () => {
    const known = { bundleSha256: null, take: async () => assert.fail("nothing came") };
    const away = new MirrorError("mirror/unreachable", "It is away.", {});
    const [notice] = await followTrust(known, { trustBundle: () => Promise.reject(away) });
    assert.deepEqual([notice?.code, notice?.alarm], ["mirror/unreachable", false]);
    const fault = new TypeError("a defect");
    await assert.rejects(followTrust(known, { trustBundle: () => Promise.reject(fault) }), fault);
  });
});
