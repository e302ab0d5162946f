// The audit log in a PostgreSQL database: its suite, every statement as the last one, real kills, and tampering with rows.

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { fromUtf8 } from "../../core/bytes.ts";
import { encodeEntry, type AuditEntry } from "../../signing/audit/entry.ts";
import { readHead, readSegment, splitLines } from "../../signing/audit/files.ts";
import { AuditLog } from "../../signing/audit/log.ts";
import { noteKeyFromSpki } from "../../signing/audit/note.ts";
import { verifyLog } from "../../signing/audit/verify.ts";
import { resumeLedger, SnapshotWriter, snapshotPath } from "../../signing/audit/ledger-snapshot.ts";
import { ending, logOf, portsOf, result, suiteKey, testAuditLog } from "../../testing/audit-log-suite.ts";
import { needsPostgres, startPostgres, type PostgresCluster } from "../../testing/postgres-cluster.ts";
import { systemClock } from "../system/clock.ts";
import { PostgresFiles } from "./postgres-files.ts";
import { openPostgres, postgresTarget, type OpenedPostgres } from "../database/postgres.ts";
import { writeStore, type OpenedStore, type StoreAddress } from "./signer-store.ts";

describe("the audit log in a database", { ...needsPostgres(), timeout: 240_000 }, () => {
  let cluster: PostgresCluster;
  let address: StoreAddress;
  let store: OpenedStore;
  let door: OpenedPostgres<unknown>;
  let serial = 0;
  before(async () => {
    cluster = await startPostgres();
    address = { url: await cluster.createDatabase(), passwordFile: cluster.passwordFile };
    store = await writeStore(address, { signer: "suite", clock: systemClock });
    await store.files.makeDirectory("/suite");
    door = openPostgres({
      ...postgresTarget(address.url, { PGPASSFILE: cluster.passwordFile }),
      schema: "upkeep_signer",
      name: "cut",
      connections: 1,
      refuse: (_problem, sentence) => new Error(sentence),
    });
  });
  after(async () => {
    await store.close();
    await door.close();
    await cluster.remove();
  });
  const place = async () => ({ disk: store.files, folder: `/suite/log-${serial++}` });
  const rows = (text: string) => cluster.sql(address.url, text);

  testAuditLog(place);

  it("keeps what it acknowledged whichever statement was the last, done or not done, and goes on", async () => {
    const session = await door.session();
    await session.query("insert into writer values ('cut', 1, 'a test')");
    const right = { signer: "cut", epoch: 1 };
    const gone = new Error("the connection is gone");
    const body = async (folder: string, limit: number, done: boolean) => {
      let asked = 0;
      const acknowledged: AuditEntry[] = [];
      let covered = 0;
      const files = new PostgresFiles(
        {
          query: async (text, values) => {
            // A transaction that is cut is rolled back by the server, as is one whose commit never came.
            const last = asked++ === limit;
            if (asked - 1 > limit) throw gone;
            if (last && !done) throw gone;
            const found = await session.query(text, values);
            if (last) throw gone;
            return found;
          },
        },
        right,
      );
      const keep = async (work: Promise<{ entry: AuditEntry; size?: number }>): Promise<void> => {
        const { entry, size = 0 } = await work;
        acknowledged.push(entry);
        covered = Math.max(covered, size);
      };
      try {
        const { log } = await AuditLog.open(portsOf({ disk: files, folder }));
        for (let i = 0; i < 2; i++) {
          await keep(log.append(ending(1000 + i)));
          await keep(log.seal(ending(2000 + i)));
        }
        await Promise.all([
          keep(log.seal(ending(3000))),
          keep(log.append(ending(3001))),
          log.keep(new Uint8Array(20_000)),
          keep(log.seal(ending(3002))),
        ]);
        await log.close();
      } catch (error) {
        if (limit === Infinity) throw error;
      }
      await session.query("rollback");
      return { asked, acknowledged, covered };
    };
    const start = async (): Promise<string> => {
      const folder = `/suite/log-${serial++}`;
      await logOf({ disk: new PostgresFiles(session, right), folder }, 253, 1);
      return folder;
    };
    const first = await start();
    const { asked } = await body(first, Infinity, true);
    assert.ok(asked > 40, `${asked} statements`);
    for (let limit = 0; limit < asked; limit += 5)
      for (const done of [false, true]) {
        const folder = await start();
        const { acknowledged, covered } = await body(folder, limit, done);
        const at = `after statement ${limit}, ${done ? "done" : "not done"}`;
        const disk = new PostgresFiles(session, right);
        assert.ok(((await readHead(disk, folder, suiteKey))?.size ?? 0) >= covered, at);
        const { log } = await AuditLog.open(portsOf({ disk, folder }));
        await log.seal(ending(9999));
        await log.close();
        const lines = splitLines(await readSegment(disk, folder, 0)).lines.map(fromUtf8);
        for (const entry of acknowledged) assert.equal(lines[entry.n], fromUtf8(encodeEntry(entry)), at);
        assert.deepEqual((await verifyLog(disk, folder, suiteKey)).faults, [], at);
      }
    await session.close();
  });

  it("loses nothing that was acknowledged when its writer is killed, or the database server crashes", async () => {
    const pair = generateKeyPairSync("ed25519");
    const secret = pair.privateKey.export({ type: "pkcs8", format: "der" }).toString("base64");
    const privateKey = createPrivateKey(pair.privateKey.export({ type: "pkcs8", format: "pem" }));
    const spki = new Uint8Array(createPublicKey(privateKey).export({ type: "spki", format: "der" }));
    const key = noteKeyFromSpki("test/log", spki);
    const program = new URL("../../testing/log-writer.ts", import.meta.url).pathname;
    const [durable, covered] = [new Set<number>(), new Set<number>()];
    try {
      for (let round = 0; round < 10; round++) {
        const child: ChildProcess = spawn(
          process.execPath,
          ["--no-warnings", program, address.url, cluster.passwordFile, secret],
          { stdio: ["ignore", "pipe", "inherit"] },
        );
        let text = "";
        const ready = new Promise<void>((resolve) =>
          child.stdout!.on("data", (part: Buffer) => {
            text += part.toString();
            // Somewhere in the middle of what it does: after so many acknowledgements, and a moment more.
            if (text.split("\n").length > 2 + ((round * 17) % 40)) resolve();
          }),
        );
        const closed = new Promise((resolve) => child.once("close", resolve));
        await Promise.race([ready, closed]);
        await systemClock.sleep((round * 7) % 23);
        const crash = round % 4 === 3;
        if (crash) await cluster.stop("immediate");
        else child.kill("SIGKILL");
        await closed;
        if (crash) await cluster.start();
        // What was cut off in the middle of a line was not said.
        for (const line of text.slice(0, text.lastIndexOf("\n")).split("\n").slice(1)) {
          const [word, n] = line.split(" ");
          (word === "durable" ? durable : covered).add(Number(n));
        }
        const next = await writeStore(address, { signer: "killed", clock: systemClock, waiting: () => {} });
        const head = await readHead(next.files, next.folder, key);
        for (const n of covered) assert.ok((head?.size ?? 0) > n, `round ${round}: ${n} is not covered`);
        const { log } = await AuditLog.open({
          ...portsOf({ disk: next.files, folder: next.folder }),
          key,
          sign: async (message) => new Uint8Array(sign(null, message, privateKey)),
        });
        for (const n of durable) assert.ok(log.size > n, `round ${round}: ${n} is lost`);
        await log.close();
        assert.deepEqual((await verifyLog(next.files, next.folder, key)).faults, [], `round ${round}`);
        await next.close();
      }
    } finally {
      // The suite's own connection died with the server.
      await store.close().catch(() => undefined);
      store = await writeStore(address, { signer: "suite", clock: systemClock, waiting: () => {} });
    }
    assert.ok(covered.size > 50, `${covered.size} were written in all`);
  });

  it("starts from the sealed snapshot in the database, and reads every entry when a byte of it was changed", async () => {
    const { disk, folder } = await place();
    const at = { disk, folder, origin: suiteKey.name, key: new Uint8Array(32).fill(5) };
    const admins = { kept: [], apply: () => {} };
    const start = async () => {
      const { log } = await AuditLog.open(portsOf({ disk, folder }));
      return { log, resumed: await resumeLedger(at, log, admins) };
    };
    const one = await start();
    for (let n = 0; n < 20; n++) await one.log.seal(result(`sha256:${n}`));
    const { ledger } = await resumeLedger(at, one.log, admins);
    await new SnapshotWriter(at, one.log, { ledger, admins }, 0).write(() => systemClock.sleep(1));
    await one.log.seal(ending(20));
    await one.log.close();
    const two = await start();
    assert.deepEqual([two.resumed.replayed, two.resumed.refused], [1, undefined]);
    assert.deepEqual(two.resumed.ledger.request("0".repeat(32)), { state: "signed", n: 19 });
    await two.log.close();
    await rows(
      `update upkeep_signer.chunk set bytes = set_byte(bytes, 40, get_byte(bytes, 40) # 1)
       where file = (select id from upkeep_signer.file where path = '${snapshotPath(folder)}')`,
    );
    const three = await start();
    assert.equal(three.resumed.replayed, 21);
    assert.match(three.resumed.refused ?? "", /changed/);
    await three.log.close();
  });

  const chunk = (folder: string, at: string): string =>
    `(select id from upkeep_signer.file where path = '${folder}/entries/000000000000.jsonl') and at ${at}`;
  const nth = (folder: string, n: number): string =>
    chunk(
      folder,
      `= (select at from upkeep_signer.chunk where file = (select id from upkeep_signer.file where path = '${folder}/entries/000000000000.jsonl') order by at offset ${n} limit 1)`,
    );
  const tampering: readonly (readonly [string, (folder: string) => string, string, number])[] = [
    [
      "an edited row",
      (f) =>
        `update upkeep_signer.chunk set bytes = convert_to(replace(convert_from(bytes, 'UTF8'), 'closed', 'opened'), 'UTF8') where file = ${nth(f, 2)}`,
      "edited",
      2,
    ],
    ["a deleted row", (f) => `delete from upkeep_signer.chunk where file = ${nth(f, 3)}`, "deleted", 3],
    [
      "the deleted first row",
      (f) => `delete from upkeep_signer.chunk where file = ${nth(f, 0)}`,
      "deleted",
      0,
    ],
    [
      "a last row that is gone",
      (f) => `delete from upkeep_signer.chunk where file = ${nth(f, 9)}`,
      "truncated",
      9,
    ],
    [
      "rows that changed places",
      (f) =>
        `with two as (select ctid, at from upkeep_signer.chunk where file = ${chunk(f, ">= 0")}
         order by at offset 4 limit 2)
         update upkeep_signer.chunk c set at = case when t.at = (select min(at) from two) then (select max(at) from two) + 1 else (select min(at) from two) end
         from two t where c.ctid = t.ctid`,
      "reordered",
      4,
    ],
    [
      "a row that was cut short",
      (f) =>
        `update upkeep_signer.chunk set bytes = substring(bytes from 1 for 40) where file = ${nth(f, 9)}`,
      "torn",
      9,
    ],
    [
      "a row that was doubled",
      (f) =>
        `insert into upkeep_signer.chunk select file, at + 1, bytes from upkeep_signer.chunk where file = ${nth(f, 5)}`,
      "inserted",
      5,
    ],
    [
      "a forged checkpoint",
      (f) =>
        `update upkeep_signer.chunk set bytes = decode(repeat('78', 1024), 'hex') where file = (select id from upkeep_signer.file where path = '${f}/head')`,
      "forged-checkpoint",
      0,
    ],
  ];
  for (const [name, sql, what, entry] of tampering) {
    it(`names ${name}`, async () => {
      const { disk, folder } = await logOf(await place(), 10, 10);
      await rows(sql(folder));
      const { faults } = await verifyLog(disk, folder, suiteKey);
      assert.ok(
        faults.some((fault) => fault.what === what && fault.entry === entry),
        JSON.stringify(faults),
      );
      if (what !== "inserted")
        await assert.rejects(AuditLog.open(portsOf({ disk, folder })), { code: "signing/log-damaged" });
    });
  }
});
