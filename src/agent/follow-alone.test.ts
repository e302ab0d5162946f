// While the server is away: what the last assignment lets a device follow, for how long, and what it never does by itself.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { writeAtomic } from "../core/disk.ts";
import { ReportedError, type UpkeepError } from "../core/errors.ts";
import { DAY, formatInstant, MINUTE } from "../core/instant.ts";
import { localSigner } from "../keys/signer.ts";
import { LONGEST_FOLLOWING, signAssignment, type AssignedComponent } from "../message/assignment.ts";
import { TRUSTED_KEYS_TARGET } from "../release/target-names.ts";
import { parseTrustedKeys, serialiseTrustedKeys } from "../release/trusted-keys.ts";
import { AgentWorld, FOLDER } from "../testing/agent-world.ts";
import type { Agent } from "./agent.ts";
import { isAway } from "./follow-alone.ts";

const KEPT = `${FOLDER}/assignment.json`;

/** A device that runs shop 1.0.0 and was assigned it with these words; then the server goes away and 1.1.0 is promoted. */
async function alone(
  words: (world: AgentWorld) => Record<string, unknown>,
  meanwhile: (world: AgentWorld) => Promise<void> = async () => {},
): Promise<{ world: AgentWorld; agent: Agent }> {
  const world = new AgentWorld();
  await world.fleet.publish("shop", "1.0.0", "well");
  await world.fleet.promote("shop", "1.0.0");
  const before = world.fleet.assigned.get("shop")!;
  world.fleet.assigned.set("shop", { ...before, ...words(world) } as AssignedComponent);
  const agent = await world.open();
  await agent.start();
  await agent.check("start");
  await world.fleet.publish("shop", "1.1.0", "well");
  await world.fleet.promote("shop", "1.1.0");
  world.fleet.serverDown = true;
  await meanwhile(world);
  return { world, agent };
}

const following = (world: AgentWorld): Record<string, unknown> => ({
  followUntil: formatInstant(world.clock.now() + 7 * DAY),
});
const events = (world: AgentWorld): readonly unknown[] => world.lines.map(({ event }) => event);

describe("a device whose server is away", () => {
  it("takes what its channel points to, says that the server is away, and reports later", async () => {
    const { world, agent } = await alone(following);
    const result = await agent.check("schedule");
    assert.equal(result.failure?.code, "mirror/unreachable");
    assert.deepEqual(
      result.components.map(({ product, result, to }) => [product, result, to]),
      [["shop", "updated", "1.1.0"]],
    );
    assert.deepEqual(world.running, ["1.1.0"]);
    assert.ok(agent.outbox.waiting > 0);
    world.fleet.serverDown = false;
    assert.equal((await agent.check("schedule")).failure, null);
    assert.equal(agent.outbox.waiting, 0);
  });

  it("does so after a restart too", async () => {
    const { world } = await alone(following);
    const again = await world.open();
    await again.start();
    await again.check("start");
    assert.deepEqual(world.running, ["1.1.0"]);
  });

  it("goes back when the channel takes a release back", async () => {
    const { world, agent } = await alone(following);
    await agent.check("schedule");
    await world.fleet.promote("shop", "1.0.0", [
      { version: "1.1.0", reason: "it loses orders", since: formatInstant(world.clock.now()) },
    ]);
    await agent.check("schedule");
    assert.deepEqual(world.running, ["1.0.0"]);
  });

  const stays: readonly (readonly [
    string,
    (world: AgentWorld) => Record<string, unknown>,
    ((world: AgentWorld) => Promise<void>)?,
  ])[] = [
    ["it was assigned a release that somebody chose", () => ({})],
    ["the time is over", following, (world) => world.clock.sleep(7 * DAY)],
    [
      "the time is further off than a device goes by itself (a director's key was stolen)",
      (world) => ({ followUntil: formatInstant(world.clock.now() + 3650 * DAY) }),
      (world) => world.clock.sleep(LONGEST_FOLLOWING),
    ],
    [
      "the director that signed is trusted no more",
      following,
      async ({ fleet }) => {
        const { keys, grants } = parseTrustedKeys(fleet.targets.get(TRUSTED_KEYS_TARGET)!);
        const other = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519").publicKey;
        const replaced = grants.map((grant) =>
          grant.kind === "assignment" ? { ...grant, keyids: [other.keyid] } : grant,
        );
        const all = new Map([...keys, [other.keyid, other] as const]);
        all.delete(fleet.director.publicKey.keyid);
        fleet.targets.set(TRUSTED_KEYS_TARGET, serialiseTrustedKeys({ keys: all, grants: replaced }));
      },
    ],
    [
      "the kept assignment is of another device (mix-up)",
      following,
      async (world) => {
        const now = world.clock.now();
        const assignment = {
          device: "0a0b0c0d-0000-4000-8000-000000000002",
          nonce: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
          issued: formatInstant(now),
          expires: formatInstant(now + MINUTE),
          components: [...world.fleet.assigned.values()].map((one) => ({ ...one, ...following(world) })),
        } as Parameters<typeof signAssignment>[0];
        await writeAtomic(world.disk, KEPT, await signAssignment(assignment, world.fleet.director));
      },
    ],
    [
      "the kept assignment is signed by another key (forgery)",
      following,
      async (world) => {
        const now = world.clock.now();
        const forger = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
        const assignment = {
          device: world.fleet.identity.device,
          nonce: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
          issued: formatInstant(now),
          expires: formatInstant(now + MINUTE),
          components: [...world.fleet.assigned.values()].map((one) => ({ ...one, ...following(world) })),
        } as Parameters<typeof signAssignment>[0];
        await writeAtomic(world.disk, KEPT, await signAssignment(assignment, forger));
      },
    ],
    [
      "the kept assignment was issued after now (the clock was set back)",
      following,
      async (world) => {
        const now = world.clock.now();
        const assignment = {
          device: world.fleet.identity.device,
          nonce: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
          issued: formatInstant(now + DAY),
          expires: formatInstant(now + 2 * DAY),
          components: [...world.fleet.assigned.values()].map((one) => ({
            ...one,
            followUntil: formatInstant(now + 7 * DAY),
          })),
        } as Parameters<typeof signAssignment>[0];
        await writeAtomic(world.disk, KEPT, await signAssignment(assignment, world.fleet.director));
      },
    ],
    [
      "what was kept is no assignment",
      following,
      (world) => writeAtomic(world.disk, KEPT, new Uint8Array(100)),
    ],
    ["nothing was kept", following, (world) => world.disk.removeFile(KEPT)],
  ];
  for (const [why, words, meanwhile] of stays) {
    it(`stays where it is when ${why}`, async () => {
      const { world, agent } = await alone(words, meanwhile);
      const result = await agent.check("schedule");
      assert.equal(result.failure?.code, "mirror/unreachable");
      assert.deepEqual(world.running, ["1.0.0"]);
      assert.ok(!events(world).includes("following-alone"));
    });
  }

  it("stays where it is while its rollout is held", async () => {
    const world = new AgentWorld();
    await world.fleet.publish("shop", "1.0.0", "well");
    await world.fleet.promote("shop", "1.0.0");
    const agent = await world.open();
    await agent.start();
    await agent.check("start");
    world.fleet.assigned.set("shop", { product: "shop", channel: "stable", hold: { reason: "paused" } });
    await agent.check("schedule");
    await world.fleet.publish("shop", "1.1.0", "well");
    const hold = world.fleet.assigned.get("shop")!;
    await world.fleet.promote("shop", "1.1.0");
    world.fleet.assigned.set("shop", hold);
    world.fleet.serverDown = true;
    await agent.check("schedule");
    assert.deepEqual(world.running, ["1.0.0"]);
  });

  it("follows nobody's channel but that which its last assignment named", async () => {
    const { world, agent } = await alone(following);
    await world.fleet.publish("till", "1.0.0", "well");
    await world.fleet.promote("till", "1.0.0");
    await agent.check("schedule");
    assert.deepEqual(world.running, ["1.1.0"]);
  });
});

describe("a server", () => {
  const error = (code: string, status?: number): UpkeepError =>
    new ReportedError(undefined, code, "no", status === undefined ? {} : { status });
  for (const [what, thrown, away] of [
    ["that cannot be reached", error("server/unreachable"), true],
    ["that says nothing", error("server/slow"), true],
    ["that has no database, or a balancer without a server", error("server/refused", 503), true],
    ["that says no to this device", error("server/refused", 403), false],
    ["that wants to be left alone", error("server/refused", 429), false],
    ["that is somebody else (man in the middle)", error("server/untrusted"), false],
    ["whose answer is signed by nobody", error("dsse/untrusted"), false],
    ["whose call was stopped", error("server/stopped"), false],
    ["that met a defect here", new Error("x"), false],
  ] as const) {
    it(`${what} is ${away ? "" : "not "}away`, () => assert.equal(isAway(thrown), away));
  }
});
