// Administrators with a second factor, as somebody meets them who operates the signer, and as somebody who stole a shell on it.

import assert from "node:assert/strict";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { stepOf, totpAt } from "../../src/signing/policy/totp.ts";
import { PASSPHRASE, SignerBench, type Ran, type Running } from "./_signer.ts";
import { fromBase32, nextStep } from "../../src/testing/authenticator.ts";

let bench: SignerBench;
let signer: Running;
const devices = new Map<string, { readonly secret: Uint8Array; step: number }>();

before(async () => {
  bench = await SignerBench.make();
  await bench.startGateway();
  signer = await bench.startSigner();
});
after(() => bench.end());

/** A command of the operator's, without the passphrase: the running signer looks at the code. */
const operate = (args: readonly string[], code = ""): Promise<Ran> =>
  bench.run(["--json", "--data", "signer", "signer", ...args], code === "" ? {} : { UPKEEP_CODE: code });
const enrol = (ran: Ran, name: string): void => {
  assert.equal(ran.code, 0, ran.stdout + ran.stderr);
  const { uri } = JSON.parse(ran.stdout) as { uri: string };
  devices.set(name, { secret: fromBase32(/secret=([A-Z2-7]+)/.exec(uri)![1]!), step: -1 });
};
/** The next code of the device that was not used yet: the signer takes those of the step before and the one after as well. */
async function codeOf(name: string): Promise<string> {
  const device = devices.get(name)!;
  device.step = await nextStep(device.step);
  return totpAt(device.secret, device.step);
}
const policy = (...more: string[]): readonly string[] => [
  "policy",
  "set",
  "release",
  "--user",
  "build",
  ...more,
];
const said = (ran: Ran): string => ran.stdout + ran.stderr;
const trail = async (): Promise<readonly { action: string; admin: string; reason: string }[]> =>
  (
    JSON.parse(await bench.ok(["--json", "--data", "signer", "audit", "list", "--kind", "admin"])) as {
      entries: never[];
    }
  ).entries;
async function until(event: string, count = 1): Promise<void> {
  for (
    const end = Date.now() + 10_000;
    (signer.stderr().match(new RegExp(`"event":"${event}"`, "g"))?.length ?? 0) < count;
  ) {
    if (Date.now() > end) assert.fail(`${event} was not said: ${signer.stderr()}`);
    await sleep(50);
  }
}

describe("a signer with administrators", () => {
  it("gives the first one a secret once, keeps it sealed, and knows who there is", async () => {
    enrol(await operate(["admin", "add", "carol"]), "carol");
    const listed = JSON.parse((await operate(["admin", "list"])).stdout) as {
      admins: string[];
      accepted: boolean;
    };
    assert.deepEqual([listed.admins, listed.accepted], [["carol"], true]);
    const again = await operate(["admin", "add", "eve"]);
    assert.equal(again.code, 3);
    assert.match(said(again), /not-accepted/);
  });

  it("takes a change with a code, at once; without one, or with a wrong one, nothing is changed", async () => {
    const before = readFileSync(bench.toml, "utf8");
    const without = await operate(policy("--operation", "raw"));
    assert.equal(without.code, 3);
    assert.match(said(without), /not-accepted/);
    const wrong = await operate([...policy("--operation", "raw"), "--admin", "carol"], "000000");
    assert.equal(wrong.code, 3);
    assert.match(said(wrong), /signing\/refused/);
    assert.equal(readFileSync(bench.toml, "utf8"), before);
    const code = await codeOf("carol");
    const right = await operate(
      [...policy("--operation", "cms", "--operation", "elf"), "--admin", "carol"],
      code,
    );
    assert.equal(right.code, 0, said(right));
    assert.match(readFileSync(bench.toml, "utf8"), /"elf"/);
    await until("reloaded");
    const replayed = await operate([...policy("--operation", "raw"), "--admin", "carol"], code);
    assert.equal(replayed.code, 3);
    assert.doesNotMatch(readFileSync(bench.toml, "utf8"), /"raw"/);
    assert.deepEqual(
      (await trail()).map(({ action, admin, reason }) => [action, admin, reason]),
      [
        ["added", "carol", ""],
        ["refused", "carol", "accepting: the code is wrong"],
        ["accepted", "carol", ""],
        ["refused", "carol", "accepting: the code was used before"],
      ],
    );
  });

  it("keeps the old configuration when somebody changes the file, and says so once in log and audit log", async () => {
    const good = readFileSync(bench.toml, "utf8");
    writeFileSync(bench.toml, good.replace('operations = [ "cms"', 'operations = [ "authenticode"'));
    assert.notEqual(readFileSync(bench.toml, "utf8"), good);
    await until("config-not-accepted");
    signer.child.kill("SIGHUP");
    await sleep(2500);
    const ran = await bench.sign("notes.txt", "--patience", "10");
    assert.equal(ran.code, 0, said(ran));
    const unasked = (await trail()).filter(({ reason }) => reason === "it changed and was not accepted");
    assert.equal(unasked.length, 1);
    assert.equal(signer.stderr().match(/"event":"config-not-accepted"/g)?.length, 1);
  });

  it("does not slip it in with somebody's next change", async () => {
    const tampered = readFileSync(bench.toml, "utf8");
    const ran = await operate([...policy("--operation", "raw"), "--admin", "carol"], await codeOf("carol"));
    assert.equal(ran.code, 3);
    assert.match(said(ran), /not-accepted[^]*never accepted/);
    assert.equal(readFileSync(bench.toml, "utf8"), tampered);
    // The code was not looked at, and is still good.
    devices.get("carol")!.step--;
  });

  it("is not started with it, and starts no process of a key that nobody accepted", async () => {
    await bench.stop(signer);
    const text = readFileSync(bench.toml, "utf8");
    writeFileSync(
      bench.toml,
      `${text}\n[keys.evil]\ncustody = "pkcs11"\nscheme = "ed25519"\nmodule = "${bench.at("evil.so")}"\ntoken = "t"\nlabel = "l"\npin = "sealed"\n`,
    );
    const ran = await bench.admin(["signer", "run"]);
    assert.equal(ran.code, 3, said(ran));
    assert.match(ran.stderr, /signing\/not-accepted[^]*upkeep signer accept --admin/);
    assert.doesNotMatch(ran.stderr, /evil/);
    writeFileSync(bench.toml, text);
  });

  it("is not fooled by a file of administrators that is gone", async () => {
    const [file, hidden] = [bench.at("signer/signer/admins.json"), bench.at("hidden.json")];
    renameSync(file, hidden);
    const ran = await bench.admin(["signer", "run"]);
    assert.match(ran.stderr, /signing\/not-accepted/);
    const accept = await bench.admin(["signer", "accept", "--admin", "carol"], {
      UPKEEP_CODE: totpAt(devices.get("carol")!.secret, stepOf(Date.now())),
    });
    assert.equal(accept.code, 3);
    renameSync(hidden, file);
  });

  it("is accepted while it does not run with passphrase and code, and starts then", async () => {
    const guessed = await bench.run(["--data", "signer", "signer", "accept", "--admin", "carol"], {
      UPKEEP_UNLOCK: "a guessed passphrase",
      UPKEEP_CODE: "123456",
    });
    assert.match(guessed.stderr, /signing\/locked/);
    const ran = await bench.admin(["signer", "accept", "--admin", "carol"], {
      UPKEEP_CODE: await codeOf("carol"),
    });
    assert.equal(ran.code, 0, said(ran));
    signer = await bench.startSigner();
    const log = await bench.ok(["--data", "signer", "audit", "verify"]);
    assert.match(log, /the log is whole/);
  });

  it("does not take another certificate than the one that was accepted", async () => {
    const pem = bench.at("signer/signer/certificates/release.pem");
    const good = readFileSync(pem, "utf8");
    writeFileSync(pem, good + good);
    await until("config-not-accepted");
    writeFileSync(pem, good);
    await sleep(1500);
  });

  it("restores a certificate that was not accepted, and takes its successor with a code", async () => {
    const pem = bench.at("signer/signer/certificates/release.pem");
    const good = readFileSync(pem, "utf8");
    const self = ["--data", "signer", "signer", "cert", "self", "release", "--admin", "carol"];
    const wrong = await bench.run(self, { UPKEEP_UNLOCK: PASSPHRASE, UPKEEP_CODE: "000000" });
    assert.equal(wrong.code, 3);
    assert.equal(readFileSync(pem, "utf8"), good);
    const right = await bench.run(self, { UPKEEP_UNLOCK: PASSPHRASE, UPKEEP_CODE: await codeOf("carol") });
    assert.equal(right.code, 0, said(right));
    assert.notEqual(readFileSync(pem, "utf8"), good);
  });

  it("goes back to the plain rule with its last administrator", async () => {
    const ran = await operate(["admin", "remove", "carol", "--admin", "carol"], await codeOf("carol"));
    assert.equal(ran.code, 0, said(ran));
    assert.equal((await operate(policy("--operation", "cms"))).code, 0);
    await sleep(2500);
    assert.equal((await bench.sign("notes.txt", "--patience", "10")).code, 0);
  });
});
