// The fleet's store on PostgreSQL where it is more than a file: several at once, servers that die, databases that are not ours.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { appendAudit, checkChain } from "../../fleet/audit.ts";
import type { FleetStore } from "../../fleet/store.ts";
import { wake } from "../../fleet/wake.ts";
import { needsPostgres, startPostgres, type PostgresCluster } from "../../testing/postgres-cluster.ts";
import { NEWEST } from "./schema.ts";
import { openFleetStore } from "./store.ts";

let cluster: PostgresCluster;
const env = (): { PGPASSFILE: string } => ({ PGPASSFILE: cluster.passwordFile });
const open = (place: string): Promise<FleetStore> => openFleetStore(place, env());
const note = (store: FleetStore, at: number) =>
  store.transaction((r) => appendAudit(r, at, { actor: "server", action: "a/b", subject: "s", facts: {} }));
const until = async (test: () => boolean): Promise<void> => {
  for (const end = Date.now() + 10_000; !test();) {
    assert.ok(Date.now() < end, "it did not come to this");
    await sleep(20);
  }
};

describe("several stores on one PostgreSQL database", needsPostgres(), () => {
  before(async () => void (cluster = await startPostgres()));
  after(() => cluster?.remove());

  it("make the tables once when all start at the same moment", async () => {
    const place = await cluster.createDatabase();
    const stores = await Promise.all([open(place), open(place), open(place)]);
    const steps = await cluster.sql(place, "select step from upkeep_fleet.schema_step");
    assert.deepEqual(
      steps,
      Array.from({ length: NEWEST }, (_, i) => ({ step: i + 1 })),
    );
    for (const store of stores) await store.close();
  });

  it("keep one audit chain however many write at once", async () => {
    const place = await cluster.createDatabase();
    const stores = [await open(place), await open(place), await open(place)];
    await Promise.all(
      stores.flatMap((store, n) => Array.from({ length: 30 }, (_, i) => note(store, n * 1000 + i))),
    );
    const rows = await stores[0]!.read((r) => r.audit(0, 1000));
    assert.equal(checkChain(null, rows)?.sequence, 90);
    for (const store of stores) await store.close();
  });

  it("tell each other what they wrote, also after the listening connection was cut", async () => {
    const place = await cluster.createDatabase();
    const [one, two] = [await open(place), await open(place)];
    let before = one.foreignChanges();
    await note(two, 1);
    await until(() => one.foreignChanges() !== before);
    before = one.foreignChanges();
    await cluster.sql(
      place,
      "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and query like 'listen%'",
    );
    await until(() => one.foreignChanges() !== before && one.reachable());
    before = one.foreignChanges();
    await note(two, 2);
    await until(() => one.foreignChanges() !== before);
    await one.close();
    await two.close();
  });

  it("do not call each other for what all of them write all the time", async () => {
    const place = await cluster.createDatabase();
    const [one, two] = [await open(place), await open(place)];
    await two.transaction((r) => r.putGroup({ name: "a", interval: 60, created: 1 }));
    await until(() => one.foreignChanges() === 1);
    await two.transaction(async (r) => {
      await r.sight([{ device: "x", at: 1, claimed: [], timestamp: null }]);
      await r.putSetting("a", "b");
      await r.changeDevice("x", { lastSequence: 2, lastReport: "c" });
    });
    await two.transaction(async () => undefined);
    // Had those been told, they would come before this.
    await two.transaction((r) => r.changeDevice("x", { status: "revoked" }));
    await until(() => one.foreignChanges() === 2);
    await one.close();
    await two.close();
  });

  it("lose nothing that was acknowledged when the database dies, and go on when it is back", async () => {
    const place = await cluster.createDatabase();
    const store = await open(place);
    let acknowledged = 0;
    const writing = (async (): Promise<never> => {
      for (;;) acknowledged = (await note(store, acknowledged)).sequence;
    })();
    const failing = assert.rejects(writing, { code: "fleet/store-unavailable" });
    await until(() => acknowledged > 20);
    await cluster.stop("immediate");
    await failing;
    await until(() => !store.reachable());
    await assert.rejects(
      store.read((r) => r.groups()),
      { code: "fleet/store-unavailable" },
    );
    const before = store.foreignChanges();
    await cluster.start();
    await until(() => store.reachable());
    assert.notEqual(store.foreignChanges(), before, "what happened meanwhile is looked for");
    const rows = await store.read((r) => r.audit(0, 100_000));
    // The last one may have been committed without its answer having come through.
    assert.ok([acknowledged, acknowledged + 1].includes(checkChain(null, rows)!.sequence));
    await note(store, 0);
    await store.close();
  });

  it("lose nothing that was acknowledged when a writer is killed, and are not held up by it", async () => {
    const place = await cluster.createDatabase();
    const writer = spawn(
      process.execPath,
      [
        "--input-type=module",
        "-e",
        `import { openFleetStore } from ${JSON.stringify(new URL("./store.ts", import.meta.url).href)};
         import { appendAudit } from ${JSON.stringify(new URL("../../fleet/audit.ts", import.meta.url).href)};
         const store = await openFleetStore(process.argv[1], process.env);
         for (;;) {
           const row = await store.transaction((r) => appendAudit(r, 1, { actor: "a", action: "a/b", subject: "s", facts: {} }));
           process.stdout.write(row.sequence + "\\n");
         }`,
        place,
      ],
      { env: { ...process.env, ...env() }, stdio: ["ignore", "pipe", "inherit"] },
    );
    let told = "";
    writer.stdout.setEncoding("utf8").on("data", (text: string) => (told += text));
    await until(() => told.split("\n").length > 20);
    writer.kill("SIGKILL");
    await once(writer, "close");
    const last = Number(told.trimEnd().split("\n").at(-1));
    const store = await open(place);
    const row = await note(store, 2);
    assert.ok([last + 1, last + 2].includes(row.sequence), `${row.sequence} after ${last}`);
    checkChain(null, await store.read((r) => r.audit(0, 100_000)));
    await store.close();
  });

  it("serve readers while a writer takes its time, and show them what was before", async () => {
    const place = await cluster.createDatabase();
    const [one, two] = [await open(place), await open(place)];
    await one.transaction(async (w) => {
      await wake(w, "all");
      assert.equal((await one.read((r) => r.wakes())).size, 0);
      assert.equal((await two.read((r) => r.wakes())).size, 0);
    });
    assert.equal((await two.read((r) => r.wakes())).size, 1);
    await one.close();
    await two.close();
  });

  it("never take a transaction for done in which a swallowed error undid everything", async () => {
    const store = await open(await cluster.createDatabase());
    await assert.rejects(
      store.transaction(async (r) => {
        await wake(r, "all");
        await r.addAudit({} as never).catch(() => undefined);
      }),
    );
    assert.equal((await store.read((r) => r.wakes())).size, 0);
    await store.close();
  });

  it("run a transaction again that lost against somebody else's, and give up in the end", async () => {
    const place = await cluster.createDatabase();
    const store = await open(place);
    let runs = 0;
    const failing = (times: number) =>
      store.transaction(async (r) => {
        await wake(r, "all");
        // As the server says it, through a row that only this test's trigger knows.
        if (++runs <= times) await r.putSetting("fail", "40001");
      });
    await cluster.sql(
      place,
      `create function upkeep_fleet.fail() returns trigger language plpgsql as
       $$ begin raise exception 'no' using errcode = '40001'; end $$;
       create trigger fail before insert on upkeep_fleet.setting for each row when (new.name = 'fail')
       execute function upkeep_fleet.fail()`,
    );
    await failing(2);
    assert.equal(runs, 3);
    assert.equal((await store.read((r) => r.wakes())).get("all"), 1, "the runs that lost left nothing");
    await assert.rejects(failing(100), { code: "fleet/store-unavailable" });
    await store.close();
  });
});

describe("a PostgreSQL database", needsPostgres(), () => {
  before(async () => void (cluster = await startPostgres()));
  after(() => cluster?.remove());

  it("of a later program is refused", async () => {
    const place = await cluster.createDatabase();
    await (await open(place)).close();
    await cluster.sql(place, "insert into upkeep_fleet.schema_step values (99)");
    await assert.rejects(open(place), { code: "fleet/store-newer" });
  });

  it("that is somebody else's is refused and left as it is", async () => {
    const place = await cluster.createDatabase();
    await cluster.sql(place, "create schema upkeep_fleet; create table upkeep_fleet.device (x int)");
    await assert.rejects(open(place), { code: "fleet/store-foreign" });
    const tables = await cluster.sql(
      place,
      "select count(*) from pg_tables where schemaname = 'upkeep_fleet'",
    );
    assert.deepEqual(tables, [{ count: "1" }]);
  });

  it("with other tables beside ours is used", async () => {
    const place = await cluster.createDatabase();
    await cluster.sql(place, "create table device (x int); create table schema_step (x int)");
    const store = await open(place);
    await note(store, 1);
    await store.close();
  });

  it("is refused with its reason: wrong password, no rights, no such database, nobody there, an address with a password", async () => {
    const place = await cluster.createDatabase();
    await assert.rejects(openFleetStore(place, { PGPASSWORD: "wrong" }), { code: "fleet/store-denied" });
    await assert.rejects(openFleetStore(place, {}), { code: "fleet/store-denied" });
    await cluster.sql(place, `create user poor password 'x'`);
    await assert.rejects(openFleetStore(place.replace("upkeep@", "poor@"), { PGPASSWORD: "x" }), {
      code: "fleet/store-denied",
    });
    await assert.rejects(open(place.replace(/[^/]+$/, "none")), { code: "fleet/store-unavailable" });
    await assert.rejects(openFleetStore("postgres://u@127.0.0.1:1/x"), { code: "fleet/store-unavailable" });
    await assert.rejects(openFleetStore("postgres://u@127.0.0.1/x?sslmode=verify-full&sslrootcert=/none"), {
      code: "fleet/store-certificate",
    });
    await assert.rejects(openFleetStore("postgres://u:hunter2@db.example/x"), (error: Error) => {
      assert.equal((error as { code?: string }).code, "fleet/bad-store-address");
      return !JSON.stringify(error).includes("hunter2");
    });
  });

  it("is made by its owner, and then used by a user who may not make schemas", async () => {
    const place = await cluster.createDatabase();
    await cluster.sql(
      place,
      `create user modest password 'x'; create schema upkeep_fleet authorization modest`,
    );
    const store = await openFleetStore(place.replace("upkeep@", "modest@"), { PGPASSWORD: "x" });
    await note(store, 1);
    await store.close();
  });

  it("compares ids byte by byte, whatever its language", async () => {
    const place = await cluster.createDatabase();
    const store = await open(place);
    await store.transaction(async (r) => {
      for (const name of ["a-b", "aa", "a.b", "b", "a1"])
        await r.putGroup({ name, interval: 60, created: 1 });
    });
    const names = (await store.read((r) => r.groups())).map((group) => group.name);
    assert.deepEqual(names, ["a-b", "a.b", "a1", "aa", "b"]);
    await store.close();
  });
});
