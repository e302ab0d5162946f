// Tests of the PKCS#12 reader on files of openssl, new and old.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import * as fc from "fast-check";
import { certificatePem } from "../der/x509.ts";
import { publisherPki, type Pki } from "../testing/publisher-pki.ts";
import { ArtifactError } from "./errors.ts";
import { openPkcs12 } from "./pkcs12.ts";

const openssl = spawnSync("openssl", ["version"]).status === 0 ? {} : { skip: "openssl is not installed" };

describe("PKCS#12 files", () => {
  let folder: string;
  let pki: Pki;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "upkeep-p12-"));
    pki = await publisherPki({ now: Date.now(), key: "rsa2048" });
    writeFileSync(
      join(folder, "all.pem"),
      String(pki.leaf.privateKey.export({ type: "pkcs8", format: "pem" })) +
        certificatePem(pki.leaf.certificate) +
        certificatePem(pki.authority.certificate),
    );
  });
  after(() => rmSync(folder, { recursive: true, force: true }));
  const make = (...options: string[]): Uint8Array => {
    execFileSync(
      "openssl",
      ["pkcs12", "-export", "-in", "all.pem", "-out", "out.pfx", "-passout", "pass:pässwort", ...options],
      { cwd: folder, stdio: "pipe" },
    );
    return new Uint8Array(readFileSync(join(folder, "out.pfx")));
  };

  for (const [name, options] of Object.entries({
    "AES-256 and SHA-256, as openssl 3 writes them": [],
    "3DES and RC2-40, as everybody wrote them for twenty years": ["-legacy"],
    "3DES throughout": ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"],
    "AES-128 and SHA-512": [
      "-keypbe",
      "AES-128-CBC",
      "-certpbe",
      "AES-128-CBC",
      "-macalg",
      "sha512",
      "-iter",
      "5000",
    ],
    "unencrypted certificates": ["-certpbe", "NONE"],
  })) {
    it(`are opened: ${name}`, openssl, () => {
      const { keys, certificates } = openPkcs12(make(...options), "pässwort");
      assert.equal(keys.length, 1);
      assert.ok(createPublicKey(keys[0]!).equals(createPublicKey(pki.leaf.privateKey)));
      assert.deepEqual(
        certificates.map((certificate) => certificate.der).toSorted(Buffer.compare),
        [pki.leaf.certificate.der, pki.authority.certificate.der].toSorted(Buffer.compare),
      );
    });
  }

  it("are refused with a wrong passphrase, or changed, or without a MAC", openssl, () => {
    const bytes = make();
    const refuses = (action: () => unknown): void =>
      assert.throws(action, (error) => error instanceof ArtifactError && error.code === "artifact/bad-key");
    refuses(() => openPkcs12(bytes, "other"));
    refuses(() => openPkcs12(make("-nomac"), "pässwort"));
    const changed = bytes.slice();
    changed[200]! ^= 1;
    refuses(() => openPkcs12(changed, "pässwort"));
  });

  it("never throw anything but the room's own error", openssl, () => {
    const bytes = make("-iter", "1");
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = bytes.slice();
        changed[at]! ^= flip;
        try {
          openPkcs12(changed, "pässwort");
        } catch (error) {
          if (!(error instanceof ArtifactError)) throw error;
        }
      }),
      { numRuns: 300 },
    );
  });
});
