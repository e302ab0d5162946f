// The signer and the gateway as their operator keeps them: keys without network, log files, backup.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { findSandbox, networkOf } from "../../src/io/system/sandbox.ts";
import { childrenOf, PASSPHRASE, SignerBench, type Running } from "./_signer.ts";

let bench: SignerBench;
let gateway: Running;
before(async () => {
  bench = await SignerBench.make();
  gateway = await bench.startGateway();
});
after(() => bench.end());

const fileOf = (pid: number): string =>
  /signer\/(\w+)\.ts/.exec(readFileSync(`/proc/${pid}/cmdline`, "utf8"))?.[1] ?? "";
const until = async (what: () => boolean, says: () => string): Promise<void> => {
  for (const end = Date.now() + 10_000; !what();) {
    if (Date.now() > end) assert.fail(says());
    await sleep(50);
  }
};

const sandbox = findSandbox();
describe(
  "processes of keys",
  { skip: sandbox === null ? "this system gives no process a network of its own" : false },
  () => {
    it("have no network, and sign", async () => {
      bench.service('sandbox = "require"');
      const signer = await bench.startSigner();
      const children = childrenOf(signer.child.pid!);
      const networks = (name: string): readonly (string | null)[] =>
        children.filter((pid) => fileOf(pid) === name).map(networkOf);
      assert.deepEqual(networks("front"), [networkOf("self")]);
      assert.equal(new Set([...networks("worker"), networkOf("self")]).size, 3);
      // What the kernel shows as network devices from there: the loopback that nobody brought up, and nothing else.
      for (const pid of children.filter((each) => fileOf(each) === "worker")) {
        assert.deepEqual(
          readFileSync(`/proc/${pid}/net/dev`, "utf8")
            .match(/^ *\w+:/gm)
            ?.map((name) => name.trim()),
          ["lo:"],
        );
        assert.equal(readFileSync(`/proc/${pid}/net/route`, "utf8").trim().split("\n").length, 1);
      }
      const ran = await bench.sign("notes.txt", "--patience", "10");
      assert.equal(ran.code, 0, ran.stdout + ran.stderr + signer.stderr());
      assert.equal(signer.stderr().match(/"event":"sandbox"/g)?.length, 1);
      await bench.stop(signer);
    });

    it("get another process when what they may reach changes, without a restart of the signer", async () => {
      const signer = await bench.startSigner();
      const workers = (): readonly number[] =>
        childrenOf(signer.child.pid!).filter((pid) => fileOf(pid) === "worker");
      const text = readFileSync(bench.toml, "utf8");
      writeFileSync(bench.toml, text.replace('sandbox = "require"', 'sandbox = "off"'));
      await until(
        () => workers().length === 2 && workers().every((pid) => networkOf(pid) === networkOf("self")),
        signer.stderr,
      );
      assert.equal((await bench.sign("notes.txt", "--patience", "10")).code, 0);
      writeFileSync(bench.toml, text);
      await until(
        () => workers().length === 2 && workers().every((pid) => networkOf(pid) !== networkOf("self")),
        signer.stderr,
      );
      await bench.stop(signer);
    });

    it(
      "refuse the start where none can be without, if the configuration demands it, and say so where it does not",
      { skip: process.getuid?.() === 0 ? false : "only root can take the right away for a test" },
      async () => {
        // No capability, and a user namespace in which no further one may be made.
        const shut = [
          "unshare",
          "--user",
          "--map-root-user",
          "sh",
          "-c",
          'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all "$@"',
          "sh",
        ];
        assert.equal(spawnSync(shut[0]!, [...shut.slice(1), "true"]).status, 0);
        const ran = await bench.run(
          ["--data", "signer", "signer", "run"],
          { UPKEEP_UNLOCK: PASSPHRASE },
          shut,
        );
        assert.equal(ran.code, 3, ran.stderr);
        assert.match(ran.stderr, /signing\/no-sandbox/);
      },
    );
  },
);

describe("a second signer run on one folder", () => {
  it("ends at once with one sentence and leaves nothing behind, before it asks for the passphrase; the first one signs on", async () => {
    const signer = await bench.startSigner();
    const began = performance.now();
    // No passphrase is given.
    const second = await bench.run(["--data", "signer", "signer", "run"]);
    assert.ok(performance.now() - began < 10_000);
    assert.equal(second.code, 4, second.stderr);
    assert.match(second.stderr, /signing\/busy: Another signer works on this data folder/);
    assert.doesNotMatch(second.stderr, /process-ended|crash/);
    assert.equal(existsSync(bench.at("signer/signer/crashes")), false);
    assert.equal((await bench.sign("notes.txt", "--patience", "10")).code, 0);
    await bench.stop(signer, "SIGKILL");
    // The lock of one that was killed is free.
    await bench.stop(await bench.startSigner());
  });
});

describe("log files of signer and gateway", () => {
  it("take every line, are private, and are opened again on SIGHUP", async () => {
    const text = readFileSync(bench.toml, "utf8");
    const file = bench.at("signer.log");
    bench.service(`log-file = "${file}"`);
    const signer = await bench.startSigner();
    assert.equal((await bench.sign("notes.txt", "--patience", "10")).code, 0);
    for (const pid of childrenOf(signer.child.pid!))
      if (fileOf(pid) === "worker") process.kill(pid, "SIGKILL");
    await until(
      () => readFileSync(file, "utf8").includes("process-ended"),
      () => readFileSync(file, "utf8"),
    );
    // The key of the log comes back as well, and an entry that is sealed meanwhile would find nobody.
    await sleep(6000);
    renameSync(file, `${file}.moved`);
    signer.child.kill("SIGHUP");
    await until(
      () => existsSync(file) && readFileSync(file, "utf8").includes('"reloaded"'),
      () => "no new file",
    );
    assert.equal(statSync(file).mode & 0o777, 0o600);
    await bench.stop(signer);
    assert.doesNotMatch(signer.stderr(), /"event"/);
    const events = [`${file}.moved`, file].flatMap((path) =>
      readFileSync(path, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => (JSON.parse(line) as { event: string }).event),
    );
    assert.ok(["sandbox", "started", "process-ended", "reloaded"].every((event) => events.includes(event)));
    assert.equal(events.at(-1), "stopped");
    writeFileSync(bench.toml, text);
  });

  it("refuse a start, and leave a running program as it is, if the file cannot be written", async () => {
    const text = readFileSync(bench.toml, "utf8");
    bench.service('log-file = "/nowhere/signer.log"');
    const ran = await bench.admin(["signer", "run"]);
    assert.equal(ran.code, 3);
    assert.match(ran.stderr, /signing\/log-file/);
    writeFileSync(bench.toml, text);
    const toml = bench.at("gateway/gateway/gateway.toml");
    const before = readFileSync(toml, "utf8");
    const file = bench.at("gateway.log");
    writeFileSync(toml, `${before}\n[service]\nlog-file = "${file}"\n`);
    gateway.child.kill("SIGHUP");
    await until(() => existsSync(file) && readFileSync(file, "utf8").includes('"reloaded"'), gateway.stderr);
    writeFileSync(toml, `${before}\n[service]\nlog-file = "/nowhere/gateway.log"\n`);
    gateway.child.kill("SIGHUP");
    await until(() => readFileSync(file, "utf8").includes("reload-refused"), gateway.stderr);
    writeFileSync(toml, before);
    gateway.child.kill("SIGHUP");
    await until(() => gateway.stderr().includes('"reloaded"'), gateway.stderr);
  });
});

describe("backup and restore of a signer", () => {
  it("work while it signs; what comes back signs, knows its receipts, and is told from the original by its log", async () => {
    const signer = await bench.startSigner();
    const names = Array.from({ length: 20 }, (_, i) => `many-${i}.txt`);
    for (const name of names) writeFileSync(bench.at(name), name);
    writeFileSync(bench.at("list"), names.join("\n"));
    assert.equal((await bench.sign("notes.txt", "--patience", "10")).code, 0);
    const work = bench.sign("@list", "--jobs", "4");
    const backups = [];
    for (let i = 0; i < 3; i++)
      backups.push(
        JSON.parse(await bench.ok(["--json", "--data", "signer", "signer", "backup", `backup-${i}.tar`])) as {
          entries: number;
        },
      );
    const signed = await work;
    assert.equal(signed.code, 0, signed.stdout + signed.stderr);
    assert.ok(backups[0]!.entries > 0 && backups[2]!.entries >= backups[0]!.entries);
    assert.equal(statSync(bench.at("backup-2.tar")).mode & 0o777, 0o600);
    assert.ok(!readFileSync(bench.at("backup-2.tar")).includes("PRIVATE KEY"));

    const restore = ["--json", "--data", "second", "signer", "restore", "backup-2.tar"];
    const guessed = await bench.run(restore, { UPKEEP_UNLOCK: "a guessed passphrase" });
    assert.equal(guessed.code, 3);
    assert.match(guessed.stdout + guessed.stderr, /signing\/locked/);
    assert.ok(!existsSync(bench.at("second/signer")));
    const made = JSON.parse(await bench.ok(restore, { UPKEEP_UNLOCK: PASSPHRASE })) as { entries: number };
    assert.equal(made.entries, backups[2]!.entries);
    const twice = await bench.run(restore, { UPKEEP_UNLOCK: PASSPHRASE });
    assert.match(twice.stdout + twice.stderr, /signing\/exists/);

    // The original goes on as well: each has receipts that the other's log contradicts.
    assert.equal((await bench.sign("notes.txt")).code, 0);
    renameSync(bench.at("notes.txt.receipt"), bench.at("original.receipt"));
    await bench.stop(signer);
    const second = await bench.startSigner("second");
    assert.equal((await bench.sign("notes.txt", "--patience", "10")).code, 0);
    await bench.stop(second);
    await bench.ok(["--data", "second", "audit", "verify", "--receipt", "notes.txt.receipt"]);
    assert.match(
      await bench.ok(["--data", "second", "audit", "list", "--kind", "restored"]),
      /from the backup of/,
    );
    for (const [data, receipt] of [
      ["second", "original.receipt"],
      ["signer", "notes.txt.receipt"],
    ] as const) {
      const fork = await bench.run(["--data", data, "audit", "verify", "--receipt", receipt]);
      assert.equal(fork.code, 6, fork.stdout);
      assert.match(fork.stdout, /rewritten|truncated/);
    }
  });
});
