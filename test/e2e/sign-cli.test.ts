// `upkeep sign`, `verify`, `timestamp` and `remove` as a user types them: keys from files and tokens, many files, signtool's words.

import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { createServer, type Server } from "node:http";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { collect } from "../../src/core/bytes.ts";
import * as oids from "../../src/der/oids.ts";
import { certificatePem } from "../../src/der/x509.ts";
import { answerTimestamp } from "../../src/testing/timestamp-authority.ts";
import { publisherPki, type Pki } from "../../src/testing/publisher-pki.ts";
import { sign } from "../../src/testing/pe-signing.ts";
import { tinyPe } from "../../src/testing/tiny-pe.ts";

const program = new URL("../../upkeep", import.meta.url).pathname;
const has = (command: string): boolean => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
const needs = (...commands: string[]): { skip?: string } => {
  const missing = commands.filter((command) => !has(command));
  return missing.length === 0 ? {} : { skip: `not installed: ${missing.join(", ")}` };
};
const SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so";

let folder: string;
let pki: Pki;
let stamps: Server;
let busy = 0;
const at = (name: string): string => join(folder, name);
const put = (name: string, content: string | Uint8Array, mode = 0o600): string => {
  writeFileSync(at(name), content, { mode });
  return name;
};

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "upkeep-sign-"));
  pki = await publisherPki({ now: Date.now(), key: "rsa2048" });
  put("key.pem", pki.leaf.privateKey.export({ type: "pkcs8", format: "pem" }) as string);
  put(
    "secret.pem",
    pki.leaf.privateKey.export({
      type: "pkcs8",
      format: "pem",
      cipher: "aes-256-cbc",
      passphrase: "geheim",
    }) as string,
  );
  put("chain.pem", certificatePem(pki.leaf.certificate) + certificatePem(pki.authority.certificate));
  put("root.pem", certificatePem(pki.root.certificate));
  put("all.pem", readFileSync(at("key.pem"), "utf8") + readFileSync(at("chain.pem"), "utf8"));
  stamps = createServer((request, response) => {
    void collect(request as AsyncIterable<Uint8Array>, 65_536).then(async (body) => {
      if (request.url === "/busy") {
        busy++;
        return response.writeHead(503).end();
      }
      const reply = await answerTimestamp(body, pki.stamper, [pki.root], Date.now());
      return response.writeHead(200, { "content-type": "application/timestamp-reply" }).end(reply.body);
    });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => stamps.once("listening", resolve));
});
after(() => {
  stamps.close();
  rmSync(folder, { recursive: true, force: true });
});

const url = (path = ""): string => `http://127.0.0.1:${(stamps.address() as AddressInfo).port}/${path}`;

type Ran = {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly lines: readonly { [name: string]: unknown }[];
};

function upkeep(words: readonly string[], env: { readonly [name: string]: string } = {}): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(
      program,
      [...words],
      { cwd: folder, env: { ...process.env, UPKEEP_DATA: at("data"), ...env }, timeout: 60_000 },
      (error, stdout, stderr) => {
        const exit = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
        const lines = stdout
          .split("\n")
          .filter((line) => line.startsWith("{"))
          .map((line) => JSON.parse(line) as { [name: string]: unknown });
        resolve({ exit, stdout, stderr, lines });
      },
    );
  });
}

const WITH_KEY = ["--cert", "chain.pem", "--key", "key.pem"];

async function assertValid(file: string, more: readonly string[] = []): Promise<{ [name: string]: unknown }> {
  const ran = await upkeep(["verify", "--json", "--root", "root.pem", ...more, file]);
  assert.equal(ran.exit, 0, ran.stdout + ran.stderr);
  return ran.lines[0]!;
}

describe("upkeep sign", () => {
  it(
    "takes keys from PEM, encrypted PEM and PKCS#12, passphrases from environment and file",
    needs("openssl"),
    async () => {
      spawnSync(
        "openssl",
        ["pkcs12", "-export", "-in", "all.pem", "-out", "publisher.pfx", "-passout", "pass:geheim"],
        { cwd: folder },
      );
      put("password", "geheim\n");
      const forms: readonly (readonly [readonly string[], { [name: string]: string }])[] = [
        [["--cert", "all.pem"], {}],
        [["--cert", "chain.pem", "--key", "secret.pem"], { UPKEEP_CERT_PASSWORD: "geheim" }],
        [["--cert", "publisher.pfx", "--password-file", "password"], {}],
        [[], { UPKEEP_CERT: "publisher.pfx", UPKEEP_CERT_PASSWORD: "geheim" }],
      ];
      for (const [words, env] of forms) {
        put("k.exe", tinyPe());
        const ran = await upkeep(["sign", ...words, "k.exe"], env);
        assert.equal(ran.exit, 0, ran.stderr + ran.stdout);
        await assertValid("k.exe");
      }
      const wrong = await upkeep(["sign", "--cert", "publisher.pfx", "k.exe"], {
        UPKEEP_CERT_PASSWORD: "falsch",
      });
      assert.equal(wrong.exit, 3);
      assert.match(wrong.stderr, /artifact\/bad-key/);
      const none = await upkeep(["sign", "--cert", "publisher.pfx", "k.exe"]);
      assert.equal(none.exit, 2);
      assert.match(none.stderr, /UPKEEP_CERT_PASSWORD/);
    },
  );

  it("signs many files, reports each, and fails for some without stopping", async () => {
    for (const name of ["m1.dll", "m2.dll", "m3.sys"]) put(name, tinyPe());
    put("m4.exe", "MZ but nothing else");
    put("list.txt", "# drivers\nm3.sys\n\nm4.exe\nmissing.exe\n");
    const ran = await upkeep(["sign", "--json", "--jobs", "2", ...WITH_KEY, "m?.dll", "@list.txt"]);
    assert.equal(ran.exit, 1);
    assert.deepEqual(
      ran.lines.map((line) => [line["file"], line["ok"]]),
      [
        ["m1.dll", true],
        ["m2.dll", true],
        ["m3.sys", true],
        ["m4.exe", false],
        ["missing.exe", false],
      ],
    );
    assert.equal(readFileSync(at("m4.exe"), "utf8"), "MZ but nothing else");
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.includes("upkeep-part")),
      [],
    );
    const again = await upkeep(["sign", "--json", "--skip-signed", ...WITH_KEY, "m1.dll", "m2.dll"]);
    assert.equal(again.exit, 0);
    assert.deepEqual(
      again.lines.map((line) => line["status"]),
      ["skipped", "skipped"],
    );
    assert.equal((await upkeep(["sign", ...WITH_KEY, "m1.dll"])).exit, 3);
  });

  it("stamps time with the next authority when one is busy, and says so when none answers", async () => {
    put("s.exe", tinyPe());
    const ran = await upkeep([
      "sign",
      ...WITH_KEY,
      "--timestamp-url",
      url("busy"),
      "--timestamp-url",
      url(),
      "s.exe",
    ]);
    assert.equal(ran.exit, 0, ran.stderr + ran.stdout);
    assert.equal(busy, 1);
    const report = await assertValid("s.exe", ["--require-timestamp"]);
    const [signature] = report["signatures"] as { signedAt: string; timestamps: { believed: boolean }[] }[];
    assert.ok(Math.abs(Date.parse(signature!.signedAt) - Date.now()) < 60_000);
    put("n.exe", tinyPe());
    const before = readFileSync(at("n.exe"));
    const failed = await upkeep(["sign", ...WITH_KEY, "--timestamp-url", url("busy"), "n.exe"]);
    assert.equal(failed.exit, 5, failed.stdout);
    assert.match(failed.stdout, /503/);
    assert.deepEqual(readFileSync(at("n.exe")), before);
  });

  it("does not verify what is of no known kind, alone or among others, and says what was looked for", async () => {
    put("plain.txt", "not a program");
    put("letter.txt", "nor is this");
    const alone = await upkeep(["verify", "plain.txt"]);
    assert.equal(alone.exit, 6, alone.stdout + alone.stderr);
    assert.match(alone.stderr, /plain\.txt\.sig/);
    const several = await upkeep(["verify", "--json", "plain.txt", "letter.txt"]);
    assert.equal(several.exit, 6);
    assert.deepEqual(
      several.stdout
        .trim()
        .split("\n")
        .map((line) => (JSON.parse(line) as { valid: boolean }).valid),
      [false, false],
    );
    assert.equal((await upkeep(["verify", "gone.exe"])).exit, 1);
  });

  it("understands signtool's words for sign, verify, timestamp and remove", needs("openssl"), async () => {
    spawnSync("openssl", ["pkcs12", "-export", "-in", "all.pem", "-out", "cert.pfx", "-passout", "pass:pw"], {
      cwd: folder,
    });
    put("t.exe", tinyPe());
    const sign = [
      "sign",
      "/fd",
      "SHA256",
      "/tr",
      url(),
      "/td",
      "SHA256",
      "/f",
      "cert.pfx",
      "/p",
      "pw",
      "/d",
      "My app",
      "/du",
      "https://example.com/",
      "/ph",
    ];
    const signed = await upkeep([...sign, "/n", "Example Publisher", "t.exe"]);
    assert.equal(signed.exit, 0, signed.stderr + signed.stdout);
    assert.match(signed.stderr, /command line/);
    const report = await assertValid("t.exe");
    assert.equal((report["signatures"] as { description: string }[])[0]!.description, "My app");
    // signtool replaces without being asked, and adds with /as.
    assert.equal((await upkeep([...sign, "t.exe"])).exit, 0);
    assert.equal((await upkeep([...sign, "/as", at("t.exe")])).exit, 0);
    assert.equal(((await assertValid("t.exe"))["signatures"] as unknown[]).length, 2);
    assert.equal((await upkeep([...sign, "/sha1", "00".repeat(20), "t.exe"])).exit, 3);
    assert.equal((await upkeep(["timestamp", "/tr", url(), "/td", "SHA256", "t.exe"])).exit, 0);
    assert.equal((await upkeep(["verify", "/pa", "/all", "t.exe"])).exit, 6);
    assert.equal((await upkeep(["remove", "/s", "t.exe"])).exit, 0);
    assert.equal((await upkeep(["verify", "/pa", "t.exe"])).exit, 6);
    const refused = await upkeep(["sign", "/dlib", "x.dll", "/fd", "SHA256", "t.exe"]);
    assert.equal(refused.exit, 2);
    assert.match(refused.stderr, /\/dlib/);
  });

  it("signs with a key on a PKCS#11 token", needs("softhsm2-util"), async () => {
    put(
      "softhsm2.conf",
      `directories.tokendir = ${at("tokens")}\nobjectstore.backend = file\nlog.level = ERROR\n`,
    );
    spawnSync("mkdir", [at("tokens")]);
    const env = { SOFTHSM2_CONF: at("softhsm2.conf"), UPKEEP_PKCS11_PIN: "123456" };
    const hsm = (...words: string[]): void => {
      const { status, stderr } = spawnSync("softhsm2-util", words, {
        cwd: folder,
        env: { ...process.env, ...env },
        encoding: "utf8",
      });
      assert.equal(status, 0, stderr);
    };
    hsm("--init-token", "--free", "--label", "publisher", "--so-pin", "12345678", "--pin", "123456");
    hsm(
      "--import",
      at("key.pem"),
      "--token",
      "publisher",
      "--label",
      "codesign",
      "--id",
      "01",
      "--pin",
      "123456",
    );
    const elliptic = await publisherPki({ now: Date.now(), key: "p256" });
    put("ec.pem", elliptic.leaf.privateKey.export({ type: "pkcs8", format: "pem" }) as string);
    put(
      "ec-chain.pem",
      certificatePem(elliptic.leaf.certificate) + certificatePem(elliptic.authority.certificate),
    );
    put("ec-root.pem", certificatePem(elliptic.root.certificate));
    hsm(
      "--import",
      at("ec.pem"),
      "--token",
      "publisher",
      "--label",
      "elliptic",
      "--id",
      "02",
      "--pin",
      "123456",
    );
    const token = ["--pkcs11-module", SOFTHSM, "--pkcs11-token", "publisher"];
    for (const name of ["h1.exe", "h2.exe", "h3.exe"]) put(name, tinyPe());
    const ran = await upkeep(
      ["sign", "--cert", "chain.pem", ...token, "--pkcs11-key", "codesign", "h1.exe", "h2.exe"],
      env,
    );
    assert.equal(ran.exit, 0, ran.stderr + ran.stdout);
    await assertValid("h1.exe");
    await assertValid("h2.exe");
    const ec = await upkeep(
      ["sign", "--cert", "ec-chain.pem", ...token, "--pkcs11-key", "elliptic", "h3.exe"],
      env,
    );
    assert.equal(ec.exit, 0, ec.stderr + ec.stdout);
    assert.equal((await upkeep(["verify", "--root", "ec-root.pem", "h3.exe"])).exit, 0);
    const pin = await upkeep(
      ["sign", "--cert", "chain.pem", ...token, "--pkcs11-key", "codesign", "h1.exe"],
      { ...env, UPKEEP_PKCS11_PIN: "0000" },
    );
    assert.equal(pin.exit, 3);
    assert.match(pin.stderr, /PIN is wrong/);
    const lost = await upkeep(
      ["sign", "--cert", "chain.pem", ...token, "--pkcs11-key", "nobody", "h1.exe"],
      env,
    );
    assert.match(lost.stderr, /it has "codesign", "elliptic"|it has "elliptic", "codesign"/);
  });

  it("shows the digest without a key and without a change", async () => {
    put("d.exe", tinyPe({ overlay: 5 }));
    const ran = await upkeep(["sign", "--dry-run", "--json", "d.exe"]);
    assert.equal(ran.exit, 0, ran.stderr);
    // The example of spec/authenticode.md.
    assert.equal(ran.lines[0]!["digest"], "3c6b997c8b3adf22de5bef46c44ba3d07a539e472b9090ddab1cb3a171d745ac");
    assert.deepEqual(new Uint8Array(readFileSync(at("d.exe"))), tinyPe({ overlay: 5 }));
  });

  it("adds a signature to a file whose old one has a stamp that is out of order, and only the new one counts", async () => {
    const lies = { imprint: new Uint8Array(32) };
    const old = await sign(tinyPe(), pki, { stamp: { at: Date.now(), lies } });
    put("old.exe", old);
    const ran = await upkeep(["sign", "--append", "old.exe", "--cert", "chain.pem", "--key", "key.pem"]);
    assert.equal(ran.exit, 0, ran.stderr);
    assert.equal((await upkeep(["verify", "old.exe", "--root", "root.pem"])).exit, 0);
    // What is wrong with the old one is said, and stays its own matter.
    assert.match(ran.stdout, /The signature that was there does not hold/);
    put("spoiled.exe", old.with(1100, old[1100]! ^ 1));
    const spoiled = await upkeep([
      "sign",
      "--append",
      "spoiled.exe",
      "--cert",
      "chain.pem",
      "--key",
      "key.pem",
    ]);
    assert.equal(spoiled.exit, 0, spoiled.stderr);
    assert.equal((await upkeep(["verify", "spoiled.exe", "--root", "root.pem"])).exit, 6);
  });

  it("signs with --skip-signed what has only the entry of a signature, and says so", async () => {
    put("left.exe", tinyPe());
    await upkeep(["sign", "left.exe", "--cert", "chain.pem", "--key", "key.pem"]);
    writeFileSync(at("left.exe"), readFileSync(at("left.exe")).subarray(0, tinyPe().length));
    const ran = await upkeep([
      "sign",
      "--skip-signed",
      "left.exe",
      "--cert",
      "chain.pem",
      "--key",
      "key.pem",
    ]);
    assert.equal(ran.exit, 0, ran.stderr);
    assert.match(ran.stdout, /left the entry behind\. It is cleared\./);
    assert.equal((await upkeep(["verify", "left.exe", "--root", "root.pem"])).exit, 0);
  });

  it("refuses a certificate that every verification would refuse: a TLS server's, one whose key may not sign", async () => {
    for (const leaf of [{ eku: [oids.serverAuth] }, { keyUsage: ["keyEncipherment"] as const }]) {
      const wrong = await publisherPki({ now: Date.now(), leaf });
      put("wrong.pem", certificatePem(wrong.leaf.certificate));
      put("wrong.key", wrong.leaf.privateKey.export({ type: "pkcs8", format: "pem" }) as string);
      put("unfit.exe", tinyPe());
      const ran = await upkeep(["sign", "unfit.exe", "--cert", "wrong.pem", "--key", "wrong.key"]);
      assert.notEqual(ran.exit, 0);
      assert.match(ran.stderr, /artifact\/bad-certificate|Every verification would refuse/);
      assert.deepEqual(new Uint8Array(readFileSync(at("unfit.exe"))), tinyPe());
    }
  });

  it("refuses an expired certificate, and one for another key", async () => {
    const old = await publisherPki({ now: Date.now() - 400 * 86_400_000 });
    put(
      "old.pem",
      (old.leaf.privateKey.export({ type: "pkcs8", format: "pem" }) as string) +
        certificatePem(old.leaf.certificate),
    );
    put("x.exe", tinyPe());
    const expired = await upkeep(["sign", "--cert", "old.pem", "x.exe"]);
    assert.equal(expired.exit, 3);
    assert.match(expired.stderr, /--allow-expired/);
    const other = await upkeep(["sign", "--cert", "chain.pem", "--key", "old.pem", "x.exe"]);
    assert.equal(other.exit, 3);
    assert.deepEqual(new Uint8Array(readFileSync(at("x.exe"))), tinyPe());
  });

  it("writes to another file when told so, and keeps permissions", async () => {
    writeFileSync(at("p.exe"), tinyPe(), { mode: 0o755 });
    assert.equal((await upkeep(["sign", ...WITH_KEY, "--output", "q.exe", "p.exe"])).exit, 0);
    assert.deepEqual(new Uint8Array(readFileSync(at("p.exe"))), tinyPe());
    assert.equal(spawnSync("stat", ["-c", "%a", at("q.exe")], { encoding: "utf8" }).stdout.trim(), "755");
    await assertValid("q.exe");
  });
});

describe("upkeep verify", () => {
  it("explains who signed what, when and under which chain, in sentences", async () => {
    put("v.exe", tinyPe());
    assert.equal((await upkeep(["sign", ...WITH_KEY, "--timestamp-url", url(), "v.exe"])).exit, 0);
    const ran = await upkeep(["verify", "--root", "root.pem", "--explain", "v.exe"]);
    assert.match(ran.stdout, /signed by Example on \d{4}-\d\d-\d\dT.*, and unchanged since/);
    assert.match(ran.stdout, /issued by CN=Test code signing authority/);
    assert.match(ran.stdout, /0x[0-9a-f]{8} .* not covered .* certificate table/);
    assert.equal(
      (await upkeep(["verify", "--root", "root.pem", "--subject", "Somebody Else", "v.exe"])).exit,
      6,
    );
  });

  it("refuses a revoked certificate when given the list", needs("openssl"), async () => {
    put("r.exe", tinyPe());
    assert.equal((await upkeep(["sign", ...WITH_KEY, "r.exe"])).exit, 0);
    put("authority.pem", certificatePem(pki.authority.certificate));
    put("authority.key", pki.authority.privateKey.export({ type: "pkcs8", format: "pem" }) as string);
    put(
      "ca.cnf",
      "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\ndefault_crl_days=30\n",
    );
    put("number", "01\n");
    const serial = Buffer.from(pki.leaf.certificate.serial).toString("hex").toUpperCase();
    put("index.txt", `R\t301231235959Z\t260101000000Z,keyCompromise\t${serial}\tunknown\t/CN=x\n`);
    const made = spawnSync(
      "openssl",
      [
        "ca",
        "-config",
        "ca.cnf",
        "-gencrl",
        "-keyfile",
        "authority.key",
        "-cert",
        "authority.pem",
        "-out",
        "list.pem",
      ],
      { cwd: folder, encoding: "utf8" },
    );
    assert.equal(made.status, 0, made.stderr);
    const ran = await upkeep(["verify", "--root", "root.pem", "--crl", "list.pem", "r.exe"]);
    assert.equal(ran.exit, 6);
    assert.match(ran.stdout, /was revoked on 2026-01-01T00:00:00Z because its key was stolen/);
    assert.equal((await upkeep(["verify", "--root", "root.pem", "--require-revocation", "r.exe"])).exit, 6);
  });

  it("says by name what it cannot do yet", async () => {
    put("a.msix", "PK\u0003\u0004rest");
    const ran = await upkeep(["verify", "a.msix"]);
    assert.equal(ran.exit, 3);
    assert.match(ran.stdout + ran.stderr, /MSIX/);
  });
});
