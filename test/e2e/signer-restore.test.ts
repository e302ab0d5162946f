// A signer with administrators and people, made again from its backup: what was accepted holds, what was used up stays so, what waited goes on.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { totpAt } from "../../src/signing/policy/totp.ts";
import { PASSPHRASE, SignerBench, type Ran, type Running } from "./_signer.ts";
import { fromBase32, nextStep } from "../../src/testing/authenticator.ts";

let bench: SignerBench;
let signer: Running;
/** Codes that were taken before the backup. */
let carols = "";
let alices = "";
const secrets = new Map<string, Uint8Array>();

const PASSWORD = "battery staple horse";
const said = (ran: Ran): string => ran.stdout + ran.stderr;
const steps = new Map<string, number>();

/** The next code of a device that was not used yet: the signer takes those of the step before and the one after as well. */
async function codeOf(name: string): Promise<string> {
  const step = await nextStep(steps.get(name) ?? -1);
  steps.set(name, step);
  return totpAt(secrets.get(name)!, step);
}
/** One that is good already, and a step longer than others: for a code that comes back later. */
async function earlyCodeOf(name: string): Promise<string> {
  const step = (await nextStep(steps.get(name) ?? -1)) + 1;
  steps.set(name, step);
  return totpAt(secrets.get(name)!, step);
}
const enrol = (name: string, stdout: string): void => {
  const { uri } = JSON.parse(stdout) as { uri: string };
  secrets.set(name, fromBase32(/secret=([A-Z2-7]+)/.exec(uri)![1]!));
};
/** An operator's change, with a code of carol's. */
const change = (data: string, code: string, ...args: string[]): Promise<Ran> =>
  bench.run(["--json", "--data", data, "signer", ...args, "--admin", "carol"], {
    UPKEEP_UNLOCK: PASSPHRASE,
    UPKEEP_CODE: code,
  });
/** A command of alice's, a person, from a machine that nobody registered. */
const asAlice = (code: string, ...args: string[]): Promise<Ran> =>
  bench.run(["--json", "service", ...args, "--user", "alice", "--patience", "10"], {
    UPKEEP_SERVICE: bench.at("service.json"),
    UPKEEP_PASSWORD: PASSWORD,
    UPKEEP_CODE: code,
  });
const asBuild = (...args: string[]): Promise<Ran> =>
  bench.run(["--json", "service", ...args, "--identity", "build.pem", "--patience", "10"], {
    UPKEEP_SERVICE: bench.at("service.json"),
  });

before(async () => {
  bench = await SignerBench.make();
  enrol(
    "carol",
    await bench.ok(["--json", "--data", "signer", "signer", "admin", "add", "carol"], {
      UPKEEP_UNLOCK: PASSPHRASE,
    }),
  );
  const added = await bench.run(
    [
      "--json",
      "--data",
      "signer",
      "signer",
      "user",
      "add",
      "alice",
      "--kind",
      "person",
      "--role",
      "approver",
      "--admin",
      "carol",
    ],
    { UPKEEP_UNLOCK: PASSPHRASE, UPKEEP_PASSWORD: PASSWORD, UPKEEP_CODE: await codeOf("carol") },
  );
  assert.equal(added.code, 0, said(added));
  enrol("alice", added.stdout);
  const rule = [
    "policy",
    "set",
    "release",
    "careful",
    "--user",
    "build",
    "--operation",
    "cms",
    "--file-name",
    "careful-*",
  ];
  const plain = [
    "policy",
    "set",
    "release",
    "--user",
    "build",
    "--operation",
    "cms",
    "--file-name",
    "notes*",
  ];
  const asked = await change(
    "signer",
    await codeOf("carol"),
    ...rule,
    "--approvals",
    "1",
    "--approver",
    "alice",
  );
  assert.equal(asked.code, 0, said(asked));
  carols = await codeOf("carol");
  const narrowed = await change("signer", carols, ...plain);
  assert.equal(narrowed.code, 0, said(narrowed));
  await bench.startGateway();
  signer = await bench.startSigner();
});
after(() => bench.end());

describe("a signer with administrators that is made again from its backup", () => {
  it("is backed up while a request waits and a person was signed in", async () => {
    writeFileSync(bench.at("careful-1.txt"), "one");
    const waiting = await asBuild("sign", "careful-1.txt", "--cert", "release", "--leave-pending");
    assert.equal(waiting.code, 4, said(waiting));
    alices = await earlyCodeOf("alice");
    const shown = await asAlice(alices, "pending");
    assert.equal(shown.code, 0, said(shown));
    assert.match(shown.stdout, /careful-1\.txt/);
    const made = await bench.run(["--data", "signer", "signer", "backup", "signer.tar"]);
    assert.equal(made.code, 0, said(made));
    await bench.stop(signer);
    const back = await bench.run(["--json", "--data", "second", "signer", "restore", "signer.tar"], {
      UPKEEP_UNLOCK: PASSPHRASE,
    });
    assert.equal(back.code, 0, said(back));
  });

  it("takes no code that was used before, of an administrator or of a person", async () => {
    // At once: a code is good for a minute, and then it would be refused for its age.
    signer = await bench.startSigner("second");
    const replayed = await asAlice(alices, "pending");
    assert.equal(replayed.code, 3, said(replayed));
    assert.match(said(replayed), /signing\/refused/);
    assert.match(
      await bench.ok(["--data", "second", "audit", "list", "--kind", "session", "--last", "1"]),
      /refused.*alice.*used before/,
    );
    const running = await change("second", carols, "policy", "remove", "release", "careful");
    assert.equal(running.code, 3, said(running));
    await bench.stop(signer);
    const listed = await bench.run(["--data", "second", "signer", "admin", "list"], {
      UPKEEP_UNLOCK: PASSPHRASE,
    });
    assert.match(said(listed), /carol/);
    const again = await change("second", carols, "policy", "remove", "release", "careful");
    assert.equal(again.code, 3, said(again));
    signer = await bench.startSigner("second");
  });

  it("runs with the configuration that was accepted, without anybody's doing, and with no other", async () => {
    const signed = await bench.sign("notes.txt", "--patience", "10");
    assert.equal(signed.code, 0, said(signed));
    await bench.ok(["--data", "second", "audit", "verify"]);
    const toml = bench.at("second/signer/signer.toml");
    const accepted = readFileSync(toml, "utf8");
    writeFileSync(toml, accepted.replace('"notes*"', '"*"'));
    for (const end = Date.now() + 10_000; !signer.stderr().includes("config-not-accepted");) {
      assert.ok(Date.now() < end, signer.stderr());
      await sleep(50);
    }
    writeFileSync(bench.at("other.txt"), "other");
    assert.equal((await bench.sign("other.txt", "--patience", "10")).code, 3);
    writeFileSync(toml, accepted);
  });

  it("has the request that waited, lets the person sign in and approve, and the client gets its signature", async () => {
    const pending = await asAlice(await codeOf("alice"), "pending");
    assert.equal(pending.code, 0, said(pending));
    const [, request] = /"request":"([0-9a-f]{32})"/.exec(pending.stdout)!;
    const approved = await asAlice(await codeOf("alice"), "approve", request!);
    assert.equal(approved.code, 0, said(approved));
    const done = await asBuild("wait", "careful-1.txt");
    assert.equal(done.code, 0, said(done));
    await bench.ok(["--data", "second", "audit", "verify", "--receipt", "careful-1.txt.receipt"]);
  });

  it("takes a change with the next code of the same device", async () => {
    const rule = [
      "policy",
      "set",
      "release",
      "--user",
      "build",
      "--operation",
      "cms",
      "--file-name",
      "other*",
    ];
    const changed = await change("second", await codeOf("carol"), ...rule);
    assert.equal(changed.code, 0, said(changed));
    assert.equal((await bench.sign("other.txt", "--patience", "10")).code, 0);
  });
});
