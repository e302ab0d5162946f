// Time stamps through the signing service as programs: `openssl ts` as the authority, roots in the configuration.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { certificatePem } from "../../src/der/x509.ts";
import { publisherPki, type Pki } from "../../src/testing/publisher-pki.ts";
import { tinyElf } from "../../src/testing/tiny-elf.ts";
import { tinyPe } from "../../src/testing/tiny-pe.ts";
import { tinyCat } from "../../src/testing/tiny-windows-files.ts";
import { needs, SigningWorld } from "./_signing.ts";

let world: SigningWorld;
let good: Authority;
let rogue: Authority;
let toml: string;

type Authority = { readonly url: string; readonly pki: Pki; readonly server: Server };

/** An authority that is `openssl ts` behind HTTP. */
async function authority(name: string): Promise<Authority> {
  const pki = await publisherPki({ now: Date.now(), key: "rsa2048" });
  const at = (file: string): string => join(world.folder, `${name}-${file}`);
  writeFileSync(at("tsa.pem"), certificatePem(pki.stamper.certificate));
  writeFileSync(at("tsa.key"), pki.stamper.privateKey.export({ type: "pkcs8", format: "pem" }));
  writeFileSync(at("root.pem"), certificatePem(pki.root.certificate));
  writeFileSync(
    at("ts.cnf"),
    `[tsa]\ndefault_tsa=t\n[t]\nserial=${at("serial")}\nsigner_cert=${at("tsa.pem")}\ncerts=${at("root.pem")}\nsigner_key=${at("tsa.key")}\nsigner_digest=sha256\ndefault_policy=1.2.3.4.1\ndigests=sha256,sha384,sha512\naccuracy=secs:1\nordering=yes\ntsa_name=yes\ness_cert_id_chain=no\ness_cert_id_alg=sha256\n`,
  );
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      writeFileSync(at("q.tsq"), Buffer.concat(parts));
      const ask = ["-config", at("ts.cnf"), "-queryfile", at("q.tsq"), "-out", at("q.tsr")];
      execFileSync("openssl", ["ts", "-reply", ...ask], { stdio: "pipe" });
      response
        .writeHead(200, { "content-type": "application/timestamp-reply" })
        .end(readFileSync(at("q.tsr")));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, pki, server };
}

const configure = async (lines: string): Promise<void> => {
  writeFileSync(toml, `${base}\n[timestamp]\n${lines}\n`);
  await sleep(2500);
};
let base = "";

describe("time stamps of the signing service", needs("openssl", "osslsigncode"), () => {
  before(async () => {
    world = await SigningWorld.start();
    [good, rogue] = [await authority("good"), await authority("rogue")];
    toml = join(world.folder, "signer/signer/signer.toml");
    base = readFileSync(toml, "utf8");
    writeFileSync(join(world.folder, "signer/signer/tsa.pem"), certificatePem(good.pki.root.certificate));
  });
  after(async () => {
    for (const each of [good, rogue]) each?.server.close();
    await world?.close();
  });

  it("come from the authority that chains to the configured roots, though another is asked first", async () => {
    await configure(`urls = ["${rogue.url}", "${good.url}"]\nroots = "tsa.pem"`);
    await world.describe();
    assert.match(readFileSync(world.service, "utf8"), /"timestampRoots"/);
    world.put("stamped.exe", tinyPe());
    world.put("notes.txt", "hello\n");
    world.put("app.elf", tinyElf());
    world.put("driver.cat", tinyCat());
    const files = ["stamped.exe", "notes.txt", "app.elf", "driver.cat"];
    const identity = ["--product", "app", "--release-version", "1.4.0", "--release-number", "17"];
    const ran = await world.sign(...files, ...identity, "--timestamp", "--page-hashes");
    assert.equal(ran.code, 0, ran.stdout + ran.stderr);
    const roots = ["--root", "root.pem", "--timestamp-root", "good-root.pem", "--require-timestamp"];
    await world.ok(["verify", ...roots, ...files]);
    const witness = ["-CAfile", "root.pem", "-TSA-CAfile", "good-root.pem"];
    const said = await world.run("osslsigncode", "verify", ...witness, "-in", "stamped.exe");
    assert.match(said, /Timestamp verified: ok|Timestamp Server Signature verification: ok/i);
    assert.match(said, /Signature verification: ok/);
    const log = await world.ok(["--json", "--data", "signer", "audit", "list", "--kind", "result"]);
    const entries = (JSON.parse(log) as { entries: { timestamp: string }[] }).entries;
    assert.deepEqual([...new Set(entries.map((entry) => entry.timestamp))], [good.url]);
  });

  it("are refused by a client that knows other roots", async () => {
    const description = JSON.parse(readFileSync(world.service, "utf8")) as {
      signers: { timestampRoots: string[] }[];
    };
    description.signers[0]!.timestampRoots = [Buffer.from(rogue.pki.root.certificate.der).toString("base64")];
    const other = join(world.folder, world.put("other.json", JSON.stringify(description)));
    world.put("other.exe", tinyPe({ seed: 3 }));
    const ran = await world.sign("other.exe", "--timestamp", "--service", other, "--patience", "0");
    assert.equal(ran.code, 3, ran.stdout + ran.stderr);
    assert.match(ran.stdout, /signing\/bad-reply/);
    assert.deepEqual(world.read("other.exe"), tinyPe({ seed: 3 }));
  });

  it("are not had from authorities that nobody configured roots for", async () => {
    await configure(`urls = ["${rogue.url}"]\nroots = "tsa.pem"`);
    world.put("rogue.exe", tinyPe({ seed: 4 }));
    const ran = await world.sign("rogue.exe", "--timestamp", "--patience", "0");
    assert.equal(ran.code, 5);
    assert.match(ran.stdout, /signing\/timestamp-failed/);
    assert.deepEqual(world.read("rogue.exe"), tinyPe({ seed: 4 }));
  });

  it("have roots that a change of their file alone replaces, and whose damage changes nothing in a running signer", async () => {
    const path = join(world.folder, "signer/signer/tsa.pem");
    writeFileSync(path, certificatePem(rogue.pki.root.certificate));
    await sleep(2500);
    await world.describe();
    assert.equal((await world.sign("rogue.exe", "--timestamp")).code, 0);
    writeFileSync(path, "nothing\n");
    const check = await world.upkeep(["--data", "signer", "signer", "check"]);
    assert.equal(check.code, 2, check.stderr);
    const line = base.split("\n").length + 3;
    assert.match(check.stderr, new RegExp(`signer\\.toml:${line}: timestamp\\.roots: .*tsa\\.pem`));
    await sleep(2500);
    world.put("again.exe", tinyPe({ seed: 5 }));
    const ran = await world.sign("again.exe", "--timestamp", "--patience", "0");
    assert.equal(ran.code, 0, ran.stdout);
    writeFileSync(path, certificatePem(good.pki.root.certificate));
  });
});
