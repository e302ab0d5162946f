// Answers to devices when other things happen at the same time.

import assert from "node:assert/strict";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, describe, it } from "node:test";
import type { DsseSigner } from "../../core/dsse.ts";
import { toBase64Url } from "../../core/bytes.ts";
import { DAY } from "../../core/instant.ts";
import { raiseAlarm } from "../../fleet/alarms.ts";
import { assign } from "../../fleet/assign.ts";
import { addToken, approveDevice, enrol } from "../../fleet/enrol.ts";
import type { Device } from "../../fleet/records.ts";
import { wake } from "../../fleet/wake.ts";
import { newToken } from "../../identity/token.ts";
import type { Call } from "../../io/http/server.ts";
import { systemClock } from "../../io/system/clock.ts";
import { openFleetStore } from "../../io/fleet-store/store.ts";
import { systemRandom } from "../../io/system/random.ts";
import { localSigner } from "../../keys/signer.ts";
import type { CheckInRequest } from "../../message/check-in.ts";
import { serverApi, type ApiOptions } from "./api.ts";
import { FleetView } from "./fleet-view.ts";
import { Metrics } from "./metrics.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-api-"));
after(() => rmSync(folder, { recursive: true }));

describe("a check-in", () => {
  it("that is answered while the fleet changes never names the wake-up of that change as known", async () => {
    const store = await openFleetStore(join(folder, "fleet.sqlite"));
    const view = new FleetView(store, systemClock);
    await view.load();
    const real = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
    const change = async (): Promise<void> => {
      await store.transaction((records) => wake(records, "group:default"));
      await view.load();
    };
    let meanwhile: () => Promise<void> = change;
    // The decision is made, and while it is being signed the group is woken for a newer one.
    const director: DsseSigner = {
      publicKey: real.publicKey,
      sign: async (message) => {
        await meanwhile();
        return real.sign(message);
      },
    };
    const api = serverApi({
      licenses: undefined as never,
      entitlements: {
        fit: async (_device: unknown, components: unknown) => ({ components, refused: [] }),
        admit: async () => {},
      } as never,
      store,
      view,
      director,
      clock: systemClock,
      random: systemRandom,
      metrics: new Metrics(),
      trust: undefined as never,
      findRelease: async () => null,
    } satisfies ApiOptions);
    const device = { id: "00000000-0000-4000-8000-000000000001", group: "default" } as Device;
    const ask = () =>
      api.handlers.checkIn(
        { address: "192.0.2.1", headers: {} } as Call,
        {
          nonce: toBase64Url(systemRandom.bytes(32)),
          platform: { os: "linux", arch: "x64", libc: "glibc" },
          components: [],
        },
        device,
      );
    const first = await ask();
    const woken = view.newestWake(device);
    assert.ok(first.seq < woken, `the answer knows ${first.seq}, the change woke with ${woken}`);
    meanwhile = async () => {};
    assert.equal((await ask()).seq, woken);
    await store.close();
  });
});

/** A server of one device, and check-ins from wherever. */
async function oneDevice() {
  const path = join(folder, `${randomUUID()}.sqlite`);
  const store = await openFleetStore(path);
  const id = "00000000-0000-4000-8000-000000000001";
  await store.transaction(async (records) => {
    const token = newToken(systemRandom, { caSpkiSha256: "1".repeat(64), rootSha256: "2".repeat(64) });
    await addToken(records, 1, { ...token, group: "default", life: DAY });
    await assign(records, 1, { group: "default", product: "shop", channel: "stable" });
    const applicant = { spki: "3".repeat(64), reportKey: "4".repeat(64), name: "till 7", platform };
    const done = await enrol(records, 1, { token, applicant, id, certificateEnds: DAY });
    assert.ok(done.ok);
  });
  const view = new FleetView(store, systemClock);
  await view.load();
  const api = serverApi({
    licenses: undefined as never,
    entitlements: {
      fit: async (_device: unknown, components: unknown) => ({ components, refused: [] }),
      admit: async () => {},
    } as never,
    store,
    view,
    director: localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519"),
    clock: systemClock,
    random: systemRandom,
    metrics: new Metrics(),
    trust: { isRevoked: () => false } as never,
    findRelease: async () => null,
  } satisfies ApiOptions);
  const checkIn = async (
    more: Partial<CheckInRequest>,
    address = "192.0.2.1",
    headers: Call["headers"] = {},
  ) => {
    const request = { nonce: toBase64Url(systemRandom.bytes(32)), platform, components: [], ...more };
    const device = (await store.read((records) => records.device(id)))!;
    return api.handlers.checkIn({ address, headers } as Call, request, device);
  };
  const alarms = async () => (await store.read((records) => records.alarms(10))).map(({ code }) => code);
  return { store, view, api, id, checkIn, alarms, path };
}
const platform = { os: "linux", arch: "x64" } as const;

describe("the head of the audit log", () => {
  const agent = { version: "0.1.0", features: ["audit-head"] };

  it("is given, signed, to devices that know of it; what they bring back is looked for in the log", async () => {
    const { store, view, checkIn, alarms } = await oneDevice();
    assert.equal("auditHead" in (await checkIn({})), false);
    const { auditHead } = await checkIn({ agent });
    const last = (await store.read((records) => records.lastAudit()))!;
    assert.deepEqual([auditHead?.sequence, auditHead?.hash], [last.sequence, last.hash]);
    await checkIn({ agent, auditHead: auditHead! });
    await view.flush();
    assert.deepEqual(await alarms(), []);
    await store.close();
  });

  it("shows a log whose tail was cut off, or was rewritten by somebody who made the chain fit", async () => {
    for (const how of ["cut", "rewritten"] as const) {
      const { store, view, checkIn, alarms, path } = await oneDevice();
      const { auditHead } = await checkIn({ agent });
      const raw = new DatabaseSync(path);
      if (how === "cut") raw.exec("delete from audit where sequence = (select max(sequence) from audit)");
      else
        raw.exec(
          `update audit set hash = '${"0".repeat(64)}' where sequence = (select max(sequence) from audit)`,
        );
      raw.close();
      await checkIn({ agent, auditHead: auditHead! });
      await view.flush();
      assert.deepEqual(await alarms(), ["fleet/audit-cut"], how);
      await store.close();
    }
  });

  it("that a device made up raises nothing (hostile device)", async () => {
    const { store, view, checkIn, alarms } = await oneDevice();
    const { auditHead } = await checkIn({ agent });
    await checkIn({ agent, auditHead: { ...auditHead!, sequence: 999_999 } });
    await view.flush();
    await checkIn({ agent, auditHead: { ...auditHead!, hash: "f".repeat(64) } });
    await view.flush();
    assert.deepEqual(await alarms(), []);
    await store.close();
  });
});

describe("a device that nobody approved yet", () => {
  it("is answered nothing by any call, and everything once it is approved", async () => {
    const { store, view, api, id } = await oneDevice();
    await store.transaction((records) => records.changeDevice(id, { status: "pending" }));
    const call = {
      certificate: { spki: "3".repeat(64), authority: "a", expired: false, early: false },
      headers: {},
      notes: {},
    } as unknown as Call;
    await assert.rejects(api.identify(call), { code: "fleet/device-pending" });
    await assert.rejects(api.identify(call, "device-even-expired"), { code: "fleet/device-pending" });
    await store.transaction((records) => approveDevice(records, 1, id, "operator:kim"));
    await view.load();
    assert.equal((await api.identify(call)).id, id);
    await store.close();
  });
});

describe("a mark", () => {
  it("is given to devices that know of marks, and to no other", async () => {
    const { store, checkIn } = await oneDevice();
    assert.equal("mark" in (await checkIn({})), false, "an older device refuses what it does not know");
    const marks = [await checkIn({ mark: null }), await checkIn({ mark: null })].map(({ mark }) => mark);
    assert.equal(new Set(marks).size, 2);
    assert.ok(marks.every((mark) => /^[A-Za-z0-9_-]{22}$/.test(mark ?? "")));
    await store.close();
  });

  it("shows two copies of a device that check in by turns (clone), and nothing while there is one", async () => {
    const { store, view, checkIn, alarms } = await oneDevice();
    let mark: string | null = null;
    for (let i = 0; i < 5; i++) mark = (await checkIn({ mark })).mark!;
    await view.flush();
    assert.deepEqual(await alarms(), []);
    let copy: string | null = mark;
    for (let i = 0; i < 3; i++) {
      mark = (await checkIn({ mark })).mark!;
      copy = (await checkIn({ mark: copy }, "198.51.100.7")).mark!;
    }
    const suspected = await view.flush();
    assert.deepEqual([...suspected[0]!.addresses].toSorted(), ["192.0.2.1", "198.51.100.7"]);
    assert.deepEqual(await alarms(), ["device/clone-suspected"]);
    await store.close();
  });
});

describe("an alarm about an update", () => {
  it("is over when the device says that it runs what it should, as after a recall", async () => {
    const { store, view, id, checkIn, alarms } = await oneDevice();
    view.catalogue = {
      timestamp: () => "f".repeat(64),
      current: () => ({ version: "1.0.0", manifestSha256: "a".repeat(64) }),
      byVersion: () => null,
    };
    const about = "shop";
    await store.transaction((r) =>
      raiseAlarm(r, 1, { device: id, code: "device/update-failed", about, detail: "" }),
    );
    for (const [components, left] of [
      [[{ product: "shop", version: "1.1.0" }], 1],
      [[{ product: "shop", version: "1.0.0", trying: { version: "1.1.0", step: "staged" } }], 1],
      [[{ product: "shop", version: "1.0.0" }], 0],
    ] as const) {
      await checkIn({ components: [...components] });
      await view.flush();
      assert.equal((await alarms()).length, left);
    }
    await store.close();
  });
});

describe("a member of the assignment that not every device knows", () => {
  it("is sent to those whose features name it, or who say so in the header of before, and to no other", async () => {
    const { store, view, id, checkIn } = await oneDevice();
    const release = { version: "1.0.0", manifestSha256: "a".repeat(64) };
    view.catalogue = { timestamp: () => "t", current: () => release, byVersion: () => release };
    const follows = async (more: Partial<CheckInRequest>, headers: Call["headers"] = {}) => {
      const { assignment } = await checkIn(more, "192.0.2.1", headers);
      const { payload } = JSON.parse(Buffer.from(assignment, "base64").toString()) as { payload: string };
      return Buffer.from(payload, "base64").toString().includes("followUntil");
    };
    const agent = (...features: string[]) => ({ agent: { version: "0.1.0", features } });
    assert.equal(await follows({}), false);
    assert.equal(await follows(agent("needs")), false);
    assert.equal(await follows(agent("needs", "follow-until")), true);
    assert.equal(await follows({}, { "upkeep-understands": "other, follow-until" }), true);
    // The operator sees what a device said last, also that it says nothing any more.
    const said = async () => {
      await view.flush();
      return (await store.read((records) => records.device(id)))!.agent;
    };
    await checkIn(agent("needs"));
    assert.deepEqual(await said(), agent("needs").agent);
    await checkIn({});
    assert.equal(await said(), null);
    await store.close();
  });
});
