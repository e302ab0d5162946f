// A dump of the fleet's store: what one database held, another holds; a file that is not whole changes nothing.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { appendAudit } from "../../fleet/audit.ts";
import { addToken } from "../../fleet/enrol.ts";
import { wakeNow } from "../../fleet/messages.ts";
import { needsPostgres, startPostgres, type PostgresCluster } from "../../testing/postgres-cluster.ts";
import { COLUMNS } from "./_columns.ts";
import { planRollout } from "../../fleet/rollout/change.ts";
import { DEFAULT_RULES, parsePhase, type RolloutPlan } from "../../fleet/rollout/plan.ts";
import { exportFleet, importFleet } from "./dump.ts";
import { openFleetStore, openFleetTables } from "./store.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-dump-"));
after(() => rmSync(folder, { recursive: true }));
let count = 0;
const fresh = (ending: string): string => join(folder, `${++count}.${ending}`);
const by = { actor: "operator:test", now: 7 };

/** Something in every table, texts of all kinds among it. */
async function fill(place: string, env = {}): Promise<void> {
  const store = await openFleetStore(place, env);
  await store.transaction(async (r) => {
    await addToken(r, 1, { id: "t".repeat(16), secret: "s".repeat(43), group: "tills", life: 1000 });
    for (let n = 0; n < 1201; n++) {
      const id = `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
      await r.addDevice({
        id,
        name: n === 0 ? 'Kasse "7" – 東京 🛒 \\ \u2028 end' : `till ${n}`,
        group: "tills",
        status: "active",
        enrolled: 5,
        token: "t".repeat(16),
        platform: { os: "linux", arch: "x64", libc: "glibc" },
        reportKey: String(n).padStart(64, "a"),
        spki: String(n).padStart(64, "b"),
        nextSpki: null,
        certificateEnds: Number.MAX_SAFE_INTEGER,
        lastSeen: n % 2 === 0 ? null : 3,
        claimed: [{ product: "shop", version: "1.0.0" }],
        agent: n === 1 ? { version: "0.2.0", features: ["needs"] } : null,
        timestamp: null,
        lastSequence: 1,
        lastReport: null,
      });
    }
    const device = "00000000-0000-4000-8000-000000000000";
    await r.putComponent({
      device,
      product: "shop",
      running: "1.0.0",
      manifestSha256: null,
      committed: null,
      floor: null,
      sequence: 1,
      at: 1,
    });
    await r.putDesired({
      group: "tills",
      product: "shop",
      channel: "stable",
      version: null,
      hold: null,
      holdUntil: null,
      changed: 1,
    });
    await r.addReport({
      device,
      id: "1".repeat(32),
      sequence: 1,
      kind: "alarm",
      received: 1,
      issued: 1,
      product: null,
      from: null,
      to: null,
      outcome: null,
      code: "a/b",
      step: null,
      reason: "line one\nline two",
      payloadSha256: "c".repeat(64),
      envelope: "{}",
    });
    await r.putAlarm({
      device,
      code: "a/b",
      about: "shop",
      first: 1,
      last: 2,
      count: 3,
      detail: "detail",
      acknowledgedBy: "operator:kim",
      acknowledgedAt: 4,
      ended: null,
    });
    await r.putLabels(device, { tags: ["till"], attributes: { site: "köln" } });
    await planRollout(r, 3, aRollout(), "operator:kim");
    await r.putRolloutDevice({
      rollout: "shop-1",
      device,
      phase: 0,
      offered: 4,
      result: "failed",
      at: 5,
      sequence: 6,
      code: "a/b",
      step: "probation",
      firstError: "Error: é",
    });
    await wakeNow(r, 3, "all");
  });
  await store.close();
}

const aRollout = (): RolloutPlan => ({
  product: "shop",
  version: "1.1.0",
  manifestSha256: "d".repeat(64),
  groups: [],
  phases: [parsePhase("100%")],
  rules: DEFAULT_RULES,
  windows: [],
  deadline: null,
  startAt: null,
  approvals: 0,
  salt: "01",
});

async function isEmpty(place: string, env = {}): Promise<boolean> {
  const store = await openFleetStore(place, env);
  const empty = await store.read(
    async (r) => (await r.groups()).length === 0 && (await r.lastAudit()) === null,
  );
  await store.close();
  return empty;
}

const rowsOf = (file: string): readonly string[] =>
  readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line.startsWith("[") && !line.includes("store/imported"));

/** A file as a forger makes it: whatever it says, its digest fits. */
function sealed(lines: readonly string[]): string {
  const text = lines.map((line) => `${line}\n`).join("");
  const rows = lines.filter((line) => line.startsWith("[")).length;
  return `${text}${createHash("sha256").update(text).digest("hex")} ${rows}\n`;
}

describe("a dump", () => {
  let source: string;
  let dump: string;
  before(async () => {
    source = fresh("sqlite");
    dump = fresh("dump");
    await fill(source);
    await exportFleet(source, {}, dump);
  });

  it("goes into another file store, row for row, and the audit log says where it came from", async () => {
    const place = fresh("sqlite");
    const done = await importFleet(place, {}, dump, by);
    assert.equal(done.rows, rowsOf(dump).length);
    const again = fresh("dump");
    await exportFleet(place, {}, again);
    assert.deepEqual(rowsOf(again), rowsOf(dump));
    const store = await openFleetStore(place);
    const last = await store.read((r) => r.lastAudit());
    assert.deepEqual(
      [last?.action, last?.actor, last?.facts["sha256"]],
      ["store/imported", by.actor, done.sha256],
    );
    await store.close();
  });

  it("is readable by its owner only, replaces no file, and leaves nothing half done", async () => {
    assert.equal(statSync(dump).mode & 0o777, 0o600);
    const before = readFileSync(dump);
    await assert.rejects(exportFleet(source, {}, dump), { code: "fleet/bad-dump" });
    assert.deepEqual(readFileSync(dump), before);
    await assert.rejects(exportFleet(source, {}, join(folder, "none", "x")), { code: "fleet/bad-dump" });
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.includes("partial")),
      [],
    );
  });

  it("is the same, byte for byte, of the same content", async () => {
    const again = fresh("dump");
    await exportFleet(source, {}, again);
    assert.deepEqual(readFileSync(again), readFileSync(dump));
  });

  it("covers every table and column of the database", async () => {
    const tables = await openFleetTables(source);
    const { tables: found } = await tables.read(async (tx) => ({
      tables: await tx.introspection.getTables(),
    }));
    await tables.close();
    assert.deepEqual(
      Object.fromEntries(
        found
          .filter(({ name }) => name !== "schema_step")
          .map(({ name, columns }) => [name, columns.map((column) => column.name).toSorted()]),
      ),
      Object.fromEntries(
        Object.entries(COLUMNS).map(([name, columns]) => [name, Object.keys(columns).toSorted()]),
      ),
    );
  });

  it("is not made of a store whose audit log was tampered with", async () => {
    const place = fresh("sqlite");
    await importFleet(place, {}, dump, by);
    const tables = await openFleetTables(place);
    await tables.transaction((tx) =>
      tx.updateTable("audit").set({ actor: "nobody" }).where("sequence", "=", 1).execute(),
    );
    await tables.close();
    const file = fresh("dump");
    await assert.rejects(exportFleet(place, {}, file), { code: "fleet/audit-broken" });
    assert.ok(!existsSync(file));
  });

  it("goes into no store that holds something", async () => {
    const place = fresh("sqlite");
    const store = await openFleetStore(place);
    await store.transaction((r) => r.putSetting("a", "b"));
    await store.close();
    await assert.rejects(importFleet(place, {}, dump, by), { code: "fleet/store-not-empty" });
  });

  const lines = (): string[] => readFileSync(dump, "utf8").split("\n").slice(0, -2);
  const forgeries: readonly (readonly [what: string, make: () => string | Buffer, code?: string])[] = [
    ["was cut in the middle", () => readFileSync(dump).subarray(0, 20_000)],
    ["lacks its last line", () => `${lines().join("\n")}\n`],
    ["lacks its last byte", () => readFileSync(dump).subarray(0, -1)],
    [
      "has one bit turned",
      () => {
        const bytes = Buffer.from(readFileSync(dump));
        bytes[5000]! ^= 1;
        return bytes;
      },
    ],
    [
      "lacks a row",
      () => `${lines().toSpliced(5, 1).join("\n")}\n${readFileSync(dump, "utf8").split("\n").at(-2)!}\n`,
    ],
    ["has something after its end", () => `${readFileSync(dump, "utf8")}x\n`],
    ["is empty", () => ""],
    ["is something else", () => "PGDMP and so on\n"],
    [
      "is of a later program",
      () => sealed(lines().with(0, '{"format":"upkeep fleet store 1","step":99}')),
      "fleet/store-newer",
    ],
    ["has a row of an unknown table", () => sealed([...lines(), '["secret",{"a":1}]'])],
    ["has its tables in another order", () => sealed([lines()[0]!, ...lines().slice(1).toReversed()])],
    ["has a column more", () => sealed(lines().map((line) => line.replace('{"scope"', '{"evil":1,"scope"')))],
    ["has a text for a number", () => sealed(lines().map((line) => line.replace('"seq":1', '"seq":"1"')))],
    ["has a zero in a text", () => sealed(lines().map((line) => line.replace("till 3", "till\\u0000")))],
    ["has a row twice", () => sealed([...lines(), lines().at(-1)!])],
    [
      "has a report of no device",
      () =>
        sealed(
          lines().map((line) =>
            line.startsWith('["report"') ? line.replace("000000000000", "999999999999") : line,
          ),
        ),
    ],
    [
      "spells a row in another way",
      () => sealed(lines().map((line) => line.replace('{"scope"', '{ "scope"'))),
    ],
    [
      "has an altered row in its audit log",
      () =>
        sealed(
          lines().map((line) =>
            line.startsWith('["audit"') ? line.replace('"actor":"operator"', '"actor":"nobody"') : line,
          ),
        ),
      "fleet/audit-broken",
    ],
    [
      "has an audit log that lacks its first row",
      () =>
        sealed(
          lines().filter(
            (line) =>
              !(line.startsWith('["audit"') && line.includes('"sequence":1,')) &&
              !(line.startsWith('["audit"') && line.includes('"sequence":1}')),
          ),
        ),
      "fleet/audit-broken",
    ],
  ];
  for (const [what, make, code = "fleet/bad-dump"] of forgeries) {
    it(`is refused, and nothing is changed, when it ${what}`, async () => {
      const file = fresh("dump");
      const place = fresh("sqlite");
      writeFileSync(file, make());
      await assert.rejects(importFleet(place, {}, file, by), { code });
      assert.ok(await isEmpty(place));
    });
  }

  it("is refused when it is not there", async () => {
    await assert.rejects(importFleet(fresh("sqlite"), {}, join(folder, "none"), by), {
      code: "fleet/bad-dump",
    });
  });

  describe("between SQLite and PostgreSQL", needsPostgres(), () => {
    let cluster: PostgresCluster;
    before(async () => void (cluster = await startPostgres()));
    after(() => cluster?.remove());

    it("loses nothing there and back again", async () => {
      const env = { PGPASSFILE: cluster.passwordFile };
      const place = await cluster.createDatabase();
      await importFleet(place, env, dump, by);
      const middle = fresh("dump");
      await exportFleet(place, env, middle);
      assert.deepEqual(rowsOf(middle), rowsOf(dump));
      const back = fresh("sqlite");
      await importFleet(back, {}, middle, by);
      const last = fresh("dump");
      await exportFleet(back, {}, last);
      assert.deepEqual(rowsOf(last), rowsOf(dump));
      await assert.rejects(importFleet(place, env, dump, by), { code: "fleet/store-not-empty" });
    });

    it("shows one moment while others write", async () => {
      const env = { PGPASSFILE: cluster.passwordFile };
      const place = await cluster.createDatabase();
      await fill(place, env);
      const store = await openFleetStore(place, env);
      const stopping = new AbortController();
      const writer = (async () => {
        for (let n = 0; !stopping.signal.aborted; n++)
          await store.transaction((r) =>
            appendAudit(r, n, { actor: "server", action: "a/b", subject: "s", facts: {} }),
          );
      })();
      const file = fresh("dump");
      await exportFleet(place, env, file);
      stopping.abort();
      await writer;
      await store.close();
      await importFleet(fresh("sqlite"), {}, file, by);
    });

    it("that is refused changes nothing there either", async () => {
      const env = { PGPASSFILE: cluster.passwordFile };
      const place = await cluster.createDatabase();
      const file = fresh("dump");
      writeFileSync(file, sealed([...lines(), lines().at(-1)!]));
      await assert.rejects(importFleet(place, env, file, by), { code: "fleet/bad-dump" });
      assert.ok(await isEmpty(place, env));
    });
  });
});
