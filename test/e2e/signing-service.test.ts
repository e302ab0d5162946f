// The signing service as its operator runs it: real processes, kills, tampering, theft.

import assert from "node:assert/strict";
import { execFile, type ChildProcess } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, globSync, readFileSync, writeFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { tinyPe } from "../../src/testing/tiny-pe.ts";
import { stepOf, totpAt } from "../../src/signing/policy/totp.ts";
import { freePort, PASSPHRASE, Programs, type Env, type Ran } from "./_programs.ts";
import { childrenOf } from "./_signer.ts";
import { fromBase32 } from "../../src/testing/authenticator.ts";

const SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so";
let folder: string;
let service: string;
let identity: string;
let gatewaySpki: string;
let ports: { clients: number; signers: number };
let programs: Programs;

const upkeep = (args: readonly string[], env: Env = {}): Promise<Ran> => programs.run(args, env);
const ok = (args: readonly string[], env: Env = {}): Promise<string> => programs.ok(args, env);
const start = (args: readonly string[], env: Env = {}): Promise<ChildProcess> => programs.start(args, env);
const stop = (child: ChildProcess, signal?: NodeJS.Signals): Promise<void> => programs.stop(child, signal);
const startSigner = (data = "signer"): Promise<ChildProcess> =>
  start(["--data", data, "signer", "run"], { UPKEEP_UNLOCK: PASSPHRASE });
const startGateway = (): Promise<ChildProcess> => start(["--data", "gateway", "gateway", "run"]);

let signer: ChildProcess;
let gateway: ChildProcess;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "upkeep-signing-e2e-"));
  service = join(folder, "service.json");
  programs = new Programs(folder, { UPKEEP_SERVICE: service });
  identity = join(folder, "build.pem");
  ports = { clients: await freePort(), signers: await freePort() };
  const made = JSON.parse(
    await ok([
      "--json",
      "--data",
      "gateway",
      "gateway",
      "init",
      "--clients",
      `127.0.0.1:${ports.clients}`,
      "--signers",
      `127.0.0.1:${ports.signers}`,
    ]),
  ) as { spki: string };
  gatewaySpki = made.spki;
  const unlock = { UPKEEP_UNLOCK: PASSPHRASE };
  const init = JSON.parse(
    await ok(
      [
        "--json",
        "--data",
        "signer",
        "signer",
        "init",
        "--name",
        "signer-1",
        "--gateway",
        `127.0.0.1:${ports.signers}=${gatewaySpki}`,
      ],
      unlock,
    ),
  ) as { spki: string };
  await ok(["--data", "gateway", "gateway", "add", `signer-1=${init.spki}`]);
  const spki = (await ok(["signer", "identity", identity])).trim();
  const admin = (...args: string[]): Promise<string> => ok(["--data", "signer", "signer", ...args], unlock);
  await admin("user", "add", "build", "--key", spki);
  await admin("key", "new", "release", "--scheme", "ecdsa-sha2-nistp256");
  await admin("cert", "self", "release", "--subject", "Acme Test");
  await admin(
    "policy",
    "set",
    "release",
    "--user",
    "build",
    "--operation",
    "authenticode",
    "--operation",
    "elf",
    "--operation",
    "cms",
  );
  writeFileSync(
    service,
    await ok([
      "--data",
      "signer",
      "signer",
      "describe",
      "--gateway",
      `127.0.0.1:${ports.clients}=${gatewaySpki}`,
    ]),
  );
  gateway = await startGateway();
  signer = await startSigner();
});

after(async () => {
  await programs.stopAll();
  await rm(folder, { recursive: true, force: true });
});

const sign = (...args: string[]): Promise<Ran> =>
  upkeep(["--json", "service", "sign", ...args, "--identity", identity]);
const linesOf = (ran: Ran) =>
  ran.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { [name: string]: string & number });
const logOf = async (kind: string) =>
  (
    JSON.parse(
      await ok(["--json", "--data", "signer", "audit", "list", "--kind", kind, "--last", "100000"]),
    ) as { entries: { [name: string]: string & number }[] }
  ).entries;

describe("the signing service, as programs", () => {
  it("signs a Windows program that osslsigncode verifies, an ELF program that still runs, and a text with a signature that openssl verifies", async () => {
    await writeFile(join(folder, "setup.exe"), tinyPe());
    await cp("/bin/true", join(folder, "tool"), { dereference: true });
    await writeFile(join(folder, "notes.txt"), "hello\n");
    assert.equal(
      (
        await sign(
          "setup.exe",
          "--cert",
          "release",
          "--description",
          "Acme Setup",
          "--url",
          "https://acme.example",
        )
      ).code,
      0,
    );
    const elf = await sign(
      "tool",
      "--cert",
      "release",
      "--product",
      "tool",
      "--release-version",
      "1.0.0",
      "--release-number",
      "1",
    );
    assert.equal(elf.code, 0, elf.stdout + elf.stderr);
    assert.equal((await sign("notes.txt", "--cert", "release")).code, 0);
    await new Promise<void>((resolve, reject) =>
      execFile(join(folder, "tool"), (error) => (error === null ? resolve() : reject(error))),
    );
    const run = (program: string, args: string[]): Promise<string> =>
      new Promise((resolve) =>
        execFile(program, args, { cwd: folder }, (_e, stdout, stderr) => resolve(stdout + stderr)),
      );
    if (existsSync("/usr/bin/osslsigncode")) {
      const out = await run("osslsigncode", ["verify", "-in", "setup.exe"]);
      assert.match(out, /Calculated message digest\s*: ([0-9A-F]+)/);
      assert.equal(
        /Current message digest\s*: ([0-9A-F]+)/.exec(out)?.[1],
        /Calculated message digest\s*: ([0-9A-F]+)/.exec(out)?.[1],
      );
    }
    assert.match(
      await run("openssl", [
        "cms",
        "-verify",
        "-binary",
        "-noverify",
        "-inform",
        "DER",
        "-in",
        "notes.txt.sig",
        "-content",
        "notes.txt",
      ]),
      /hello/,
    );
    for (const file of ["setup.exe", "tool", "notes.txt"]) {
      assert.match(await ok(["audit", "receipt", `${file}.receipt`, file]), /it is for this file/);
      assert.match(await ok(["--data", "signer", "audit", "find", file]), /result {2}build/);
    }
    const wrong = await upkeep(["audit", "receipt", "tool.receipt", "notes.txt"]);
    assert.equal(wrong.code, 6);
  });

  it("moves less than 100 KiB for a file of 1 GiB", async () => {
    const path = join(folder, "large.bin");
    const file = await open(path, "w");
    await file.truncate(1024 * 1024 * 1024);
    await file.close();
    const ran = await sign("large.bin", "--cert", "release");
    assert.equal(ran.code, 0, ran.stderr);
    assert.ok(linesOf(ran).at(-1)!["traffic"]! < 100 * 1024);
    await rm(path);
  });

  it("loses nothing and signs each of 100 files once, though signer and gateway are killed in the middle", async () => {
    const names = Array.from({ length: 100 }, (_, i) => `many-${i}.bin`);
    for (const name of names) await writeFile(join(folder, name), name.repeat(10));
    await writeFile(join(folder, "list"), names.join("\n"));
    const before = (await logOf("result")).length;
    const work = sign("@list", "--cert", "release", "--jobs", "4", "--patience", "60");
    while ((await logOf("result")).length < before + 10) await sleep(20);
    await stop(signer, "SIGKILL");
    signer = await startSigner();
    await stop(gateway, "SIGKILL");
    gateway = await startGateway();
    const ran = await work;
    const failed = linesOf(ran).filter((line) => String(line["ok"]) === "false");
    assert.equal(ran.code, 0, JSON.stringify(failed) + ran.stderr);
    const results = (await logOf("result")).slice(before);
    assert.equal(new Set(results.map((entry) => entry["file"])).size, 100);
    assert.equal(results.length, 100);
    for (const name of names)
      assert.ok(existsSync(join(folder, `${name}.sig`)) && existsSync(join(folder, `${name}.receipt`)));
    assert.match(await ok(["--data", "signer", "audit", "verify"]), /the log is whole/);
  });

  it("replaces the deciding process and a key's process when they die, and goes on", async () => {
    const children = childrenOf(signer.pid!);
    assert.ok(children.length >= 3);
    for (const pid of children) process.kill(pid, "SIGKILL");
    const ran = await sign("notes.txt", "--cert", "release", "--patience", "30");
    assert.equal(ran.code, 0, ran.stdout + ran.stderr);
  });

  it("shows no secret in arguments, environments, logs or the data folder", async () => {
    const pids = [signer.pid!, ...childrenOf(signer.pid!)];
    const bytes = pids.flatMap((pid) =>
      ["cmdline", "environ"].map((name) => readFileSync(`/proc/${pid}/${name}`)),
    );
    for (const text of bytes) assert.ok(!text.includes(PASSPHRASE));
    for (const pid of pids) assert.match(readFileSync(`/proc/${pid}/coredump_filter`, "utf8"), /^0+\n$/);
    for (const path of globSync("signer/signer/**/*", { cwd: folder, withFileTypes: true })) {
      if (!path.isFile()) continue;
      const content = readFileSync(join(path.parentPath, path.name));
      assert.ok(!content.includes("PRIVATE KEY") && !content.includes(PASSPHRASE), path.name);
    }
  });

  it("signs nothing from a stolen data folder", async () => {
    await cp(join(folder, "signer"), join(folder, "stolen"), { recursive: true });
    const ran = await upkeep(["--data", "stolen", "signer", "run"], {
      UPKEEP_UNLOCK: "a guessed passphrase",
    });
    assert.equal(ran.code, 3);
    assert.match(ran.stderr, /signing\/locked/);
    await rm(join(folder, "stolen"), { recursive: true });
  });

  it("refuses to start on a bad configuration and names the line; a running signer keeps the old one", async () => {
    const path = join(folder, "signer/signer/signer.toml");
    const good = await readFile(path, "utf8");
    await writeFile(path, `${good}\n[users.eve]\nkind = "martian"\n`);
    const line = good.split("\n").length + 2;
    const ran = await upkeep(["--data", "signer", "signer", "check"]);
    assert.equal(ran.code, 2);
    assert.match(ran.stderr, new RegExp(`signer\\.toml:${line}: users\\.eve`));
    await sleep(1500);
    assert.equal((await sign("notes.txt", "--cert", "release")).code, 0);
    await writeFile(path, good);
  });

  it("ends what a disabled user may do, without a restart", async () => {
    await ok(["--data", "signer", "signer", "user", "disable", "build"]);
    await sleep(2500);
    const ran = await sign("notes.txt", "--cert", "release", "--patience", "0");
    assert.equal(ran.code, 3, ran.stderr);
    await ok(["--data", "signer", "signer", "user", "enable", "build"]);
    await sleep(2500);
    assert.equal((await sign("notes.txt", "--cert", "release")).code, 0);
  });

  it("lets one approval by a person with password and code cover a whole release", async () => {
    const unlock = { UPKEEP_UNLOCK: PASSPHRASE, UPKEEP_PASSWORD: "another long password" };
    const bob = JSON.parse(
      await ok(
        [
          "--json",
          "--data",
          "signer",
          "signer",
          "user",
          "add",
          "bob",
          "--kind",
          "person",
          "--role",
          "approver",
        ],
        unlock,
      ),
    ) as { totp: string };
    await ok([
      "--data",
      "signer",
      "signer",
      "policy",
      "set",
      "release",
      "--user",
      "build",
      "--operation",
      "cms",
      "--approvals",
      "1",
      "--approver",
      "bob",
    ]);
    await sleep(2500);
    const names = ["r1.txt", "r2.txt", "r3.txt"];
    for (const name of names) await writeFile(join(folder, name), name);
    const asked = await sign(...names, "--cert", "release", "--one-release", "--leave-pending");
    assert.equal(asked.code, 4, asked.stdout + asked.stderr);
    const code = totpAt(fromBase32(bob.totp), stepOf(Date.now()));
    const person = { UPKEEP_PASSWORD: "another long password", UPKEEP_CODE: code };
    const own = join(folder, "bob.pem");
    await ok(["signer", "identity", own]);
    const shown = JSON.parse(
      await ok(["--json", "service", "pending", "--user", "bob", "--identity", own], person),
    ) as {
      requests: { release: { root: string } }[];
    };
    assert.equal(shown.requests.length, 3);
    await ok(
      ["service", "approve", shown.requests[0]!.release.root, "--user", "bob", "--identity", own],
      person,
    );
    const done = await upkeep([
      "--json",
      "service",
      "wait",
      ...names.map((name) => `${name}.pending`),
      "--identity",
      identity,
    ]);
    assert.equal(done.code, 0, done.stdout + done.stderr);
    for (const name of names)
      assert.ok(existsSync(join(folder, `${name}.sig`)) && !existsSync(join(folder, `${name}.pending`)));
  });

  it(
    "signs with a key on a PKCS#11 token",
    { skip: existsSync(SOFTHSM) ? false : "softhsm2 is not installed" },
    async () => {
      const conf = join(folder, "softhsm2.conf");
      await mkdir(join(folder, "tokens"));
      await writeFile(
        conf,
        `directories.tokendir = ${join(folder, "tokens")}\nobjectstore.backend = file\nlog.level = ERROR\n`,
      );
      const run = (program: string, args: readonly string[]): Promise<void> =>
        new Promise((resolve, reject) =>
          execFile(
            program,
            args,
            { cwd: folder, env: { PATH: process.env["PATH"] ?? "", SOFTHSM2_CONF: conf } },
            (error, _o, stderr) => (error === null ? resolve() : reject(new Error(stderr))),
          ),
        );
      const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
      await writeFile(join(folder, "hsm.pem"), String(privateKey.export({ type: "pkcs8", format: "pem" })));
      await run("softhsm2-util", [
        "--init-token",
        "--free",
        "--label",
        "prod",
        "--so-pin",
        "12345678",
        "--pin",
        "123456",
      ]);
      await run("softhsm2-util", [
        "--import",
        "hsm.pem",
        "--token",
        "prod",
        "--label",
        "codesign",
        "--id",
        "01",
        "--pin",
        "123456",
      ]);
      await stop(signer);
      const env = { UPKEEP_UNLOCK: PASSPHRASE, UPKEEP_KEY_SECRET: "123456", SOFTHSM2_CONF: conf };
      const admin = (...args: string[]): Promise<string> => ok(["--data", "signer", "signer", ...args], env);
      const settings = [`module=${SOFTHSM}`, "custody=pkcs11", "token=prod", "label=codesign"].flatMap(
        (each) => ["--set", each],
      );
      await admin("key", "add", "hsm", "--scheme", "ecdsa-sha2-nistp256", ...settings);
      await admin("cert", "self", "hsm");
      await admin("policy", "set", "hsm", "--user", "build", "--operation", "cms");
      signer = await start(["--data", "signer", "signer", "run"], {
        UPKEEP_UNLOCK: PASSPHRASE,
        SOFTHSM2_CONF: conf,
      });
      await writeFile(join(folder, "hsm.txt"), "hello\n");
      const ran = await sign("hsm.txt", "--cert", "hsm");
      assert.equal(ran.code, 0, ran.stdout + ran.stderr);
      assert.match(await ok(["verify", "--receipt", "hsm.txt.receipt", "hsm.txt"]), /it is for this file/);
    },
  );

  it("signs the targets role of a repository, whose key it then holds alone, and nothing else with that key", async () => {
    const unlock = { UPKEEP_UNLOCK: PASSPHRASE };
    await ok(["--data", "op", "repo", "init"]);
    const admin = (...args: string[]): Promise<string> => ok(["--data", "signer", "signer", ...args], unlock);
    await admin("key", "import", "targets", "op/keys/targets.key.json", "--scheme", "ed25519");
    await admin("cert", "add", "targets");
    await admin(
      "policy",
      "set",
      "targets",
      "--user",
      "build",
      "--operation",
      "raw",
      "--purpose",
      "tuf/targets",
    );
    await rm(join(folder, "op/keys/targets.key.json"));
    await sleep(2500);
    await writeFile(join(folder, "tool-1"), "#!/bin/sh\n");
    const add = ["--data", "op", "release", "add", "tool", "1.0.0", "any=tool-1", "--data-only"];
    const alone = await upkeep(add, { UPKEEP_SERVICE: "" });
    assert.notEqual(alone.code, 0);
    await ok(add, { UPKEEP_IDENTITY: identity });
    assert.ok(
      (await logOf("result")).some(
        (entry) => entry["certificate"] === "targets" && entry["file"] === "tuf/targets",
      ),
    );
    const before = (await logOf("session")).length;
    const options = ["--service", service, "--identity", identity];
    await ok([...add.with(4, "other"), ...options], { UPKEEP_SERVICE: "", UPKEEP_IDENTITY: "" });
    assert.equal((await logOf("session")).length, before + 1, "all signatures of a command in one session");
    await writeFile(join(folder, "root.json"), '{"_type":"root","version":9}');
    const root = await sign("root.json", "--cert", "targets", "--as", "raw", "--purpose", "tuf/root");
    assert.equal(root.code, 3);
  });

  it("is reached by `sign --service` as well", async () => {
    await writeFile(join(folder, "again.exe"), tinyPe({ seed: 5 }));
    await ok([
      "--data",
      "signer",
      "signer",
      "policy",
      "set",
      "release",
      "pe",
      "--user",
      "build",
      "--operation",
      "authenticode",
    ]);
    await sleep(2500);
    await writeFile(join(folder, "script.ps1"), "Write-Output hello\r\n");
    await ok([
      "sign",
      "--service",
      service,
      "--identity",
      identity,
      "--cert",
      "release",
      "again.exe",
      "script.ps1",
    ]);
    assert.match(await readFile(join(folder, "script.ps1"), "utf8"), /# SIG # Begin signature block/);
    const intact = await upkeep(["--json", "verify", "script.ps1"]);
    assert.doesNotMatch(intact.stdout, /digest-mismatch|bad-signature/);
    assert.match(await ok(["verify", "--receipt", "again.exe.receipt", "again.exe"]), /it is for this file/);
  });

  it("names what was done to a log by somebody with root", async () => {
    await stop(signer);
    const log = "signer/signer/audit/entries/000000000000.jsonl";
    const clean = await readFile(join(folder, log), "utf8");
    const lines = clean.trimEnd().split("\n");
    for (const [what, entry, changed] of [
      ["edited", 5, lines.with(5, lines[5]!.replace("build", "eve.."))],
      ["deleted", 7, lines.toSpliced(7, 1)],
      ["reordered", 8, lines.with(8, lines[9]!).with(9, lines[8]!)],
      ["truncated", lines.length - 1, lines.slice(0, -1)],
    ] as const) {
      await writeFile(join(folder, log), `${changed.join("\n")}\n`);
      const ran = await upkeep(["--json", "--data", "signer", "audit", "verify"]);
      assert.equal(ran.code, 6, what);
      const { faults } = JSON.parse(ran.stdout) as { faults: { what: string; entry: number }[] };
      assert.ok(
        faults.some((fault) => fault.what === what && fault.entry === entry),
        `${what}: ${JSON.stringify(faults)}`,
      );
    }
    await writeFile(join(folder, log), `${lines.slice(0, -1).join("\n")}\n`);
    await assert.rejects(startSigner(), /log-damaged|truncated/);
    await writeFile(join(folder, log), clean);
    await ok(["--data", "signer", "audit", "verify"]);
  });

  it("starts again from a backup of its folder, with a log that continues", async () => {
    await mkdir(join(folder, "backup"), { recursive: true });
    await cp(join(folder, "signer"), join(folder, "backup/signer"), { recursive: true });
    await rm(join(folder, "signer"), { recursive: true });
    await cp(join(folder, "backup/signer"), join(folder, "signer"), { recursive: true });
    signer = await startSigner();
    await ok(["--data", "signer", "audit", "verify", "--receipt", "notes.txt.receipt"]);
  });

  it("starts with operators' shares, and not with too few", async () => {
    await mkdir(join(folder, "ceremony"), { recursive: true });
    await ok([
      "--data",
      "shared",
      "signer",
      "init",
      "--name",
      "signer-2",
      "--shares",
      "2/3",
      "--share-folder",
      "ceremony",
    ]);
    const few = await upkeep(["--data", "shared", "signer", "run", "--share-file", "ceremony/share-1.txt"]);
    assert.notEqual(few.code, 0);
    const child = await start([
      "--data",
      "shared",
      "signer",
      "run",
      "--share-file",
      "ceremony/share-3.txt",
      "--share-file",
      "ceremony/share-1.txt",
    ]);
    await stop(child);
    assert.match(await ok(["--data", "shared", "audit", "verify"]), /the log is whole/);
  });
});
