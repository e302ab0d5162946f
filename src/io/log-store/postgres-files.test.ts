// Files in a PostgreSQL database: what every store of files does, and who may write at all.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { writeAtomic } from "../../core/disk.ts";
import { testFileStore } from "../../testing/disk-suite.ts";
import { needsPostgres, startPostgres, type PostgresCluster } from "../../testing/postgres-cluster.ts";
import { systemClock } from "../system/clock.ts";
import { PostgresFiles } from "./postgres-files.ts";
import { readStore, writeStore, type Holder, type StoreAddress } from "./signer-store.ts";
import { openPostgres, postgresTarget } from "../database/postgres.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("files in a database", needsPostgres(), () => {
  let cluster: PostgresCluster;
  let address: StoreAddress;
  before(async () => {
    cluster = await startPostgres();
    address = await database();
  });
  after(() => cluster.remove());

  const database = async (): Promise<StoreAddress> => ({
    url: await cluster.createDatabase(),
    passwordFile: cluster.passwordFile,
  });
  const write = (
    at: StoreAddress,
    more: { signer?: string; waiting?: (holder: Holder) => void; lost?: (error: Error) => void } = {},
  ) => writeStore(at, { signer: "signer-1", clock: systemClock, ...more });
  const rows = (text: string, at = address) => cluster.sql(at.url, text);

  let serial = 0;
  testFileStore(async () => {
    const signer = `suite-${serial++}`;
    const store = await write(address, { signer });
    await store.files.makeDirectory(store.folder);
    return { disk: store.files, folder: store.folder, clean: () => store.close() };
  });

  it("keeps what was synced, and shows it to one who only reads", async () => {
    const at = await database();
    const store = await write(at);
    const file = await store.files.open("/a", "create");
    for (let i = 0; i < 5; i++) {
      await file.write(i * 3, toUtf8("ab\n"));
      await file.sync();
    }
    const reader = await readStore(at, "signer-1");
    assert.equal((await reader.files.read("/a", 100)).length, 15);
    await assert.rejects(reader.files.open("/b", "create"), { code: "disk/read-only" });
    await assert.rejects(reader.files.rename("/a", "/b"), { code: "disk/read-only" });
    await assert.rejects(writeAtomic(reader.files, "/a", toUtf8("x")), { code: "disk/read-only" });
    assert.deepEqual(
      (await rows("select at from upkeep_signer.chunk order by at", at)).map((row) => Number(row["at"])),
      [0, 3, 6, 9, 12],
    );
    await reader.close();
    await store.close();
  });

  it("lets a user who may only read read, and nothing more", async () => {
    const at = await database();
    const store = await write(at);
    await writeAtomic(store.files, "/a", toUtf8("what is signed"));
    await store.close();
    await rows(
      `create role auditor login password '${cluster.password.replaceAll("'", "''")}';
       grant usage on schema upkeep_signer to auditor;
       grant select on all tables in schema upkeep_signer to auditor`,
      at,
    );
    const auditor = { ...at, url: at.url.replace("upkeep@", "auditor@") };
    const reader = await readStore(auditor, "signer-1");
    assert.equal(Buffer.from(await reader.files.read("/a", 100)).toString(), "what is signed");
    await reader.close();
    await assert.rejects(write(auditor), { code: "signing/store-refused" });
    assert.equal((await rows("select count(*) as n from upkeep_signer.file", at))[0]?.["n"], "1");
  });

  it("keeps a file of many megabytes in rows of one", async () => {
    const store = await write(address, { signer: "large" });
    const bytes = new Uint8Array(5 * 1024 * 1024 + 17).map((_, i) => i * 7);
    await writeAtomic(store.files, "/large", bytes, 0o600);
    assert.equal(hex(await store.files.read("/large", bytes.length)), hex(bytes));
    const file = await store.files.open("/large", "read");
    assert.deepEqual(await file.read(1024 * 1024 - 3, 6), bytes.subarray(1024 * 1024 - 3, 1024 * 1024 + 3));
    await store.close();
  });

  it("lets nobody in beside the one who writes, and the next one in when that one is gone", async () => {
    const at = await database();
    const first = await write(at);
    await assert.rejects(write(at), { code: "signing/busy" });
    const other = await write(at, { signer: "signer-2" });
    await other.close();
    const told: Holder[] = [];
    const waiting = write(at, { waiting: (holder) => told.push(holder) });
    await systemClock.sleep(700);
    assert.match(told[0]?.holder ?? "", new RegExp(`process ${process.pid}`));
    await first.close();
    const second = await waiting;
    assert.equal(told.length, 1);
    assert.deepEqual(
      (await rows("select epoch from upkeep_signer.writer where signer = 'signer-1'", at))[0]?.["epoch"],
      "2",
    );
    await second.close();
  });

  it("takes the right from one whose connection was ended, before another one has it", async () => {
    const at = await database();
    const lost: Error[] = [];
    const first = await write(at, { lost: (error) => lost.push(error) });
    const file = await first.files.open("/a", "create");
    await file.write(0, toUtf8("one\n"));
    await file.sync();
    const waiting = write(at, { waiting: () => {} });
    await systemClock.sleep(100);
    await rows(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'upkeep signer%' and pid in (select pid from pg_locks where locktype = 'advisory')",
      at,
    );
    const second = await waiting;
    await file.write(4, toUtf8("two\n"));
    await assert.rejects(file.sync(), { code: "signing/store-unavailable" });
    await assert.rejects(first.files.read("/a", 10), { code: "signing/store-unavailable" });
    assert.equal(lost.length, 1);
    assert.equal(Buffer.from(await second.files.read("/a", 10)).toString(), "one\n");
    await second.close();
  });

  it("writes nothing for an owner of before, even over a connection that still works", async () => {
    const at = await database();
    const store = await write(at);
    await writeAtomic(store.files, "/a", toUtf8("mine"));
    await store.close();
    const opened = openPostgres({
      ...postgresTarget(at.url, { PGPASSFILE: at.passwordFile! }),
      schema: "upkeep_signer",
      name: "late",
      connections: 1,
      refuse: (_problem, sentence) => new Error(sentence),
    });
    // What a pooler between signer and server may do: the session lives on, and its lock is somebody else's.
    const late = async () => {
      const lost: Error[] = [];
      const session = await opened.session();
      const files = new PostgresFiles(session, { signer: "signer-1", epoch: 1 }, (error) => lost.push(error));
      const file = await files.open("/a", "write");
      return { files, file, lost, session };
    };
    const attempts: readonly ((found: Awaited<ReturnType<typeof late>>) => Promise<unknown>)[] = [
      ({ file }) => file.write(4, toUtf8("theirs")).then(() => file.sync()),
      ({ file }) => file.write(2, toUtf8("theirs")).then(() => file.sync()),
      ({ file }) => file.truncate(1),
      ({ files }) => writeAtomic(files, "/a", toUtf8("theirs")),
      ({ files }) => writeAtomic(files, "/b", new Uint8Array(2 * 1024 * 1024)),
      ({ files }) => files.rename("/a", "/b"),
      ({ files }) => files.removeFile("/a"),
      ({ files }) => files.makeDirectory("/d"),
    ];
    const before = await Promise.all(attempts.map(late));
    const next = await write(at);
    const all = (): Promise<unknown> =>
      rows(
        "select path, encode(bytes, 'escape') as bytes from upkeep_signer.file left join upkeep_signer.chunk on file = id order by path, at",
        at,
      );
    const there = await all();
    for (const [i, attempt] of attempts.entries()) {
      await assert.rejects(attempt(before[i]!), { code: "signing/store-lost" }, `attempt ${i}`);
      assert.equal(before[i]!.lost.length, 1, `attempt ${i}`);
      await assert.rejects(before[i]!.files.list("/"), { code: "signing/store-lost" });
      await before[i]!.session.close();
    }
    assert.deepEqual(await all(), there);
    await next.close();
    await opened.close();
  });

  it("makes one who takes over wait for what is being written", async () => {
    const at = await database();
    const store = await write(at);
    const opened = openPostgres({
      ...postgresTarget(at.url, { PGPASSFILE: at.passwordFile! }),
      schema: "upkeep_signer",
      name: "slow",
      connections: 1,
      refuse: (_problem, sentence) => new Error(sentence),
    });
    const session = await opened.session();
    await session.query("begin");
    await session.query("select 1 from writer where signer = 'signer-1' and epoch = 1 for share");
    await store.close();
    let taken = false;
    const next = write(at).then((got) => {
      taken = true;
      return got;
    });
    await systemClock.sleep(300);
    assert.equal(taken, false);
    await session.query("commit");
    await (await next).close();
    await session.close();
    await opened.close();
  });

  it("refuses a wrong password, another schema, a newer one, and a server that forgets", async () => {
    const at = await database();
    await assert.rejects(writeStore({ ...at, passwordFile: null }, { signer: "s", clock: systemClock }), {
      code: "signing/store-refused",
    });
    await assert.rejects(readStore(at, "s"), { code: "signing/store-refused", message: /no signer's log/ });
    await (await write(at)).close();
    await rows("insert into upkeep_signer.step values (99)", at);
    await assert.rejects(write(at), { code: "signing/store-refused", message: /newer version/ });
    await assert.rejects(readStore(at, "s"), { code: "signing/store-refused" });
    const foreign = await database();
    await rows("create schema upkeep_signer; create table upkeep_signer.mine (a integer)", foreign);
    await assert.rejects(write(foreign), { code: "signing/store-refused", message: /is not that of/ });
    const empty = await database();
    await rows("create schema upkeep_signer", empty);
    await assert.rejects(readStore(empty, "s"), {
      code: "signing/store-refused",
      message: /no signer's log/,
    });
    await (await write(empty)).close();
    const missing = { ...at, url: at.url.replace(/test_\d+$/, "nowhere") };
    await assert.rejects(write(missing), { code: "signing/store-unavailable" });
    const careless = await database();
    const set = async (value: string): Promise<void> => {
      await rows(`alter system set full_page_writes = ${value}`, careless);
      await rows("select pg_reload_conf()", careless);
      await systemClock.sleep(300);
    };
    await set("off");
    await assert.rejects(write(careless), {
      code: "signing/store-refused",
      message: /full_page_writes = off/,
    });
    await set("on");
    const down = { ...at, url: "postgres://upkeep@127.0.0.1:1/upkeep" };
    await assert.rejects(write(down), { code: "signing/store-unavailable" });
  });
});
