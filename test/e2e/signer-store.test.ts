// A signing service with its log in PostgreSQL: a standby that takes over, a database that goes and comes, and moving house.

import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { needsPostgres, startPostgres, type PostgresCluster } from "../../src/testing/postgres-cluster.ts";
import { childrenOf, killWhole, SignerBench, type Running } from "./_signer.ts";

const WAITING = '"waiting":true';

describe("a signer with its log in a database", { ...needsPostgres(), timeout: 300_000 }, () => {
  let cluster: PostgresCluster;
  let bench: SignerBench;
  let url: string;
  let first: Running;
  let second: Running;

  before(async () => {
    cluster = await startPostgres();
    bench = await SignerBench.make();
    url = await cluster.createDatabase();
    await bench.adminOk(
      "policy",
      "set",
      "release",
      "--user",
      "build",
      "--operation",
      "cms",
      "--total",
      "103",
    );
    store(bench.toml, url);
    cpSync(bench.at("signer"), bench.at("standby"), { recursive: true });
    await bench.startGateway();
  });
  after(async () => {
    await bench.end();
    await cluster.remove();
  });

  const store = (toml: string, address: string): void =>
    writeFileSync(
      toml,
      `${readFileSync(toml, "utf8")}\n[store]\nurl = "${address}"\npassword-file = "${cluster.passwordFile}"\n`,
    );
  const status = async (data: string): Promise<{ readonly code: number; readonly state: string }> => {
    const { code, stdout } = await bench.run(["--json", "--data", data, "signer", "status"]);
    return { code, state: (JSON.parse(stdout) as { state: string }).state };
  };
  const results = async (data: string): Promise<readonly { readonly digest: string }[]> => {
    const text = await bench.ok([
      "--json",
      "--data",
      data,
      "audit",
      "list",
      "--kind",
      "result",
      "--last",
      "100000",
    ]);
    return (JSON.parse(text) as { entries: { digest: string }[] }).entries;
  };
  const until = async (
    what: string,
    good: () => boolean | Promise<boolean>,
    patience = 40_000,
  ): Promise<void> => {
    for (const end = Date.now() + patience; !(await good());) {
      if (Date.now() > end) throw new Error(`not in time: ${what}`);
      await sleep(50);
    }
  };
  const folderOf = (name: string, files: number): readonly string[] => {
    mkdirSync(bench.at(name));
    return Array.from({ length: files }, (_, i) => {
      writeFileSync(join(bench.at(name), `${i}.txt`), `${name} ${i}\n`);
      return `${name}/${i}.txt`;
    });
  };
  /** Signs with the command that a build uses; `some` resolves when the first of them are signed. */
  const signing = (
    files: readonly string[],
  ): { readonly done: Promise<void>; readonly some: Promise<Running> } => {
    const args = [
      "sign",
      "--service",
      "service.json",
      "--identity",
      "build.pem",
      "--cert",
      "release",
      ...files,
    ];
    const some = bench.start(args, {}, `${files[5] ?? files[0]!}"`);
    const done = some.then(async ({ child, stdout, stderr }) => {
      if (child.exitCode === null) await new Promise((resolve) => child.once("close", resolve));
      assert.equal(child.exitCode, 0, stdout() + stderr());
    });
    return { done, some };
  };

  it("lets a second one wait, which says so", async () => {
    first = await bench.startSigner();
    second = await bench.startSigner("standby", WAITING);
    assert.deepEqual(await status("signer"), { code: 0, state: "signing" });
    assert.deepEqual(await status("standby"), { code: 4, state: "waiting" });
    assert.match(second.stderr(), /"waits-for-log"/);
    const refused = await bench.admin(["--data", "standby", "signer", "admin", "add", "carol"]);
    assert.equal(refused.code, 4);
    assert.match(refused.stderr, /does not write the log now/);
  });

  it("is taken over when its host dies in the middle of 100 files: each is signed once, none is unknown, counts go on", async () => {
    const files = folderOf("many", 100);
    const { some, done } = signing(files);
    await some;
    await killWhole(first.child);
    await done;
    await until("the standby is ready", () => second.stdout().includes('"ready":true'));
    const signed = await results("standby");
    assert.equal(signed.length, 100);
    assert.equal(new Set(signed.map(({ digest }) => digest)).size, 100);
    const verified = await bench.run(["--json", "--data", "signer", "audit", "verify"]);
    assert.equal(verified.code, 0, verified.stdout);
    assert.deepEqual(await status("signer"), { code: 1, state: "stopped" });
    for (const [i, file] of folderOf("more", 4).entries()) {
      const { code, stdout } = await bench.sign(file);
      assert.equal(code, i < 3 ? 0 : 3, stdout);
    }
  });

  it("answers a request of before the takeover with the signature of then", async () => {
    await bench.adminOk("policy", "set", "release", "--user", "build", "--operation", "cms");
    cpSync(bench.toml, bench.at("standby/signer/signer.toml"));
    const id = "0123456789abcdef0123456789abcdef";
    await until("the new rule", async () => (await bench.sign("notes.txt", "--request-id", id)).code === 0);
    const one = readFileSync(bench.at("notes.txt.sig"));
    first = await bench.startSigner("signer", WAITING);
    await bench.stop(second);
    await until("the first is ready again", () => first.stdout().includes('"ready":true'));
    const before = (await results("signer")).length;
    assert.equal((await bench.sign("notes.txt", "--request-id", id)).code, 0);
    assert.deepEqual(readFileSync(bench.at("notes.txt.sig")), one);
    assert.equal((await results("signer")).length, before);
  });

  it("loses its turn when it stands still, and waits when it goes on", async () => {
    second = await bench.startSigner("standby", WAITING);
    const front = childrenOf(first.child.pid!).find((pid) =>
      readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("front.ts"),
    )!;
    process.kill(front, "SIGSTOP");
    try {
      await until("the standby takes over", () => second.stdout().includes('"ready":true'));
    } finally {
      process.kill(front, "SIGCONT");
    }
    await until("the first one notices", () => first.stderr().includes('"store-lost"'));
    await until("the first one waits", async () => (await status("signer")).state === "waiting");
    assert.equal((await bench.sign("notes.txt")).code, 0);
  });

  it("keeps no secret in the database, sealed or not: a stolen one signs nothing", async () => {
    const found = await cluster.sql(
      url,
      "select path, coalesce(string_agg(encode(bytes, 'base64'), ',' order by at), '') as bytes from upkeep_signer.file left join upkeep_signer.chunk on file = id where not directory group by path",
    );
    const content = found.map(({ path, bytes }) => {
      assert.match(String(path), /^\/signer-1\/(?:entries|blobs|tiles)\/|^\/signer-1\/(?:head|ledger)$/);
      return String(bytes)
        .split(",")
        .map((part) => Buffer.from(part, "base64").toString("latin1"))
        .join("");
    });
    const own = ["keys/release.json", "keys/log.json", "keys/identity.json", "unlock.json"].flatMap((name) =>
      [...readFileSync(bench.at(`signer/signer/${name}`), "utf8").matchAll(/"([A-Za-z0-9+/=]{20,})"/g)].map(
        (m) => m[1]!,
      ),
    );
    // Public keys stand in receipts; what is sealed and what unseals it stand nowhere.
    const sealed = own.filter((text) => !text.startsWith("MFkw") && !text.startsWith("MCow"));
    assert.ok(sealed.length >= 5, `${sealed.length} secrets`);
    for (const secret of sealed) assert.ok(!content.some((text) => text.includes(secret)), secret);
  });

  it("goes on by itself when the database was gone in the middle of work, and nothing is signed twice", async () => {
    const before = (await results("standby")).length;
    const { some, done } = signing(folderOf("crash", 40));
    await some;
    await cluster.stop("immediate");
    for (const data of ["signer", "standby"])
      await until(`${data} says so`, async () => (await status(data)).state === "no-database");
    await cluster.start();
    await done;
    assert.equal((await results("standby")).length, before + 40);
    const verified = await bench.run(["--json", "--data", "standby", "audit", "verify"]);
    assert.equal(verified.code, 0, verified.stdout);
  });

  it("moves from a database to a folder and back, with its log verified on the way", async () => {
    const backup = await bench.ok(["--json", "--data", "signer", "signer", "backup", bench.at("one.tar")]);
    const { entries, root } = JSON.parse(backup) as { entries: number; root: string };
    assert.ok(entries > 300);
    await bench.stop(first);
    await bench.stop(second);
    const again = await bench.admin(["--data", "again", "signer", "restore", "one.tar"]);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /holds a log of signer-1 already/);
    const restored = await bench.admin([
      "--json",
      "--data",
      "folder",
      "signer",
      "restore",
      "one.tar",
      "--log-store",
      "folder",
    ]);
    assert.equal(restored.code, 0, restored.stderr);
    assert.equal((JSON.parse(restored.stdout) as { root: string }).root, root);
    const alone = await bench.startSigner("folder");
    assert.equal((await bench.sign("notes.txt")).code, 0);
    await bench.stop(alone);

    await bench.ok(["--data", "folder", "signer", "backup", bench.at("two.tar")]);
    const other = await cluster.createDatabase();
    const to = ["--log-store", other, "--log-password-file", cluster.passwordFile];
    const back = await bench.admin(["--json", "--data", "third", "signer", "restore", "two.tar", ...to]);
    assert.equal(back.code, 0, back.stderr);
    const verified = JSON.parse(await bench.ok(["--json", "--data", "third", "audit", "verify"])) as {
      ok: boolean;
      size: number;
      counts: { restored: number };
    };
    assert.ok(verified.ok && verified.size > entries);
    assert.equal(verified.counts.restored, 2);
    const there = await bench.startSigner("third");
    assert.equal((await bench.sign("notes.txt")).code, 0);
    await bench.stop(there);
  });

  it("begins no second log where it has one already", async () => {
    const toml = bench.at("third/signer/signer.toml");
    const text = readFileSync(toml, "utf8");
    const refused = async (content: string, pattern: RegExp): Promise<void> => {
      writeFileSync(toml, content);
      const { code, stderr } = await bench.admin(["--data", "third", "signer", "run"]);
      assert.equal(code, 3, stderr);
      assert.match(stderr, pattern);
    };
    await refused(text.replace(/\[store\][^[]*/, ""), /has no \[store\] any more/);
    await refused(
      text.replace(/test_\d+/, new URL(await cluster.createDatabase()).pathname.slice(1)),
      /holds no log of this signer/,
    );
    const folder = bench.at("folder/signer/signer.toml");
    const inFolder = readFileSync(folder, "utf8");
    store(folder, await cluster.createDatabase());
    const { code, stderr } = await bench.admin(["--data", "folder", "signer", "run"]);
    assert.equal(code, 3, stderr);
    assert.match(stderr, /\[store\] names a database/);
    writeFileSync(folder, inFolder);
    writeFileSync(toml, text);
  });

  it("is refused by name with a wrong address, a wrong password, or a database that is down", async () => {
    const toml = bench.at("third/signer/signer.toml");
    const text = readFileSync(toml, "utf8");
    const run = async (
      content: string,
    ): Promise<{ readonly exit: number; readonly code: string; readonly text: string }> => {
      writeFileSync(toml, content);
      const { code, stderr, stdout } = await bench.admin(["--json", "--data", "third", "signer", "run"]);
      return {
        exit: code,
        code: /"code":"(signing\/[a-z-]+)"/.exec(stdout + stderr)?.[1] ?? "",
        text: stdout + stderr,
      };
    };
    const lines = text.split("\n");
    const line = lines.findIndex((each) => each.startsWith("url = ")) + 1;
    const secret = await run(text.replace("postgres://upkeep@", "postgres://upkeep:hunter2@"));
    assert.deepEqual([secret.exit, secret.code], [2, "signing/bad-config"]);
    assert.match(secret.text, new RegExp(`signer.toml:${line}: store.url: it holds a password`));
    assert.doesNotMatch(secret.text, /hunter2/);
    const unknown = await run(text.replace("[store]", '[store]\nhost = "db"'));
    assert.deepEqual([unknown.exit, unknown.code], [2, "signing/bad-config"]);
    writeFileSync(bench.at("wrong.pgpass"), "*:*:*:*:wrong\n", { mode: 0o600 });
    const wrong = await run(text.replace(cluster.passwordFile, bench.at("wrong.pgpass")));
    assert.deepEqual([wrong.exit, wrong.code], [3, "signing/store-refused"]);
    await cluster.stop("fast");
    const down = await run(text);
    assert.deepEqual([down.exit, down.code], [5, "signing/store-unavailable"]);
    const verify = await bench.run(["--data", "third", "audit", "verify"]);
    assert.equal(verify.code, 5, verify.stderr);
    await cluster.start();
    writeFileSync(toml, text);
    assert.equal((await bench.run(["--data", "third", "audit", "verify"])).code, 0);
  });
});
