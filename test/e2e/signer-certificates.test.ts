// The life of a certificate and of a user, as an operator and those who sign meet it: renewed, moved to another key, taken out of use.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import * as oids from "../../src/der/oids.ts";
import { certificatePem } from "../../src/der/x509.ts";
import { publisherPki } from "../../src/testing/publisher-pki.ts";
import { PASSPHRASE, SignerBench, type Ran, type Running } from "./_signer.ts";

let bench: SignerBench;
let signer: Running;

before(async () => {
  bench = await SignerBench.make();
  await bench.startGateway();
  signer = await bench.startSigner();
});
after(() => bench.end());

const said = (ran: Ran): string => ran.stdout + ran.stderr;
const operate = (...args: string[]): Promise<Ran> =>
  bench.run(["--data", "signer", "signer", ...args], { UPKEEP_UNLOCK: PASSPHRASE });
async function until(text: string, count = 1): Promise<void> {
  for (const end = Date.now() + 10_000; signer.stderr().split(text).length <= count; await sleep(50))
    assert.ok(Date.now() < end, `${text} was not said: ${signer.stderr()}`);
}
const reloads = (): number => signer.stderr().split('"event":"reloaded"').length - 1;
/** A change, and the signer has taken it up. */
async function changed(...args: string[]): Promise<void> {
  const before = reloads();
  await bench.adminOk(...args);
  await until('"event":"reloaded"', before + 1);
}
/** Who signed, as the client tells of it. */
async function signed(): Promise<string> {
  const args = ["service", "sign", "notes.txt", "--cert", "release", "--identity", "build.pem"];
  const ran = await bench.run([...args, "--patience", "10"], { UPKEEP_SERVICE: bench.at("service.json") });
  assert.equal(ran.code, 0, said(ran));
  return ran.stdout;
}

describe("a certificate", () => {
  it("that is renewed under its name is used at once by clients that know only the name", async () => {
    assert.match(await signed(), /signed as CN=release/);
    await changed("cert", "self", "release", "--subject", "Renewed Inc.", "--days", "20");
    assert.match(await signed(), /signed as CN=Renewed Inc\./);
  });

  it("that will soon expire is named by the log and by check, one out of use is not", async () => {
    await until('"event":"certificate-expires"');
    const soon = await operate("check");
    assert.equal(soon.code, 4);
    assert.match(soon.stdout, /release .* expires in 19 days/);
    await changed("cert", "disable", "release");
    const disabled = await operate("check");
    assert.equal(disabled.code, 0, said(disabled));
    assert.match(disabled.stdout, /release .* disabled/);
    const refused = await bench.sign("notes.txt", "--patience", "10");
    assert.equal(refused.code, 3, said(refused));
    await changed("cert", "enable", "release");
  });

  it("moves to another key with --key, and a request for a new one leaves the old one in use", async () => {
    await bench.adminOk("key", "new", "next", "--scheme", "ecdsa-sha2-nistp256");
    const csr = await bench.adminOk("cert", "csr", "release", "--key", "next", "--subject", "Next Inc.");
    assert.match(csr, /BEGIN CERTIFICATE REQUEST/);
    assert.match(await signed(), /signed as CN=Renewed Inc\./);
    await changed("cert", "self", "release", "--key", "next", "--subject", "Next Inc.");
    assert.match(await signed(), /signed as CN=Next Inc\./);
    assert.match(await bench.adminOk("cert", "show", "release"), /key next .*\n.*CN=Next Inc\./);
    assert.equal((await operate("check")).code, 0);
  });

  it("that every verification would refuse is not imported, and is named by check where it lies already", async () => {
    const { leaf } = await publisherPki({ now: Date.now(), leaf: { eku: [oids.serverAuth] } });
    writeFileSync(bench.at("tls.key"), leaf.privateKey.export({ type: "pkcs8", format: "pem" }), {
      mode: 0o600,
    });
    writeFileSync(bench.at("tls.pem"), certificatePem(leaf.certificate));
    await bench.adminOk("key", "import", "tls", "tls.key", "--scheme", "ecdsa-sha2-nistp256");
    const refused = await operate("cert", "import", "tls", "tls.pem");
    assert.equal(refused.code, 3, said(refused));
    assert.match(said(refused), /not imported: every verification would refuse[^]*codeSigning/);
    await bench.adminOk("cert", "add", "tls");
    writeFileSync(bench.at("signer/signer/certificates/tls.pem"), certificatePem(leaf.certificate));
    const checked = await operate("check");
    assert.equal(checked.code, 4, said(checked));
    assert.match(checked.stdout, /tls .* refused by every verification: .*codeSigning/);
    await bench.adminOk("cert", "remove", "tls");
  });

  it("that is not for its key is named by check", async () => {
    const text = bench.at("signer/signer/certificates/release.pem");
    await bench.adminOk("key", "new", "third", "--scheme", "ecdsa-sha2-nistp256");
    await bench.adminOk("cert", "self", "other", "--key", "third");
    const own = readFileSync(text);
    writeFileSync(text, readFileSync(bench.at("signer/signer/certificates/other.pem")));
    const wrong = await operate("check");
    assert.equal(wrong.code, 4);
    assert.match(wrong.stdout, /release .* not for the key next/);
    writeFileSync(text, own);
  });
});

describe("what is not there", () => {
  const rows: readonly (readonly [string, number, RegExp])[] = [
    ["user show nobody", 1, /There is no user nobody\.[^]*user list/],
    ["user frob", 2, /There is no signer user frob\.[^]*One of: add, list, show/],
    ["user disable", 2, /needs a name/],
    ["cert disable nothing", 1, /There is no certificate nothing\.[^]*cert list/],
    ["cert frob release", 2, /There is no signer cert frob/],
    ["cert import release", 2, /needs a file: PEM/],
    ["policy remove release nothing", 1, /There is no rule nothing of release/],
    ["policy show nothing", 1, /There is no certificate nothing/],
    ["policy set release", 2, /--user and --operation are needed/],
    [
      "policy set release --user nobody --operation cms",
      2,
      /no user "nobody"[^]*Nothing was changed: no signer would start/,
    ],
    ["key frob", 2, /There is no signer key frob/],
  ];
  for (const [command, code, message] of rows) {
    it(`is told by ${command}`, async () => {
      const ran = await operate(...command.split(" "));
      assert.equal(ran.code, code, said(ran));
      assert.match(said(ran), message);
    });
  }
});

describe("a user", () => {
  it("is shown with the rules that name it, and without secrets", async () => {
    assert.match(
      await bench.adminOk("user", "show", "build"),
      /machine, enabled[^]*requester in the rule default of release/,
    );
    const json = JSON.parse(
      await bench.ok(["--json", "--data", "signer", "signer", "user", "show", "build"]),
    ) as {
      rules: object[];
    };
    assert.deepEqual(json.rules, [{ certificate: "release", rule: "default", as: "requester" }]);
  });

  it("who is disabled is out in the middle of a session, and told so", async () => {
    const approver = (await bench.ok(["signer", "identity", "ann.pem"])).trim();
    await changed("user", "add", "ann", "--key", approver, "--role", "approver");
    const rule = ["policy", "set", "release", "--user", "build", "--operation", "cms", "--approvals", "1"];
    await changed(...rule, "--approver", "ann");
    writeFileSync(bench.at("waits.txt"), "waits");
    const args = ["--json", "service", "sign", "waits.txt", "--cert", "release", "--identity", "build.pem"];
    const waiting = bench.run([...args, "--patience", "10"], { UPKEEP_SERVICE: bench.at("service.json") });
    for (const end = Date.now() + 15_000; ; await sleep(100)) {
      const log = await bench.ok(["--data", "signer", "audit", "list", "--kind", "pending"]);
      if (log.includes("waits.txt")) break;
      assert.ok(Date.now() < end, "it did not come to wait");
    }
    const began = Date.now();
    await bench.adminOk("user", "disable", "build");
    const out = await waiting;
    assert.equal(out.code, 3, said(out));
    assert.match(said(out), /signing\/refused/);
    assert.ok(Date.now() - began < 10_000);
    assert.match(
      await bench.ok(["--data", "signer", "audit", "list", "--kind", "session-end", "--last", "1"]),
      /the user was disabled or removed/,
    );
  });
});
