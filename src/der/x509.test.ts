// Tests of certificates, requests and revocation lists, with openssl as the independent witness.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { toHex } from "../core/bytes.ts";
import { DAY } from "../core/instant.ts";
import { localSigner, type Signer } from "../keys/signer.ts";
import type { Scheme } from "../keys/scheme.ts";
import { parseRevocationList } from "./crl.ts";
import { buildCsr, parseCsr } from "./csr.ts";
import { DerError } from "./errors.ts";
import { buildCertificate } from "./issue.ts";
import { buildName, commonName, formatName, nameValue } from "./names.ts";
import * as oids from "./oids.ts";
import { parsePem, toPem } from "./pem.ts";
import {
  certificatePem,
  isSignedBy,
  parseCertificate,
  serialHex,
  spkiPin,
  type Certificate,
} from "./x509.ts";

const now = Date.UTC(2026, 10, 21);
const openssl = spawnSync("openssl", ["version"]).status === 0 ? {} : { skip: "openssl is not installed" };

function key(kind: "ed25519" | "p256" | "rsa"): Signer {
  if (kind === "ed25519") return localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
  if (kind === "rsa")
    return localSigner(generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey, "rsa-pkcs1v15-sha256");
  return localSigner(
    generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey,
    "ecdsa-sha2-nistp256" satisfies Scheme,
  );
}

async function chain(
  kind: "ed25519" | "p256" | "rsa",
): Promise<{ root: Certificate; leaf: Certificate; signer: Signer; rootSigner: Signer }> {
  const rootSigner = key(kind);
  const signer = key(kind);
  const root = await buildCertificate({
    serial: Uint8Array.of(0x80, 1, 2, 3),
    issuer: { signer: rootSigner },
    subject: buildName([
      ["C", "NL"],
      ["O", "Example, Inc"],
      ["CN", "Test root"],
    ]),
    spki: rootSigner.publicKey.spki,
    notBefore: now - DAY,
    notAfter: now + 365 * DAY,
    ca: { pathLength: 1 },
  });
  const leaf = await buildCertificate({
    serial: Uint8Array.of(5),
    issuer: { certificate: root, signer: rootSigner },
    subject: commonName("device 7"),
    spki: signer.publicKey.spki,
    notBefore: now - DAY,
    notAfter: now + 30 * DAY,
    eku: [oids.serverAuth, oids.clientAuth],
    sans: [{ dns: "localhost" }, { ip: "127.0.0.1" }, { ip: "2001:db8::1" }, { uri: "urn:upkeep:device:7" }],
  });
  return { root, leaf, signer, rootSigner };
}

describe("certificates", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "upkeep-der-"));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));
  const put = (name: string, content: string | Uint8Array): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };

  for (const kind of ["ed25519", "p256", "rsa"] as const) {
    it(`of ${kind} are built as openssl reads and verifies them`, openssl, async () => {
      const { root, leaf } = await chain(kind);
      assert.ok(isSignedBy(leaf, root));
      assert.ok(!isSignedBy(root, leaf));
      const rootFile = put("root.pem", certificatePem(root));
      const leafFile = put("leaf.pem", certificatePem(leaf));
      const at = String(now / 1000);
      execFileSync(
        "openssl",
        [
          "verify",
          "-x509_strict",
          "-attime",
          at,
          "-purpose",
          "sslserver",
          "-verify_hostname",
          "localhost",
          "-CAfile",
          rootFile,
          leafFile,
        ],
        { stdio: "pipe" },
      );
      const text = execFileSync("openssl", ["x509", "-in", leafFile, "-noout", "-text"], {
        encoding: "utf8",
      });
      assert.match(
        text,
        /DNS:localhost, IP Address:127\.0\.0\.1, IP Address:2001:DB8:0:0:0:0:0:1, URI:urn:upkeep:device:7/,
      );
      assert.match(text, /CA:FALSE/);
      assert.match(text, /TLS Web Server Authentication, TLS Web Client Authentication/);
    });
  }

  it("read back as they were asked for", async () => {
    const { root, leaf, signer } = await chain("p256");
    assert.equal(serialHex(root), "80010203");
    assert.deepEqual(root.extensions.basicConstraints, { ca: true, pathLength: 1 });
    assert.deepEqual([...root.extensions.keyUsage!], ["keyCertSign", "cRLSign"]);
    assert.equal(formatName(root.subject), "CN=Test root, O=Example\\, Inc, C=NL");
    assert.deepEqual(leaf.extensions.subjectAltName, [
      { dns: "localhost" },
      { ip: "127.0.0.1" },
      { ip: "2001:db8::1" },
      { uri: "urn:upkeep:device:7" },
    ]);
    assert.deepEqual(leaf.extensions.extKeyUsage, {
      critical: false,
      purposes: [oids.serverAuth, oids.clientAuth],
    });
    assert.equal(
      toHex(leaf.extensions.authorityKeyIdentifier!),
      toHex(root.extensions.subjectKeyIdentifier!),
    );
    assert.equal(leaf.notAfter, now + 30 * DAY);
    assert.deepEqual(leaf.spki, signer.publicKey.spki);
    assert.match(spkiPin(leaf), /^[0-9a-f]{64}$/);
  });

  it("are refused when a bit of the signed part changes, by parsing or by signature", async () => {
    const { root, leaf } = await chain("ed25519");
    let parsed = 0;
    for (let at = 4; at < leaf.der.length; at += 3) {
      const bytes = leaf.der.slice();
      bytes[at]! ^= 0x10;
      try {
        const changed = parseCertificate(bytes);
        parsed++;
        assert.ok(!isSignedBy(changed, root), `changed at ${at}`);
      } catch (error) {
        assert.ok(error instanceof DerError);
      }
    }
    assert.ok(parsed > 20);
  });

  it("are read from what openssl writes", openssl, () => {
    const keyFile = join(folder, "o.key");
    const out = join(folder, "o.pem");
    execFileSync(
      "openssl",
      [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        keyFile,
        "-out",
        out,
        "-days",
        "30",
        "-subj",
        "/C=DE/O=Example/CN=by openssl",
        "-addext",
        "extendedKeyUsage=critical,timeStamping",
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sha384",
      ],
      { stdio: "pipe" },
    );
    const [block] = parsePem(readFileSync(out, "utf8"));
    const certificate = parseCertificate(block!.der);
    assert.ok(isSignedBy(certificate, certificate));
    assert.equal(certificate.signatureAlgorithm.kind, "rsa-pss");
    assert.equal(nameValue(certificate.subject, "CN"), "by openssl");
    assert.deepEqual(certificate.extensions.extKeyUsage, { critical: true, purposes: [oids.timeStamping] });
  });
});

describe("certificate requests", () => {
  for (const kind of ["ed25519", "p256"] as const) {
    it(`of ${kind} verify here and with openssl`, openssl, async () => {
      const signer = key(kind);
      const der = await buildCsr({
        subject: commonName("device 7"),
        sans: [{ dns: "device.example" }, { uri: "urn:upkeep:device:7" }],
        signer,
      });
      const request = parseCsr(der);
      assert.equal(nameValue(request.subject, "CN"), "device 7");
      assert.deepEqual(request.spki, signer.publicKey.spki);
      assert.deepEqual(request.extensions.subjectAltName, [
        { dns: "device.example" },
        { uri: "urn:upkeep:device:7" },
      ]);
      const checked = spawnSync("openssl", ["req", "-verify", "-noout", "-text"], {
        input: toPem("CERTIFICATE REQUEST", der),
        encoding: "utf8",
      });
      assert.equal(checked.status, 0, checked.stderr);
      assert.match(checked.stdout, /DNS:device\.example, URI:urn:upkeep:device:7/);
    });
  }

  it("are refused when they are for a key of another", async () => {
    const [mine, theirs] = [key("p256"), key("p256")];
    const der = await buildCsr({
      subject: commonName("x"),
      signer: { publicKey: theirs.publicKey, sign: (message) => mine.sign(message) },
    });
    assert.throws(
      () => parseCsr(der),
      (error) => error instanceof DerError && error.code === "der/bad-signature",
    );
  });

  it("are refused with bytes behind them", async () => {
    const der = await buildCsr({ subject: commonName("x"), signer: key("ed25519") });
    assert.throws(
      () => parseCsr(new Uint8Array([...der, 0])),
      (error) => error instanceof DerError && error.code === "der/bad-request",
    );
  });

  it("of openssl are read", openssl, () => {
    const made = spawnSync("openssl", [
      "req",
      "-new",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      "/dev/null",
      "-subj",
      "/CN=o",
      "-addext",
      "subjectAltName=DNS:a.example",
      "-outform",
      "DER",
    ]);
    assert.equal(made.status, 0, String(made.stderr));
    assert.deepEqual(parseCsr(new Uint8Array(made.stdout)).extensions.subjectAltName, [{ dns: "a.example" }]);
  });
});

describe("revocation lists", () => {
  it("of openssl are read and name what was revoked", openssl, () => {
    const folder = mkdtempSync(join(tmpdir(), "upkeep-crl-"));
    try {
      const run = (...args: string[]): void =>
        void execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
      writeFileSync(
        join(folder, "ca.cnf"),
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ndefault_crl_days=30\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n",
      );
      writeFileSync(join(folder, "crlnumber"), "01\n");
      writeFileSync(
        join(folder, "index.txt"),
        "R\t301231235959Z\t260101000000Z,keyCompromise\t0A\tunknown\t/CN=gone\n",
      );
      run(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "k.pem",
        "-out",
        "c.pem",
        "-subj",
        "/CN=ca",
        "-days",
        "30",
      );
      run("ca", "-config", "ca.cnf", "-gencrl", "-keyfile", "k.pem", "-cert", "c.pem", "-out", "crl.pem");
      const list = parseRevocationList(parsePem(readFileSync(join(folder, "crl.pem"), "utf8"))[0]!.der);
      const ca = parseCertificate(parsePem(readFileSync(join(folder, "c.pem"), "utf8"))[0]!.der);
      assert.ok(list.isSignedBy(ca));
      assert.deepEqual([...list.revoked], [["0a", { at: Date.UTC(2026, 0, 1), reason: 1 }]]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
