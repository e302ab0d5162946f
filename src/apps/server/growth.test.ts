// An older and a newer agent against an older and a newer server: what one side adds is no trouble to the other, and what it needs is named.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { fromBase64, fromUtf8, toBase64, toHex, toUtf8 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { signEnvelope, verifyEnvelope, type DocumentKind, type DsseSigner } from "../../core/dsse.ts";
import { KNOWN_FEATURES } from "../../core/features.ts";
import type { Program } from "../../core/growth.ts";
import { DAY } from "../../core/instant.ts";
import { assign } from "../../fleet/assign.ts";
import { addToken, enrol } from "../../fleet/enrol.ts";
import { newToken } from "../../identity/token.ts";
import type { Call } from "../../io/http/server.ts";
import { openFleetStore } from "../../io/fleet-store/store.ts";
import { systemRandom } from "../../io/system/random.ts";
import { ASSIGNMENT_LIMIT } from "../../message/assignment.ts";
import { readGrowingMessage } from "../../message/common.ts";
import { ROUTES, type AnswerOf, type Route, type RouteName } from "../../message/routes.ts";
import { channelTarget, releaseTarget } from "../../release/target-names.ts";
import { AgentWorld } from "../../testing/agent-world.ts";
import { serverApi } from "./api.ts";
import { devicePlane } from "./device-plane.ts";
import { TransferBudget } from "../../io/http/transfer-budget.ts";
import { FleetView } from "./fleet-view.ts";
import { Metrics } from "./metrics.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-growth-"));
after(() => rmSync(folder, { recursive: true }));

const OLDER: Program = { version: "0.1.0", features: [...KNOWN_FEATURES] };
const NEWER: Program = { version: "7.0.0", features: [...KNOWN_FEATURES, "from-tomorrow"] };
const AGES = { older: OLDER, newer: NEWER };
/** A member that no program of today knows. */
const LATER = { later: { than: ["this"] } };

/** A signed document as a newer program would have signed it. */
async function grown(envelope: Uint8Array, kind: DocumentKind, signer: DsseSigner): Promise<Uint8Array> {
  const { body } = verifyEnvelope(envelope, kind, [signer.publicKey], { limit: 1 << 20 });
  const document = JSON.parse(fromUtf8(body)) as object;
  return signEnvelope(kind, toUtf8(JSON.stringify({ ...document, ...LATER })), [signer]);
}

/** One agent, and the server that it asks over the bytes of the wire. */
async function pair(agentAge: keyof typeof AGES, serverAge: keyof typeof AGES) {
  const world = new AgentWorld();
  const { fleet, clock } = world;
  world.program = AGES[agentAge];
  const store = await openFleetStore(join(folder, `${agentAge}-${serverAge}.sqlite`));
  const { device, key } = fleet.identity;
  const spki = "3".repeat(64);
  await store.transaction(async (records) => {
    const now = clock.now();
    const token = newToken(systemRandom, { caSpkiSha256: "1".repeat(64), rootSha256: "2".repeat(64) });
    await addToken(records, now, { ...token, group: "default", life: DAY });
    await assign(records, now, { group: "default", product: "shop", channel: "stable" });
    const reportKey = toHex(key.publicKey.spki.subarray(-32));
    const platform = { os: "linux", arch: "x64" } as const;
    const applicant = { spki, reportKey, name: "till 7", platform };
    assert.ok((await enrol(records, now, { token, applicant, id: device, certificateEnds: now + DAY })).ok);
  });
  const view = new FleetView(store, clock);
  await view.load();
  const listed = () => {
    const component = fleet.assigned.get("shop");
    return component !== undefined && "release" in component ? component.release : null;
  };
  view.catalogue = { timestamp: () => "t", current: listed, byVersion: listed };
  const api = serverApi({
    licenses: undefined as never,
    entitlements: {
      fit: async (_device: unknown, components: unknown) => ({ components, refused: [] }),
      admit: async () => {},
    } as never,
    store,
    view,
    director: fleet.director,
    clock,
    random: systemRandom,
    metrics: new Metrics(),
    trust: { isRevoked: () => false } as never,
    findRelease: async (_product, version) => ({ version, manifestSha256: "" }),
  });
  const none = undefined as never;
  const { version } = AGES[serverAge];
  const plane = devicePlane({
    licenses: undefined as never,
    entitlements: {
      fit: async (_device: unknown, components: unknown) => ({ components, refused: [] }),
      admit: async () => {},
    } as never,
    api,
    files: none,
    hub: none,
    view,
    office: none,
    clock,
    version,
    transfers: new TransferBudget(),
  });

  /** A newer side adds a member to what it says; the other side reads the bytes as it always does. */
  const ask = async <N extends RouteName>(name: N, request: object): Promise<AnswerOf<N>> => {
    const row = ROUTES[name] as unknown as Route<unknown, AnswerOf<N>>;
    const said = agentAge === "newer" ? { ...request, ...LATER } : request;
    const call = {
      method: row.method,
      path: row.path,
      query: "",
      headers: { "content-type": "application/json" },
      address: "192.0.2.1",
      certificate: { spki, authority: "a", expired: false, early: false, notBefore: 0, notAfter: DAY },
      notes: {},
      body: async () => toUtf8(JSON.stringify(said)),
    };
    const answer = (await plane(call as unknown as Call)) as { readonly body: Uint8Array };
    const told = JSON.parse(fromUtf8(answer.body)) as { server: Program; assignment?: string };
    assert.equal(told.server.version, version);
    if (serverAge === "newer") {
      Object.assign(told, LATER, { server: { ...NEWER, ...LATER } });
      if (told.assignment !== undefined) {
        const envelope = fromBase64(told.assignment);
        assert.ok(envelope.length < ASSIGNMENT_LIMIT);
        told.assignment = toBase64(await grown(envelope, "assignment", fleet.director));
      }
    }
    const bytes = toUtf8(JSON.stringify(told));
    return readGrowingMessage(bytes, row.answer, "answer", row.answerLimit, world.program.features);
  };
  fleet.checkIn = (request) => ask("checkIn", request);
  fleet.sendReports = async (envelopes) =>
    (await ask("reports", { reports: envelopes.map(toBase64) })).results;

  const known = async () => {
    await view.flush();
    return (await store.read((records) => records.device(device)))!;
  };
  /** A release and a channel with members of a newer publisher. */
  const offer = async (version: string, changes: Parameters<typeof fleet.publish>[3] = {}) => {
    await fleet.publish("shop", version, "well", changes);
    const [release, channel] = [releaseTarget("shop", version), channelTarget("shop", "stable")];
    fleet.targets.set(release, await grown(fleet.targets.get(release)!, "release", fleet.publisher));
    await fleet.promote("shop", version);
    fleet.targets.set(channel, await grown(fleet.targets.get(channel)!, "channel", fleet.publisher));
    assert.equal(listed()?.manifestSha256, sha256Hex(fleet.targets.get(release)!));
  };
  const alarms = async () => (await store.read((records) => records.alarms(10))).map(({ code }) => code);
  return { world, store, offer, known, alarms };
}

const NEEDS = { needs: { features: ["follow-until", "from-tomorrow"], version: "7.0.0" } };

for (const agentAge of ["older", "newer"] as const) {
  for (const serverAge of ["older", "newer"] as const) {
    describe(`an ${agentAge} agent and an ${serverAge} server`.replaceAll("an newer", "a newer"), () => {
      it("go on with each other, and a release is installed by those who know what it needs", async () => {
        const { world, store, offer, known, alarms } = await pair(agentAge, serverAge);
        await offer("1.0.0");
        let agent = await world.open();
        await agent.start();
        const first = await agent.check("start");
        assert.equal(first.failure, null, first.failure?.message);
        assert.equal(first.components[0]?.result, "updated", first.components[0]?.reason ?? "");
        // The operator sees who is out there, and the reports came through.
        const { agent: said, lastSequence } = await known();
        assert.deepEqual(said, AGES[agentAge]);
        assert.ok(lastSequence > 0);
        assert.deepEqual(await alarms(), []);

        await offer("1.1.0", NEEDS);
        const second = await agent.check("schedule");
        assert.equal(second.failure, null, second.failure?.message);
        const [component] = second.components;
        if (agentAge === "older") {
          assert.equal(component?.result, "waiting");
          assert.equal(component?.code, "growth/needs-newer");
          assert.match(component?.reason ?? "", /\(from-tomorrow\).*7\.0\.0/);
          const shown = (await agent.status()).components.find(({ product }) => product === "shop");
          assert.match(JSON.stringify(shown), /growth\/needs-newer/);
          assert.deepEqual(world.running, ["1.0.0"]);
          await agent.check("schedule");
          assert.deepEqual(await alarms(), ["growth/needs-newer"]);
          // Nothing was held against the release: the agent that knows the word takes the very same one.
          await agent.stop();
          world.program = NEWER;
          agent = await world.open();
          await agent.start();
          assert.equal((await agent.check("start")).components[0]?.result, "updated");
        } else assert.equal(component?.result, "updated", component?.reason ?? "");
        assert.deepEqual(world.running, ["1.1.0"]);
        await agent.check("schedule");
        assert.deepEqual((await known()).agent, NEWER);
        await agent.stop();
        await store.close();
      });
    });
  }
}
