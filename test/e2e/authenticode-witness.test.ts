// Independent witnesses for Authenticode: osslsigncode reads ours and we read its, openssl stamps time, real signatures rebuild byte for byte.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { equalBytes } from "../../src/core/bytes.ts";
import { systemClock } from "../../src/io/system/clock.ts";
import { systemRandom } from "../../src/io/system/random.ts";
import { certificatePem } from "../../src/der/x509.ts";
import { signAuthenticode, withTimestamp, valueToStamp } from "../../src/artifact/authenticode-sign.ts";
import { Findings } from "../../src/artifact/errors.ts";
import type { SignJob } from "../../src/artifact/format.ts";
import { signPe } from "../../src/artifact/pe/sign.ts";
import { readLayout } from "../../src/artifact/pe/layout.ts";
import { checksumOf } from "../../src/artifact/pe/scan.ts";
import { readTable } from "../../src/artifact/pe/table.ts";
import { verifyPe } from "../../src/artifact/pe/verify.ts";
import { bytesSource, MemorySink } from "../../src/artifact/source.ts";
import { requestTimestamp } from "../../src/artifact/timestamp-request.ts";
import { publisherPki, type Pki, type TestKey } from "../../src/testing/publisher-pki.ts";
import { rebuildAuthenticode } from "../../src/testing/rebuild-authenticode.ts";
import { tinyPe } from "../../src/testing/tiny-pe.ts";

const has = (command: string): boolean => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
const witness =
  has("osslsigncode") && has("openssl") ? {} : { skip: "osslsigncode or openssl is not installed" };
const root = new URL("../..", import.meta.url).pathname;

/** Signed programs of others, from packages that are installed for this. */
const REAL = [
  "node_modules/node-notifier/vendor/snoreToast/snoretoast-x64.exe",
  "node_modules/node-notifier/vendor/snoreToast/snoretoast-x86.exe",
  "node_modules/@electron/windows-sign/vendor/signtool.exe",
];
const UNSIGNED = [
  "node_modules/node-notifier/vendor/notifu/notifu.exe",
  "node_modules/node-notifier/vendor/notifu/notifu64.exe",
];

let folder: string;
const at = (name: string): string => join(folder, name);
before(() => {
  folder = mkdtempSync(join(tmpdir(), "upkeep-witness-"));
});
after(() => rmSync(folder, { recursive: true, force: true }));

const load = (path: string): Uint8Array => new Uint8Array(readFileSync(join(root, path)));

async function sign(
  bytes: Uint8Array,
  pki: Pki,
  how: Partial<SignJob> = {},
  stamp?: (value: Uint8Array) => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const sink = new MemorySink();
  await signPe({
    source: bytesSource(bytes),
    sink,
    mode: "new",
    hash: "sha256",
    makeSignature: async (what) => {
      const cms = await signAuthenticode({
        indirectData: what.indirectData,
        hash: what.hash,
        certificate: pki.leaf.certificate,
        chain: [pki.authority.certificate],
        signer: pki.leaf.signer,
        ...(what.sequenceNumber === null ? {} : { sequenceNumber: what.sequenceNumber }),
      });
      return stamp === undefined ? cms : withTimestamp(cms, await stamp(valueToStamp(cms)));
    },
    ...how,
  });
  return sink.bytes;
}

/** What osslsigncode says of a file under a root. */
function osslsigncodeVerify(bytes: Uint8Array, pki: Pki): { readonly ok: boolean; readonly output: string } {
  writeFileSync(at("v.exe"), bytes);
  writeFileSync(at("root.pem"), certificatePem(pki.root.certificate));
  const { status, stdout, stderr } = spawnSync(
    "osslsigncode",
    ["verify", "-in", at("v.exe"), "-CAfile", at("root.pem"), "-TSA-CAfile", at("root.pem")],
    { encoding: "utf8" },
  );
  return { ok: status === 0, output: stdout + stderr };
}

function put(pki: Pki): readonly string[] {
  writeFileSync(at("key.pem"), pki.leaf.privateKey.export({ type: "pkcs8", format: "pem" }));
  writeFileSync(
    at("certs.pem"),
    certificatePem(pki.leaf.certificate) + certificatePem(pki.authority.certificate),
  );
  return ["-certs", at("certs.pem"), "-key", at("key.pem")];
}

describe("osslsigncode", () => {
  for (const [key, hash] of [
    ["rsa2048", "sha256"],
    ["rsa3072", "sha384"],
    ["rsa4096", "sha512"],
    ["p256", "sha256"],
    ["p384", "sha384"],
  ] as const satisfies readonly (readonly [TestKey, SignJob["hash"]])[]) {
    it(`accepts what we sign with ${key} and ${hash}`, witness, async () => {
      const pki = await publisherPki({ now: Date.now(), key });
      for (const bytes of [tinyPe({ overlay: 3 }), load(UNSIGNED[1]!)]) {
        const { ok, output } = osslsigncodeVerify(await sign(bytes, pki, { hash }), pki);
        assert.ok(ok, output);
        assert.doesNotMatch(output, /checksum.*mismatch/i);
      }
    });
  }

  it("computes the same page hashes as we do, both ways", witness, async () => {
    const pki = await publisherPki({ now: Date.now(), key: "rsa2048" });
    for (const pageHashes of ["sha1", "sha256"] as const) {
      const { ok, output } = osslsigncodeVerify(await sign(load(UNSIGNED[0]!), pki, { pageHashes }), pki);
      assert.ok(ok, output);
      assert.match(output, /Page hash algorithm/);
      assert.match(output, /Page hash +: [0-9A-F]+/);
    }
    const out = at("ph.exe");
    rmSync(out, { force: true });
    execFileSync(
      "osslsigncode",
      ["sign", "-ph", "-h", "sha256", ...put(pki), "-in", join(root, UNSIGNED[0]!), "-out", out],
      { stdio: "pipe" },
    );
    const report = await verifyPe(bytesSource(new Uint8Array(readFileSync(out))), {
      roots: [pki.root.certificate],
      now: Date.now(),
    });
    assert.ok(report.valid);
    assert.ok(report.signatures[0]!.findings.some((finding) => finding.code === "pe/page-hashes-right"));
  });

  it("signs what we accept, for each kind of key", witness, async () => {
    for (const key of ["rsa2048", "p256"] as const) {
      const pki = await publisherPki({ now: Date.now(), key });
      const out = at(`o-${key}.exe`);
      execFileSync(
        "osslsigncode",
        [
          "sign",
          "-h",
          "sha256",
          "-n",
          "a name",
          "-i",
          "https://example.com/",
          ...put(pki),
          "-in",
          join(root, UNSIGNED[1]!),
          "-out",
          out,
        ],
        { stdio: "pipe" },
      );
      const report = await verifyPe(bytesSource(new Uint8Array(readFileSync(out))), {
        roots: [pki.root.certificate],
        now: Date.now(),
      });
      assert.deepEqual(report.findings, []);
      assert.ok(report.valid);
      assert.deepEqual(report.signatures[0]!.opus, { name: "a name", url: "https://example.com/" });
    }
  });

  it("reads our nested signatures, and we read its", witness, async () => {
    const pki = await publisherPki({ now: Date.now(), key: "rsa2048" });
    const twice = await sign(await sign(tinyPe(), pki), pki, { mode: "append" });
    const { ok, output } = osslsigncodeVerify(twice, pki);
    assert.ok(ok, output);
    assert.match(output, /Signature Index: 1/);
    writeFileSync(at("one.exe"), await sign(tinyPe(), pki));
    rmSync(at("two.exe"), { force: true });
    execFileSync(
      "osslsigncode",
      ["sign", "-nest", "-h", "sha256", ...put(pki), "-in", at("one.exe"), "-out", at("two.exe")],
      { stdio: "pipe" },
    );
    const report = await verifyPe(bytesSource(new Uint8Array(readFileSync(at("two.exe")))), {
      roots: [pki.root.certificate],
      now: Date.now(),
    });
    assert.ok(
      report.valid,
      JSON.stringify([report.findings, report.signatures.map((each) => each.findings)]),
    );
    assert.equal(report.signatures.length, 2);
  });

  it("accepts stuffed data that we refuse", witness, async () => {
    const pki = await publisherPki({ now: Date.now(), key: "rsa2048" });
    const signed = await sign(tinyPe(), pki);
    const layout = await readLayout(bytesSource(signed));
    const stuffed = new Uint8Array(signed.length + 64).fill(0x41);
    stuffed.set(signed);
    const view = new DataView(stuffed.buffer);
    view.setUint32(layout.table!.offset, layout.table!.size + 64, true);
    view.setUint32(layout.directoryOffset + 4, layout.table!.size + 64, true);
    const report = await verifyPe(bytesSource(stuffed), { roots: [pki.root.certificate], now: Date.now() });
    assert.ok(report.findings.some((finding) => finding.code === "pe/stuffed"));
    assert.equal(report.valid, false);
  });
});

describe("openssl ts", () => {
  it("gives time stamps that we, osslsigncode and openssl itself believe", witness, async () => {
    const pki = await publisherPki({ now: Date.now(), key: "rsa3072" });
    writeFileSync(at("tsa.pem"), certificatePem(pki.stamper.certificate));
    writeFileSync(at("tsa.key"), pki.stamper.privateKey.export({ type: "pkcs8", format: "pem" }));
    writeFileSync(at("tsaroot.pem"), certificatePem(pki.root.certificate));
    writeFileSync(
      at("ts.cnf"),
      `[tsa]\ndefault_tsa=t\n[t]\nserial=${at("serial")}\nsigner_cert=${at("tsa.pem")}\ncerts=${at("tsaroot.pem")}\nsigner_key=${at("tsa.key")}\nsigner_digest=sha256\ndefault_policy=1.2.3.4.1\ndigests=sha256,sha384,sha512\naccuracy=secs:1\nordering=yes\ntsa_name=yes\ness_cert_id_chain=no\ness_cert_id_alg=sha256\n`,
    );
    const transport = {
      post: async (_url: string, _type: string, body: Uint8Array) => {
        writeFileSync(at("q.tsq"), body);
        execFileSync(
          "openssl",
          ["ts", "-reply", "-config", at("ts.cnf"), "-queryfile", at("q.tsq"), "-out", at("q.tsr")],
          { stdio: "pipe" },
        );
        return { status: 200, body: new Uint8Array(readFileSync(at("q.tsr"))) };
      },
    };
    const stamp = (value: Uint8Array): Promise<Uint8Array> =>
      requestTimestamp(value, {
        urls: ["local"],
        hash: "sha256",
        transport,
        clock: systemClock,
        random: systemRandom,
        roots: [pki.root.certificate],
      });
    const signed = await sign(tinyPe(), pki, {}, stamp);
    const report = await verifyPe(bytesSource(signed), { roots: [pki.root.certificate], now: Date.now() });
    assert.deepEqual(report.signatures[0]!.timestamps[0]!.findings, []);
    assert.ok(report.valid);
    assert.ok(Math.abs(report.signatures[0]!.signedAt! - Date.now()) < 60_000);
    const { ok, output } = osslsigncodeVerify(signed, pki);
    assert.ok(ok, output);
    assert.match(output, /Timestamp verified: ok|Timestamp Server Signature verification: ok/i);
  });
});

describe("real signatures", () => {
  for (const path of REAL) {
    it(`are rebuilt byte for byte: ${path.split("/").at(-1)!}`, async () => {
      const source = bytesSource(load(path));
      const findings = new Findings();
      const entries = await readTable(source, await readLayout(source), findings);
      assert.deepEqual(findings.list, []);
      assert.equal(entries.length, 1);
      const { cms, carried } = rebuildAuthenticode(entries[0]!.cms);
      assert.ok(equalBytes(cms, entries[0]!.cms), `rebuilt differently; carried over: ${carried.join(", ")}`);
      // Attributes of Microsoft's own signing service, of which the meaning is not public.
      assert.deepEqual(
        carried.filter((oid) => oid !== "1.3.6.1.4.1.311.10.3.28"),
        [],
      );
    });

    it(`have the digest and the checksum that we compute: ${path.split("/").at(-1)!}`, async () => {
      const source = bytesSource(load(path));
      const layout = await readLayout(source);
      assert.equal(await checksumOf(source, layout), layout.checksum);
      const report = await verifyPe(source, { roots: [], now: Date.now() });
      const broken = report.signatures[0]!.findings.filter(
        (finding) => finding.level === "error" && !finding.code.startsWith("chain/"),
      );
      assert.deepEqual(broken, []);
    });
  }
});
