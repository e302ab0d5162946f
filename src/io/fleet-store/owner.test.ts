// What the owner of a fleet does with the store: groups, names, removals, alarms, clones; and a store from an earlier version.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, describe, it } from "node:test";
import { DAY, HOUR, MINUTE, parseInstant } from "../../core/instant.ts";
import { acknowledgeAlarms, endUpdateAlarms, raiseAlarm, UPDATE_FAILED } from "../../fleet/alarms.ts";
import { assign, configureGroup, moveDevice } from "../../fleet/assign.ts";
import { findDevice, removeDevice, removeToken, renameDevice } from "../../fleet/devices.ts";
import { addToken, enrol, type Applicant } from "../../fleet/enrol.ts";
import { addGroup, removeGroup } from "../../fleet/groups.ts";
import { takeReport } from "../../fleet/intake.ts";
import type { FleetRecords, FleetStore } from "../../fleet/store.ts";
import { watchClones } from "../../fleet/watch-clones.ts";
import { newToken } from "../../identity/token.ts";
import type { AttemptReport } from "../../report/report.ts";
import { needsPostgres, startPostgres, type PostgresCluster } from "../../testing/postgres-cluster.ts";
import { systemRandom } from "../system/random.ts";
import { exportFleet, importFleet } from "./dump.ts";
import { LICENSE_TABLES } from "./schema-licenses.ts";
import { openFleetStore } from "./store.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-fleet-owner-"));
after(() => rmSync(folder, { recursive: true }));
let count = 0;
const freshFile = (): string => join(folder, `${++count}.sqlite`);
const now = parseInstant("2026-11-21T04:00:00Z");
const pins = { caSpkiSha256: "1".repeat(64), rootSha256: "2".repeat(64) };
const WHO = "operator:kim";

const id = (n: number): string => `0000000${n}-0000-4000-8000-000000000000`;

async function withDevices(store: FleetStore, names: readonly string[]): Promise<void> {
  await store.transaction(async (r) => {
    await addGroup(r, now, { name: "tills", interval: 300 }, WHO);
    for (const [i, name] of names.entries()) {
      const token = newToken(systemRandom, pins);
      await addToken(r, now, { ...token, group: "tills", life: DAY }, WHO);
      const applicant: Applicant = {
        spki: String(i + 1).repeat(64),
        reportKey: String(i + 1).repeat(64),
        name,
        platform: { os: "linux", arch: "x64" },
      };
      const done = await enrol(r, now, { token, applicant, id: id(i + 1), certificateEnds: now + 45 * DAY });
      assert.ok(done.ok);
    }
  });
}

function attempt(n: number, change: Partial<AttemptReport>): AttemptReport {
  return {
    kind: "attempt",
    id: String(n).padStart(32, "0"),
    device: id(1),
    sequence: n,
    previous: n === 1 ? null : String(n - 1).padStart(64, "0"),
    issued: "2026-11-21T04:00:00Z",
    boot: "b".repeat(32),
    attempt: String(n).padStart(32, "0"),
    product: "shop",
    from: "1.0.0",
    to: "1.1.0",
    outcome: "success",
    step: "committed",
    started: "2026-11-21T03:59:00Z",
    duration: 60_000,
    bytes: 12_345,
    source: "origin",
    running: "1.1.0",
    ...change,
  };
}

async function take(r: FleetRecords, at: number, report: AttemptReport): Promise<void> {
  const device = (await r.device(report.device))!;
  const payloadSha256 = String(report.sequence).padStart(64, "0");
  await takeReport(r, () => true, at, device, { report, payloadSha256 }, "{}");
}

const codes = async (r: FleetRecords): Promise<readonly string[]> =>
  (await r.alarms(50)).map(({ code, about }) => `${code} ${about}`.trim());

type Kind = { fresh(): Promise<FleetStore> };

describe("in a file", () => suite({ fresh: () => openFleetStore(freshFile()) }));
describe("in PostgreSQL", needsPostgres(), () => {
  let cluster: PostgresCluster;
  before(async () => {
    cluster = await startPostgres();
  });
  after(() => cluster?.remove());
  suite({
    fresh: async () => openFleetStore(await cluster.createDatabase(), { PGPASSFILE: cluster.passwordFile }),
  });
});

function suite({ fresh }: Kind): void {
  const using = async (work: (store: FleetStore) => Promise<void>): Promise<void> => {
    const store = await fresh();
    try {
      await work(store);
    } finally {
      await store.close();
    }
  };

  describe("a group", () => {
    it("is not made by a typo, wherever a group is named", () =>
      using(async (store) => {
        await withDevices(store, ["till 1"]);
        const wanted = { group: "tils", product: "shop", channel: "stable" };
        for (const act of [
          (r: FleetRecords) => assign(r, now, wanted, WHO),
          (r: FleetRecords) => configureGroup(r, now, { group: "tils", interval: 60 }, WHO),
          (r: FleetRecords) => moveDevice(r, now, { device: id(1), group: "tils" }, WHO),
        ])
          await assert.rejects(
            store.transaction<unknown>(act),
            (error: Error & { code?: string; hint?: string }) => {
              assert.equal(error.code, "fleet/unknown-group");
              assert.match(error.hint ?? "", /Groups are: tills\./);
              return true;
            },
          );
        assert.deepEqual(
          (await store.read((r) => r.groups())).map(({ name }) => name),
          ["tills"],
        );
        await store.transaction((r) => assign(r, now, { ...wanted, create: true }, WHO));
        await store.transaction((r) => assign(r, now, { ...wanted, group: "default" }, WHO));
        assert.equal((await store.read((r) => r.groups())).length, 3);
      }));

    it("is removed when nothing is in it, which the audit log says", () =>
      using(async (store) => {
        await withDevices(store, ["till 1"]);
        const remove = (name: string, at = now) => store.transaction((r) => removeGroup(r, at, name, WHO));
        await assert.rejects(remove("tills"), { code: "fleet/group-in-use" });
        await assert.rejects(remove("tils"), { code: "fleet/unknown-group" });
        await store.transaction(async (r) => {
          await addGroup(r, now, { name: "old", interval: 300 }, WHO);
          await assign(r, now, { group: "old", product: "shop", channel: "stable" }, WHO);
          await addToken(r, now, { ...newToken(systemRandom, pins), group: "old", life: DAY }, WHO);
        });
        await assert.rejects(remove("old"), { code: "fleet/group-in-use" }, "a token leads into it");
        await remove("old", now + 2 * DAY);
        assert.equal(await store.read((r) => r.group("old")), null);
        assert.deepEqual(await store.read((r) => r.desired("old")), []);
        const last = await store.read((r) => r.lastAudit());
        assert.deepEqual([last?.action, last?.subject, last?.actor], ["group/removed", "old", WHO]);
      }));
  });

  describe("a device", () => {
    it("is found by its id, its name, and a start of its id that is its own", () =>
      using(async (store) => {
        await withDevices(store, ["till 1", "till 2"]);
        const find = async (text: string) => (await store.read((r) => findDevice(r, text))).id;
        for (const text of [id(2), "till 2", "00000002", "00000002-0"])
          assert.equal(await find(text), id(2), text);
        for (const text of ["till", "0000", "00000003", "%", ""])
          await assert.rejects(
            find(text),
            (error: Error & { code?: string }) => error.code?.startsWith("fleet/") === true,
            text,
          );
        await assert.rejects(find("0000000"), { code: "fleet/ambiguous-device" });
      }));

    it("gets a name of its own, and none that another has", () =>
      using(async (store) => {
        await withDevices(store, ["box", "box"]);
        await assert.rejects(
          store.read((r) => findDevice(r, "box")),
          { code: "fleet/ambiguous-device" },
        );
        const device = (await store.read((r) => r.device(id(1))))!;
        await store.transaction((r) => renameDevice(r, now, { device, name: "front door" }, WHO));
        assert.equal((await store.read((r) => findDevice(r, "front door"))).id, id(1));
        assert.equal((await store.read((r) => findDevice(r, "box"))).id, id(2));
        const other = (await store.read((r) => r.device(id(2))))!;
        await assert.rejects(
          store.transaction((r) => renameDevice(r, now, { device: other, name: "front door" }, WHO)),
          { code: "fleet/ambiguous-device" },
        );
      }));

    it("is removed with all that is kept of it, and its keys stand in the audit log", () =>
      using(async (store) => {
        await withDevices(store, ["till 1", "till 2"]);
        await store.transaction(async (r) => {
          await take(r, now, attempt(1, {}));
          await raiseAlarm(r, now, { device: id(1), code: "a/b", detail: "" });
          await watchClones(r, [sighting("m1", null, now)]);
          await removeDevice(r, now, (await r.device(id(1)))!, WHO);
        });
        const left = await store.read(async (r) => ({
          device: await r.device(id(1)),
          reports: await r.reports({ limit: 10 }),
          alarms: await r.alarms(10, true),
          lines: await r.lines(id(1)),
          components: await r.components(id(1)),
          audit: (await r.lastAudit())!,
        }));
        assert.deepEqual(
          [left.device, left.reports, left.alarms, left.lines, left.components],
          [null, [], [], [], []],
        );
        assert.deepEqual(
          [left.audit.action, left.audit.facts["spkis"]],
          ["device/removed", ["1".repeat(64)]],
        );
        assert.equal((await store.read((r) => r.devices({ limit: 10 }))).length, 1);
      }));
  });

  it("a removed token enrols nobody", () =>
    using(async (store) => {
      const token = newToken(systemRandom, pins);
      await store.transaction(async (r) => {
        await addToken(r, now, { ...token, group: "default", life: DAY }, WHO);
        await removeToken(r, now, token.id, WHO);
      });
      assert.equal(await store.read((r) => r.token(token.id)), null);
      await assert.rejects(
        store.transaction((r) => removeToken(r, now, token.id, WHO)),
        {
          code: "fleet/token-unknown",
        },
      );
    }));

  describe("an alarm", () => {
    const failed = {
      outcome: "rolled-back",
      code: "process/exited",
      step: "rolling-back",
      running: "1.0.0",
    } as const;

    it("says that an attempt failed, and is over when one on the same product succeeds", () =>
      using(async (store) => {
        await withDevices(store, ["till 1"]);
        await store.transaction(async (r) => {
          await take(r, now, attempt(1, { ...failed, reason: "It ended with 1." }));
          await take(r, now, attempt(2, { ...failed, product: "db" }));
          await take(r, now, attempt(3, { ...failed, product: "cache", outcome: "superseded" }));
          assert.deepEqual([...(await codes(r))].toSorted(), [
            "device/update-failed db",
            "device/update-failed shop",
          ]);
          const own = (await r.alarms(10)).find(({ about }) => about === "shop")!;
          assert.match(
            own.detail,
            /shop 1\.0\.0 → 1\.1\.0: rolled-back \(process\/exited at rolling-back\): It ended with 1\./,
          );
          await take(r, now, attempt(4, {}));
          assert.deepEqual(await codes(r), ["device/update-failed db"]);
        });
      }));

    it("of a first install that failed does not speak of rolling back", () =>
      using(async (store) => {
        await withDevices(store, ["till 1"]);
        await store.transaction(async (r) => {
          await take(r, now, attempt(1, { ...failed, from: null, running: null }));
          assert.match((await r.alarms(1))[0]!.detail, /shop nothing → 1\.1\.0: failure/);
          assert.equal((await r.reports({ limit: 1 }))[0]?.outcome, "failure");
        });
      }));

    it("about an update is over when the device runs what it should, and others are not", () =>
      using(async (store) => {
        await withDevices(store, ["till 1"]);
        await store.transaction(async (r) => {
          for (const code of [UPDATE_FAILED, "release/older", "slot/damaged"])
            await raiseAlarm(r, now, { device: id(1), code, about: "shop", detail: "" });
          await raiseAlarm(r, now, { device: id(1), code: UPDATE_FAILED, about: "db", detail: "" });
          await endUpdateAlarms(r, now + 1, id(1), "shop");
          assert.deepEqual([...(await codes(r))].toSorted(), [
            "device/update-failed db",
            "slot/damaged shop",
          ]);
          assert.equal((await r.alarms(10, true)).length, 4, "what is over can still be seen");
        });
      }));

    it("is acknowledged by somebody, which the audit log says; a new failure is new", () =>
      using(async (store) => {
        await withDevices(store, ["till 1"]);
        await store.transaction(async (r) => {
          await take(r, now, attempt(1, failed));
          const done = await acknowledgeAlarms(r, now + MINUTE, { device: id(1) }, WHO);
          assert.equal(done.length, 1);
          const [alarm] = await r.alarms(1);
          assert.deepEqual([alarm?.acknowledgedBy, alarm?.acknowledgedAt], [WHO, now + MINUTE]);
          assert.equal((await r.lastAudit())?.action, "alarm/acknowledged");
          assert.deepEqual(await r.alarmCounts(), [{ code: UPDATE_FAILED, acknowledged: true, count: 1 }]);
          assert.deepEqual(await acknowledgeAlarms(r, now, { device: id(1) }, WHO), [], "once is enough");
          await take(r, now + HOUR, attempt(2, failed));
          assert.equal((await r.alarms(1))[0]?.acknowledgedAt, null);
          await assert.rejects(acknowledgeAlarms(r, now, { device: id(1), code: "x/y" }, WHO), {
            code: "fleet/no-alarm",
          });
        });
      }));

    it("that lasts stays acknowledged while it is noticed again and again, until it was gone for a day", () =>
      using(async (store) => {
        await withDevices(store, ["till 1"]);
        await store.transaction(async (r) => {
          const frozen = (at: number) =>
            raiseAlarm(r, at, { device: id(1), code: "device/frozen", detail: "" });
          await frozen(now);
          await acknowledgeAlarms(r, now, { device: id(1) }, WHO);
          for (let at = now; at < now + 3 * DAY; at += HOUR) await frozen(at);
          assert.notEqual((await r.alarms(1))[0]?.acknowledgedAt, null);
          await frozen(now + 6 * DAY);
          assert.equal((await r.alarms(1))[0]?.acknowledgedAt, null);
        });
      }));
  });

  it("a clone raises one alarm with both addresses, over any number of batches", () =>
    using(async (store) => {
      await withDevices(store, ["till 1"]);
      const at = (n: number) => now + n * MINUTE;
      await store.transaction((r) => watchClones(r, [sighting("a1", null, at(0))]));
      const steps = [
        ["a1", "a2", "192.0.2.1"],
        ["a1", "b2", "198.51.100.7"],
        ["a2", "a3", "192.0.2.1"],
        ["b2", "b3", "198.51.100.7"],
        ["a3", "a4", "192.0.2.1"],
        ["b3", "b4", "198.51.100.7"],
      ] as const;
      for (const [i, [brought, given, address]] of steps.entries())
        await store.transaction((r) => watchClones(r, [sighting(given, brought, at(i + 1), address)]));
      const alarms = await store.read((r) => r.alarms(10));
      assert.deepEqual(
        alarms.map(({ code, device }) => [code, device]),
        [["device/clone-suspected", id(1)]],
      );
      assert.match(alarms[0]!.detail, /192\.0\.2\.1/);
      assert.match(alarms[0]!.detail, /198\.51\.100\.7/);
    }));
}

function sighting(given: string, brought: string | null, at: number, address = "192.0.2.1") {
  const link = { brought, given, at, address, server: "one" };
  return { device: id(1), at, claimed: [], timestamp: null, links: [link] };
}

describe("a store of an earlier version", () => {
  it("is brought up, with its alarms and groups", async () => {
    const path = freshFile();
    await (await openFleetStore(path)).close();
    const raw = new DatabaseSync(path);
    for (const table of LICENSE_TABLES.toReversed()) raw.exec(`drop table ${table}`);
    raw.exec(`drop table alarm; drop table check_in_line; alter table device drop column agent_json; alter table device drop column standing; delete from schema_step where step > 1;
      alter table token drop column uses; alter table token drop column used_count; alter table token drop column approval;
      drop table device_label; drop table rollout_device; drop table rollout; drop index component_by_product; drop index audit_by_subject; drop table message_key; drop table message_order;
      create table alarm (device text not null, code text not null, first bigint not null, last bigint not null,
        count integer not null, detail text not null, constraint alarm_key primary key (device, code));
      insert into alarm values ('d', 'slot/damaged', 1, 2, 3, 'it is damaged');
      insert into fleet_group values ('tils', 300, 1)`);
    raw.close();
    const store = await openFleetStore(path);
    const [alarm] = await store.read((r) => r.alarms(10));
    assert.deepEqual(alarm, {
      device: "d",
      code: "slot/damaged",
      about: "",
      first: 1,
      last: 2,
      count: 3,
      detail: "it is damaged",
      acknowledgedBy: null,
      acknowledgedAt: null,
      ended: null,
    });
    assert.equal((await store.read((r) => r.group("tils")))?.interval, 300);
    await store.close();
  });

  it("can be taken from its dump", async () => {
    const { createHash } = await import("node:crypto");
    const { writeFileSync } = await import("node:fs");
    const file = join(folder, "old.dump");
    const lines = [
      '{"format":"upkeep fleet store 1","step":1}',
      '["device",{"certificate_ends":9,"claimed_json":"[]","enrolled":1,"group_name":"tills","id":"d","last_report":null,"last_seen":null,"last_sequence":0,"name":"till","next_spki":null,"platform_json":"{}","report_key":"r","spki":"s","status":"active","timestamp_sha256":null,"token":"t"}]',
      '["alarm",{"code":"slot/damaged","count":3,"detail":"x","device":"d","first":1,"last":2}]',
    ];
    const text = `${lines.join("\n")}\n`;
    writeFileSync(file, `${text}${createHash("sha256").update(text).digest("hex")} 2\n`);
    const place = freshFile();
    await importFleet(place, {}, file, { actor: WHO, now });
    const store = await openFleetStore(place);
    assert.equal((await store.read((r) => r.alarms(10)))[0]?.count, 3);
    assert.equal((await store.read((r) => r.device("d")))?.agent, null);
    await store.close();
    await exportFleet(place, {}, join(folder, "new.dump"));
  });
});
