// The store and the rules on top of it: tokens, devices, reports, alarms, audit, and what two processes see of each other.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { fromUtf8, toHex } from "../../core/bytes.ts";
import { DAY, HOUR, MINUTE, parseInstant } from "../../core/instant.ts";
import { checkChain } from "../../fleet/audit.ts";
import { claimAuthorities, claimedAuthorities } from "../../fleet/authorities.ts";
import { adoptNextKey, addToken, enrol, renew, revoke, type Applicant } from "../../fleet/enrol.ts";
import { noteTimestamp, watchFreshness } from "../../fleet/freshness.ts";
import { reportLine, takeReport } from "../../fleet/intake.ts";
import { leads } from "../../fleet/lead.ts";
import type { FleetStore } from "../../fleet/store.ts";
import { wake } from "../../fleet/wake.ts";
import { newToken } from "../../identity/token.ts";
import { localSigner } from "../../keys/signer.ts";
import { openReport, signReport, type Report } from "../../report/report.ts";
import { needsPostgres, startPostgres, type PostgresCluster } from "../../testing/postgres-cluster.ts";
import { TABLES } from "./schema.ts";
import { openFleetStore } from "./store.ts";
import { systemRandom } from "../system/random.ts";
import { holdExclusive } from "../database/sqlite.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-fleet-store-"));
after(() => rmSync(folder, { recursive: true }));
let count = 0;
const freshFile = (): string => join(folder, `${++count}.sqlite`);
let cluster: PostgresCluster;
let database: string;

const now = parseInstant("2026-11-21T04:00:00Z");
const pins = { caSpkiSha256: "1".repeat(64), rootSha256: "2".repeat(64) };
const key = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
const applicant: Applicant = {
  spki: "3".repeat(64),
  reportKey: toHex(key.publicKey.spki.subarray(-32)),
  name: "till 7",
  platform: { os: "linux", arch: "x64", libc: "glibc" },
};
const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const other = (n: number): Applicant => ({
  ...applicant,
  spki: String(n).repeat(64),
  reportKey: String(n).repeat(64),
});
const certificateEnds = now + 45 * DAY;

async function withToken(store: FleetStore) {
  const token = newToken(systemRandom, pins);
  await store.transaction((r) => addToken(r, now, { ...token, group: "tills", life: DAY }));
  return token;
}

async function withDevice(store: FleetStore): Promise<string> {
  const token = await withToken(store);
  const done = await store.transaction((r) =>
    enrol(r, now, { token, applicant, id: id(1), certificateEnds }),
  );
  assert.ok(done.ok);
  return done.device.id;
}

const isListed = (_: string, version: string): boolean => ["1.0.0", "1.1.0"].includes(version);

async function tell(store: FleetStore, report: Report) {
  const { envelope, payloadSha256 } = await signReport(report, key);
  const opened = openReport(envelope, { key: key.publicKey, device: report.device });
  const intake = await store.transaction(async (r) =>
    takeReport(r, isListed, now, (await r.device(report.device))!, opened, fromUtf8(envelope)),
  );
  return { intake, payloadSha256 };
}

function inventory(device: string, sequence: number, previous: string | null, running: string): Report {
  return {
    kind: "inventory",
    id: String(sequence).padStart(32, "0"),
    device,
    sequence,
    previous,
    issued: "2026-11-21T04:00:00Z",
    boot: "b".repeat(32),
    components: [{ product: "shop", running, manifestSha256: null, committed: running, floor: null }],
  };
}

/** Where a store can be: the same rules hold in each. */
type Kind = {
  readonly fresh: () => Promise<string>;
  readonly open: (place: string) => Promise<FleetStore>;
  readonly rows: (place: string, text: string) => Promise<readonly unknown[]>;
};

const FILE: Kind = {
  fresh: async () => freshFile(),
  open: (place) => openFleetStore(place),
  rows: async (place, text) => {
    const raw = new DatabaseSync(place);
    const found = raw.prepare(text).all();
    raw.close();
    return found;
  },
};

const POSTGRES: Kind = {
  fresh: async () => {
    // One after the other in the same tables, which is quicker than making many.
    await cluster.sql(
      database,
      TABLES.toReversed()
        .map((table) => `delete from upkeep_fleet.${table}`)
        .join("; "),
    );
    return database;
  },
  open: (place) => openFleetStore(place, { PGPASSFILE: cluster.passwordFile }),
  rows: (place, text) => cluster.sql(place, `set search_path = upkeep_fleet; ${text}`),
};

describe("in a file", () => suite(FILE));
describe("in PostgreSQL", needsPostgres(), () => {
  before(async () => {
    cluster = await startPostgres();
    database = await cluster.createDatabase();
    await (await POSTGRES.open(database)).close();
  });
  after(() => cluster?.remove());
  suite(POSTGRES);
});

function suite({ fresh, open, rows }: Kind): void {
  describe("an enrolment token", () => {
    it("makes one device, in its group, and is spent", async () => {
      const store = await open(await fresh());
      const token = await withToken(store);
      const ask = (n: number, who: Applicant) =>
        store.transaction((r) => enrol(r, now, { token, applicant: who, id: id(n), certificateEnds }));
      const first = await ask(1, applicant);
      assert.ok(first.ok);
      assert.equal(first.device.group, "tills");
      const second = await ask(2, other(4));
      assert.ok(!second.ok);
      assert.equal(second.error.code, "fleet/token-used");
      assert.equal((await store.transaction((r) => r.devices({ limit: 10 }))).length, 1);
      await store.close();
    });

    it("may be repeated by the same keys, because an answer can get lost", async () => {
      const store = await open(await fresh());
      const token = await withToken(store);
      const ask = (n: number) =>
        store.transaction((r) => enrol(r, now, { token, applicant, id: id(n), certificateEnds }));
      await ask(1);
      const again = await ask(2);
      assert.ok(again.ok && again.again);
      assert.equal(again.device.id, id(1));
      await store.transaction((r) => revoke(r, now, id(1), "operator"));
      assert.ok(!(await ask(3)).ok, "not after the device was revoked");
      await store.close();
    });

    it("is refused with a wrong secret, an unknown id, or after its time; the attempts are counted", async () => {
      const store = await open(await fresh());
      const token = await withToken(store);
      const ask = async (change: object, at = now) => {
        const done = await store.transaction((r) =>
          enrol(r, at, { token: { ...token, ...change }, applicant, id: id(1), certificateEnds }),
        );
        return done.ok ? "ok" : done.error.code;
      };
      assert.equal(await ask({ secret: newToken(systemRandom, pins).secret }), "fleet/token-unknown");
      assert.equal(await ask({ id: "0".repeat(16) }), "fleet/token-unknown");
      assert.equal(await ask({}, now + DAY), "fleet/token-expired");
      assert.equal((await store.transaction((r) => r.token(token.id)))?.failures, 2);
      assert.equal(await ask({}), "ok", "bad attempts lock nobody out");
      await store.close();
    });

    it("that was made while a clock was two years ahead opens nothing once the clock is right", async () => {
      const store = await open(await fresh());
      const token = await withToken(store);
      const ask = async (at: number) => {
        const done = await store.transaction((r) =>
          enrol(r, at, { token, applicant, id: id(1), certificateEnds }),
        );
        return done.ok ? "ok" : done.error.code;
      };
      assert.equal(await ask(now - 730 * DAY), "fleet/token-expired");
      assert.equal(await ask(now - 59 * MINUTE), "ok");
      await store.close();
    });

    it("is kept as a digest only", async () => {
      const path = await fresh();
      const store = await open(path);
      const token = await withToken(store);
      await store.close();
      const dump = JSON.stringify(await rows(path, "select * from token"));
      const audit = JSON.stringify(await rows(path, "select * from audit"));
      assert.ok(dump.includes(token.id));
      assert.ok(!dump.includes(token.secret) && !audit.includes(token.secret));
    });

    it("cannot bring a key that another device has", async () => {
      const store = await open(await fresh());
      await withDevice(store);
      const token = await withToken(store);
      for (const who of [applicant, { ...other(5), reportKey: applicant.reportKey }]) {
        const done = await store.transaction((r) =>
          enrol(r, now, { token, applicant: who, id: id(2), certificateEnds }),
        );
        assert.ok(!done.ok);
        assert.equal(done.error.code, "fleet/key-in-use");
      }
      await store.close();
    });
  });

  describe("a renewed certificate", () => {
    it("works beside the old one until its first use, then alone (make before break)", async () => {
      const store = await open(await fresh());
      const device = await withDevice(store);
      const next = "9".repeat(64);
      await store.transaction((r) => renew(r, now, { device, spki: next, certificateEnds }));
      for (const spki of [applicant.spki, next]) {
        assert.equal((await store.transaction((r) => r.deviceBySpki(spki)))?.id, device);
      }
      await store.transaction((r) => adoptNextKey(r, now, { device, spki: next, certificateEnds }));
      assert.equal(await store.transaction((r) => r.deviceBySpki(applicant.spki)), null);
      assert.equal((await store.transaction((r) => r.deviceBySpki(next)))?.id, device);
      await store.close();
    });

    it("needs a new key, and an active device", async () => {
      const store = await open(await fresh());
      const device = await withDevice(store);
      const ask = (spki: string) =>
        store.transaction((r) => renew(r, now, { device, spki, certificateEnds }));
      await assert.rejects(ask(applicant.spki), { code: "fleet/key-in-use" });
      await store.transaction((r) => revoke(r, now, device, "operator"));
      await assert.rejects(ask("9".repeat(64)), { code: "fleet/device-revoked" });
      await store.close();
    });
  });

  describe("a report of a repair", () => {
    it("is listed as one, keeps what runs, and raises nothing of its own", async () => {
      const store = await open(await fresh());
      const device = await withDevice(store);
      const first = await tell(store, inventory(device, 1, null, "1.1.0"));
      const report: Report = {
        kind: "attempt",
        id: "7".repeat(32),
        device,
        sequence: 2,
        previous: first.payloadSha256,
        issued: "2026-11-21T04:00:00Z",
        boot: "b".repeat(32),
        attempt: "8".repeat(32),
        product: "shop",
        from: "1.1.0",
        to: "1.1.0",
        outcome: "success",
        step: "repaired",
        started: "2026-11-21T04:00:00Z",
        duration: 1,
        bytes: 1,
        source: "origin",
        running: "1.1.0",
        reason: "bin/shop had other bytes.",
      };
      assert.equal((await tell(store, report)).intake, "accepted");
      const [listed] = await store.transaction((r) => r.reports({ device, outcome: "repaired", limit: 10 }));
      assert.match(reportLine(listed!), /#2 shop 1\.1\.0: repaired$/);
      const failed = { ...listed!, outcome: "refused", code: "mirror/wrong-content", step: "downloading" };
      assert.match(
        reportLine(failed),
        /shop 1\.1\.0: repair: refused \(mirror\/wrong-content at downloading\)$/,
      );
      assert.deepEqual(await store.transaction((r) => r.alarms(10)), []);
      const [component] = await store.transaction((r) => r.components(device));
      assert.deepEqual([component?.running, component?.committed], ["1.1.0", "1.1.0"]);
      await store.close();
    });
  });

  describe("a report", () => {
    it("counts once however often it arrives (replay), and says what runs", async () => {
      const store = await open(await fresh());
      const device = await withDevice(store);
      const first = await tell(store, inventory(device, 1, null, "1.0.0"));
      assert.equal(first.intake, "accepted");
      assert.equal((await tell(store, inventory(device, 1, null, "1.0.0"))).intake, "duplicate");
      assert.equal((await tell(store, inventory(device, 1, null, "1.1.0"))).intake, "conflict");
      assert.equal(
        (await tell(store, inventory(device, 2, first.payloadSha256, "1.1.0"))).intake,
        "accepted",
      );
      const components = await store.transaction((r) => r.components(device));
      assert.deepEqual(
        components.map((c) => [c.product, c.running]),
        [["shop", "1.1.0"]],
      );
      assert.equal((await store.transaction((r) => r.reports({ device, limit: 10 }))).length, 2);
      const alarms = await store.transaction((r) => r.alarms(10));
      assert.deepEqual(
        alarms.map((a) => a.code),
        ["report/id-reused"],
      );
      await store.close();
    });

    for (const [what, code, reports] of [
      ["a gap in the chain", "report/gap", [[3, "c", "1.0.0"]]],
      [
        "two chains by one name (clone)",
        "report/fork",
        [
          [1, null, "1.0.0"],
          [2, "c", "1.0.0"],
        ],
      ],
      ["a version nobody published (C34)", "device/unlisted-version", [[1, null, "999.0.0"]]],
      [
        "a version that went back",
        "device/version-went-back",
        [
          [1, null, "1.1.0"],
          [2, "", "1.0.0"],
        ],
      ],
    ] as const) {
      it(`raises an alarm on ${what}, once however often`, async () => {
        const store = await open(await fresh());
        const device = await withDevice(store);
        let last: string | null = null;
        for (const [sequence, previous, running] of reports) {
          const before: string | null =
            previous === "" ? last : previous === null ? null : previous.repeat(64);
          const told = await tell(store, inventory(device, sequence, before, running));
          assert.equal(told.intake, "accepted");
          last = told.payloadSha256;
        }
        const alarms = await store.transaction((r) => r.alarms(10));
        assert.deepEqual(
          alarms.map((a) => [a.code, a.count]),
          [[code, 1]],
        );
        await store.close();
      });
    }

    it("that comes late does not overwrite what a newer one said", async () => {
      const store = await open(await fresh());
      const device = await withDevice(store);
      await tell(store, inventory(device, 5, "c".repeat(64), "1.1.0"));
      await tell(store, inventory(device, 2, "d".repeat(64), "1.0.0"));
      const [component] = await store.transaction((r) => r.components(device));
      assert.equal(component?.running, "1.1.0");
      assert.equal((await store.transaction((r) => r.device(device)))?.lastSequence, 5);
      await store.close();
    });
  });

  describe("a device that is kept from the news (freeze)", () => {
    it("raises an alarm once its timestamp was replaced half a day ago, and not before", async () => {
      const store = await open(await fresh());
      const device = await withDevice(store);
      const sha = (n: number) => String(n).repeat(64);
      await store.transaction(async (r) => {
        await noteTimestamp(r, now, sha(1));
        await noteTimestamp(r, now, sha(1));
        const history = await noteTimestamp(r, now + HOUR, sha(2));
        const seen = (at: number, timestamp: string | null) =>
          watchFreshness(r, history, [{ device, at, claimed: [], timestamp }]);
        await seen(now + 12 * HOUR, sha(1));
        await seen(now + 99 * HOUR, sha(2));
        await seen(now + 99 * HOUR, sha(7));
        await seen(now + 99 * HOUR, null);
        assert.deepEqual(await r.alarms(10), []);
        await seen(now + 13 * HOUR, sha(1));
        assert.deepEqual(
          (await r.alarms(10)).map((a) => a.code),
          ["device/frozen"],
        );
      });
      await store.close();
    });
  });

  describe("what one device can make the server keep", () => {
    it("is bounded: reports, kinds of alarms, products", async () => {
      const store = await open(await fresh());
      const device = await withDevice(store);
      const head = { device, previous: "c".repeat(64), issued: "2026-11-21T04:00:00Z", boot: "b".repeat(32) };
      const key = (n: number) => String(n).padStart(32, "0");
      await store.transaction(async (r) => {
        for (let n = 2; n < 700; n++) {
          const common = { ...head, id: key(n), sequence: n };
          const attempt = {
            attempt: key(n),
            product: `p${n}`,
            from: null,
            to: "1.0.0",
            outcome: "failure",
            code: "a/b",
          };
          const rest = {
            step: "x",
            started: head.issued,
            duration: 0,
            bytes: 0,
            source: "none",
            running: "1.0.0",
          };
          const report = (
            n % 2 === 0
              ? { ...common, kind: "alarm", code: `made-up/code-${n}`, since: head.issued, reason: "" }
              : { ...common, kind: "attempt", ...attempt, ...rest }
          ) as Report;
          const current = (await r.device(device))!;
          await takeReport(r, isListed, now, current, { report, payloadSha256: "c".repeat(64) }, "{}");
        }
      });
      const kept = await store.read(async (r) => ({
        reports: (await r.reports({ device, limit: 10_000 })).length,
        alarms: (await r.alarms(10_000)).length,
        products: (await r.components(device)).length,
      }));
      assert.deepEqual(kept, { reports: 500, alarms: 51, products: 128 });
      await store.close();
    });
  });

  describe("several servers on one store", () => {
    it("announce the newest state of the repository only, until a new root starts timestamps over", async () => {
      const store = await open(await fresh());
      const says = (root: number, timestamp: number) =>
        store.transaction((r) => leads(r, { root, timestamp }));
      const told = [];
      for (const [root, timestamp] of [
        [1, 7],
        [1, 6],
        [1, 7],
        [1, 10],
        [1, 9],
        [2, 1],
        [1, 11],
      ] as const)
        told.push(await says(root, timestamp));
      assert.deepEqual(told, [true, false, true, true, false, true, false]);
      await store.close();
    });

    it("have the same authorities: the first one's", async () => {
      const store = await open(await fresh());
      const claim = (server: string, device: string) =>
        store.transaction((r) => claimAuthorities(r, { server, device }));
      assert.equal(await store.read(claimedAuthorities), null);
      await claim("a", "b");
      await claim("a", "b");
      for (const [server, device] of [
        ["a", "c"],
        ["c", "b"],
      ] as const)
        await assert.rejects(claim(server, device), { code: "fleet/other-authorities" });
      assert.deepEqual(await store.read(claimedAuthorities), { server: "a", device: "b" });
      await store.close();
    });

    it("do not let an older sighting hide a newer one, but one from a wrong clock", async () => {
      const store = await open(await fresh());
      const device = await withDevice(store);
      const seen = async (at: number): Promise<number | null | undefined> =>
        store.transaction(async (r) => {
          await r.sight([{ device, at, claimed: [], timestamp: null }]);
          return (await r.device(device))?.lastSeen;
        });
      assert.equal(await seen(now), now);
      assert.equal(await seen(now - 2000), now);
      assert.equal(await seen(now + 400 * DAY), now + 400 * DAY);
      assert.equal(await seen(now), now);
      await store.close();
    });
  });

  describe("the store", () => {
    it("lets readers work while another process writes, and shows them one state", async () => {
      const path = await fresh();
      const [one, two] = [await open(path), await open(path)];
      await one.read(async (r) => {
        assert.equal((await r.wakes()).size, 0);
        await two.transaction((w) => wake(w, "all"));
        assert.equal((await r.wakes()).size, 0);
      });
      assert.equal((await one.read((r) => r.wakes())).size, 1);
      await one.close();
      await two.close();
    });

    it("undoes everything when a transaction fails", async () => {
      const store = await open(await fresh());
      await assert.rejects(
        store.transaction(async (r) => {
          await wake(r, "all");
          throw new Error("no");
        }),
        /no/,
      );
      assert.equal((await store.transaction((r) => r.wakes())).size, 0);
      await store.close();
    });

    it("runs transactions one after the other, also when asked at once", async () => {
      const store = await open(await fresh());
      const seqs = await Promise.all(
        Array.from({ length: 20 }, () => store.transaction((r) => wake(r, "all"))),
      );
      assert.deepEqual(
        seqs,
        Array.from({ length: 20 }, (_, i) => i + 1),
      );
      await store.close();
    });

    it("notices what another process wrote, and only that", async () => {
      const path = await fresh();
      const [one, two] = [await open(path), await open(path)];
      const before = one.foreignChanges();
      await one.transaction((r) => wake(r, "all"));
      assert.equal(one.foreignChanges(), before);
      await two.transaction((r) => wake(r, "all"));
      // Another machine's news takes its way.
      for (let tries = 0; one.foreignChanges() === before && tries < 200; tries++) await sleep(10);
      assert.notEqual(one.foreignChanges(), before);
      assert.equal((await one.transaction((r) => r.wakes())).get("all"), 2);
      await one.close();
      await two.close();
    });

    it("keeps an audit chain over everything that happened", async () => {
      const store = await open(await fresh());
      const device = await withDevice(store);
      await store.transaction((r) => revoke(r, now + HOUR, device, "operator"));
      const rows = await store.transaction((r) => r.audit(0, 100));
      assert.deepEqual(
        rows.map((row) => row.action),
        ["token/made", "device/enrolled", "device/revoked"],
      );
      assert.equal(checkChain(null, rows)?.sequence, 3);
      await store.close();
    });
  });
}

describe("the store in a file", () => {
  it("is readable by its owner only", async () => {
    const path = freshFile();
    const store = await openFleetStore(path);
    await store.transaction((r) => wake(r, "all"));
    for (const file of [path, `${path}-wal`]) assert.equal(statSync(file).mode & 0o777, 0o600, file);
    await store.close();
  });

  it("refuses a file that is no database, and one of a later program", async () => {
    const bad = freshFile();
    writeFileSync(
      bad,
      "not a database, though it is long enough to look like something else entirely".repeat(20),
    );
    await assert.rejects(openFleetStore(bad), { code: "fleet/store-corrupt" });
    const newer = freshFile();
    await (await openFleetStore(newer)).close();
    const raw = new DatabaseSync(newer);
    raw.exec("insert into schema_step values (99)");
    raw.close();
    await assert.rejects(openFleetStore(newer), { code: "fleet/store-newer" });
  });

  it("is held by one process at a time", () => {
    const path = freshFile();
    const held = holdExclusive(path);
    assert.throws(() => holdExclusive(path), { code: "fleet/store-in-use" });
    held.release();
    holdExclusive(path).release();
  });
});
