// Signatures beside a file: ours believed by openssl, openssl's by us, and nothing else.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import { concat, toUtf8 } from "../../core/bytes.ts";
import { DAY, MINUTE } from "../../core/instant.ts";
import { toPem } from "../../der/pem.ts";
import { encoded, parseDer } from "../../der/reader.ts";
import { octets } from "../../der/writer.ts";
import { certificatePem } from "../../der/x509.ts";
import { hashIdentifier } from "../../der/algorithms.ts";
import * as oids from "../../der/oids.ts";
import { issue, publisherPki, type Holder, type Pki, type TestKey } from "../../testing/publisher-pki.ts";
import { answerTimestamp, type Lies } from "../../testing/timestamp-authority.ts";
import {
  contentTypeAttribute,
  digest,
  messageDigestAttribute,
  signAttributes,
  signedData,
  signerInfo,
} from "../cms-build.ts";
import type { ContentSigner } from "../content-sign.ts";
import type { ContentPolicy, ContentReport } from "../content-verify.ts";
import { ArtifactError } from "../errors.ts";
import { bytesSource } from "../source.ts";
import { parseTimestampReply, timestampRequest } from "../timestamp-request.ts";
import { readDetached, signDetached, verifyDetached } from "./detached.ts";

const NOW = Date.UTC(2026, 10, 21);

const openssl = spawnSync("openssl", ["version"]).status === 0 ? {} : { skip: "openssl is not installed" };
const content = toUtf8("any file that must not change\n");
const file = bytesSource(content);
const KEYS: readonly TestKey[] = ["rsa2048", "p256", "p384", "ed25519"];

let pki: Pki;
let policy: ContentPolicy;
let folder: string;
const holders = new Map<TestKey, Holder>();

before(async () => {
  pki = await publisherPki({ now: NOW });
  policy = { roots: [pki.root.certificate], now: NOW };
  folder = mkdtempSync(join(tmpdir(), "upkeep-detached-"));
  const span = { notBefore: NOW - DAY, notAfter: NOW + 300 * DAY, eku: [oids.codeSigning] };
  for (const key of KEYS) holders.set(key, await issue(pki.authority, `with ${key}`, key, span));
  writeFileSync(join(folder, "content"), content);
  writeFileSync(join(folder, "root.pem"), certificatePem(pki.root.certificate));
  writeFileSync(join(folder, "authority.pem"), certificatePem(pki.authority.certificate));
});
after(() => rmSync(folder, { recursive: true, force: true }));

const signerOf = (key: TestKey): ContentSigner => ({
  ...holders.get(key)!,
  chain: [pki.authority.certificate],
});

const codes = (report: ContentReport): string =>
  [...report.findings, ...report.signers.flatMap((one) => one.findings)]
    .filter((finding) => finding.level !== "note")
    .map((finding) => finding.code)
    .join(" ");

async function stampOver(value: Uint8Array, lies: Lies = {}): Promise<Uint8Array> {
  const request = timestampRequest(digest("sha256", value), "sha256", Uint8Array.of(1, 2, 3));
  const reply = await answerTimestamp(request, pki.stamper, [], NOW - MINUTE, lies);
  return encoded(parseTimestampReply(reply.body));
}

/** Runs openssl at the time of the test's certificates. */
function run(...args: readonly string[]): { ok: boolean; text: string } {
  const { status, stdout, stderr } = spawnSync("openssl", args, { encoding: "utf8", cwd: folder });
  return { ok: status === 0, text: `${stdout}${stderr}` };
}

describe("a signature beside a file", () => {
  it("says who signed it, with every kind of key, one or several", async () => {
    for (const key of KEYS) {
      const report = await verifyDetached(file, await signDetached(file, [signerOf(key)]), policy);
      assert.equal(report.believed, true, `${key}: ${codes(report)}`);
    }
    const [first, ...rest] = KEYS;
    let cms = await signDetached(file, [signerOf(first!)]);
    for (const key of rest) cms = await signDetached(file, [signerOf(key)], { beside: cms });
    const all = await verifyDetached(file, cms, policy);
    assert.deepEqual([all.believed, all.signers.length], [true, 4]);
    await assert.rejects(signDetached(file, [signerOf("p256")], { beside: cms }), {
      code: "artifact/already-signed",
    });
  });

  it("may be written as BER or PEM", async () => {
    const cms = await signDetached(file, [signerOf("p256")]);
    const { body, end } = parseDer(cms);
    const indefinite = concat([Uint8Array.of(0x30, 0x80), cms.subarray(body, end), Uint8Array.of(0, 0)]);
    for (const form of [indefinite, toUtf8(toPem("CMS", cms)), toUtf8(toPem("PKCS7", cms))]) {
      assert.equal((await verifyDetached(file, form, policy)).believed, true);
    }
    assert.throws(() => readDetached(toUtf8(toPem("CERTIFICATE", cms))), { code: "artifact/bad-signature" });
  });

  it("is refused for another file, and by somebody nobody trusts", async () => {
    const cms = await signDetached(file, [signerOf("p256")]);
    const other = await verifyDetached(bytesSource(toUtf8("another file")), cms, policy);
    assert.match(codes(other), /cms\/message-digest-mismatch/);
    assert.equal(other.believed, false);
    const stranger = await publisherPki({ now: NOW });
    const report = await verifyDetached(file, cms, { ...policy, roots: [stranger.root.certificate] });
    assert.equal(report.believed, false);
    assert.match(codes(report), /chain\/untrusted/);
  });

  it("outlives its certificate with a time stamp that is believed, and with no other", async () => {
    const later = { ...policy, now: NOW + 1000 * DAY };
    const plain = await signDetached(file, [signerOf("p256")]);
    assert.match(codes(await verifyDetached(file, plain, later)), /chain\/expired/);
    assert.match(
      codes(await verifyDetached(file, plain, { ...policy, requireTimestamp: true })),
      /no-timestamp/,
    );
    const stamped = await signDetached(file, [signerOf("p256")], { stamp: stampOver });
    assert.equal((await verifyDetached(file, stamped, { ...later, requireTimestamp: true })).believed, true);
    const lies: readonly Lies[] = [
      { imprint: new Uint8Array(32) },
      { unbound: true },
      { time: NOW + 2000 * DAY },
    ];
    for (const lie of lies) {
      const stamp = (value: Uint8Array): Promise<Uint8Array> => stampOver(value, lie);
      const report = await verifyDetached(
        file,
        await signDetached(file, [signerOf("p256")], { stamp }),
        later,
      );
      assert.equal(report.believed, false);
      assert.match(codes(report), /content\/timestamp-not-believed/);
    }
  });

  it("is refused if it brings content of its own (content substitution)", async () => {
    const { certificate, signer } = holders.get("p256")!;
    const parts = await signAttributes({
      certificate,
      signer,
      hash: "sha256",
      attributes: [contentTypeAttribute(oids.data), messageDigestAttribute(digest("sha256", content))],
    });
    const cms = signedData({
      version: 1,
      digests: [hashIdentifier("sha256")],
      contentType: oids.data,
      content: octets(content),
      certificates: [certificate.der, pki.authority.certificate.der],
      signers: [signerInfo(parts)],
    });
    const report = await verifyDetached(file, cms, policy);
    assert.equal(report.believed, false);
    assert.match(codes(report), /content\/not-detached/);
  });

  it("is refused without a signer, and as a store for something else", async () => {
    const empty = signedData({
      version: 1,
      digests: [],
      contentType: oids.data,
      content: null,
      certificates: [],
      signers: [],
    });
    assert.equal((await verifyDetached(file, empty, policy)).believed, false);
    assert.throws(() => readDetached(new Uint8Array(2 * 1024 * 1024)), { code: "artifact/too-large" });
    assert.throws(() => readDetached(toUtf8("-----BEGIN CMS-----\nAAAA\n")), {
      code: "artifact/bad-signature",
    });
    assert.throws(() => readDetached(toUtf8("no signature")), { code: "artifact/bad-signature" });
  });

  it("never answers spoiled bytes with anything but its own error, and believes none of them about another file", async () => {
    const cms = await signDetached(file, [signerOf("p256")], { stamp: stampOver });
    const other = bytesSource(toUtf8("another file"));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(cms.length - 1), fc.nat(255)), { minLength: 1, maxLength: 5 }),
        async (flips) => {
          const spoiled = cms.slice();
          for (const [at, by] of flips) spoiled[at] = by;
          try {
            assert.equal((await verifyDetached(other, spoiled, policy)).believed, false);
            await verifyDetached(file, spoiled, policy);
          } catch (error) {
            assert.ok(error instanceof ArtifactError, String(error));
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe("a signature beside a file, as openssl sees it", { ...openssl }, () => {
  // openssl 3.0 knows Ed25519, but not in CMS.
  const seconds = String(NOW / 1000);

  it("is accepted as we make it", async () => {
    for (const key of KEYS.filter((one) => one !== "ed25519")) {
      writeFileSync(
        join(folder, "ours.sig"),
        await signDetached(file, [signerOf(key)], { stamp: stampOver }),
      );
      const where = ["-in", "ours.sig", "-content", "content", "-out", "verified", "-CAfile", "root.pem"];
      const options = ["-verify", "-binary", "-inform", "DER", "-purpose", "any", "-attime", seconds];
      const { ok, text } = run("cms", ...options, ...where);
      assert.ok(ok, `${key}: ${text}`);
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, "verified"))), content);
    }
  });

  it("is accepted by us as it makes it: DER, PEM, with key identifiers, without attributes", async () => {
    for (const key of KEYS.filter((one) => one !== "ed25519")) {
      const holder = holders.get(key)!;
      writeFileSync(join(folder, "key.pem"), holder.privateKey.export({ type: "pkcs8", format: "pem" }));
      writeFileSync(join(folder, "leaf.pem"), certificatePem(holder.certificate));
      const signer = ["-signer", "leaf.pem", "-inkey", "key.pem", "-certfile", "authority.pem"];
      const md = ["-md", key === "p384" ? "sha384" : key === "p256" ? "sha256" : "sha512"];
      const forms = [
        ["-outform", "DER"],

        ["-outform", "PEM"],
        ["-outform", "DER", "-keyid"],
        ["-outform", "DER", "-noattr"],
      ];
      for (const form of forms) {
        const { ok, text } = run(
          "cms",
          "-sign",
          "-binary",
          ...form,
          ...md,
          ...signer,
          "-in",
          "content",
          "-out",
          "theirs.sig",
        );
        assert.ok(ok, `${key} ${form.join(" ")}: ${text}`);
        const theirs = new Uint8Array(readFileSync(join(folder, "theirs.sig")));
        const report = await verifyDetached(file, theirs, policy);
        assert.equal(report.believed, true, `${key} ${form.join(" ")}: ${codes(report)}`);
      }
    }
  });
});
