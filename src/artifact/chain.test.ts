// Tests of chains: who may sign, under whom, and when.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { describe, it } from "node:test";
import { readPublicKey } from "../der/algorithms.ts";
import { DerError } from "../der/errors.ts";
import * as oids from "../der/oids.ts";
import { DAY } from "../core/instant.ts";
import { issue, publisherPki, type PkiWish } from "../testing/publisher-pki.ts";
import { tinyPe } from "../testing/tiny-pe.ts";
import type { VerifyPolicy } from "./report.ts";
import { now, type SignOptions, sign, verify, codes } from "../testing/pe-signing.ts";

const openssl = spawnSync("openssl", ["version"]).status === 0 ? {} : { skip: "openssl is not installed" };

describe("the chain of a signature", () => {
  const verdictOf = async (
    wish: Partial<PkiWish>,
    options: SignOptions = {},
    more: Partial<VerifyPolicy> = {},
  ): Promise<readonly string[]> => {
    const pki = await publisherPki({ now, ...wish });
    return codes(await verify(await sign(tinyPe(), pki, options), pki, more));
  };

  it("is refused for a leaf that may not sign code", async () => {
    assert.deepEqual(await verdictOf({ leaf: { eku: [oids.serverAuth] } }), ["chain/extended-key-usage"]);
    assert.deepEqual(await verdictOf({ leaf: { keyUsage: ["keyEncipherment"] } }), ["chain/key-usage"]);
  });

  it("is refused for issuers that are no authorities, or not for this", async () => {
    assert.deepEqual(await verdictOf({ authority: { ca: false } }), [
      "chain/not-an-authority",
      "chain/key-usage",
    ]);
    assert.deepEqual(await verdictOf({ authority: { keyUsage: ["digitalSignature"] } }), ["chain/key-usage"]);
    assert.deepEqual(await verdictOf({ authority: { eku: [oids.serverAuth] } }), [
      "chain/extended-key-usage",
    ]);
  });

  it("is refused under a root that the caller does not trust", async () => {
    const other = await publisherPki({ now });
    assert.deepEqual(await verdictOf({}, {}, { roots: [other.root.certificate] }), ["chain/untrusted"]);
  });

  it("is judged at the time of the stamp, and at the present without one", async () => {
    const leaf = { notBefore: now - 20 * DAY, notAfter: now - 10 * DAY };
    assert.deepEqual(await verdictOf({ leaf }), ["chain/expired"]);
    assert.deepEqual(await verdictOf({ leaf }, { stamp: { at: now - 15 * DAY } }), []);
    assert.deepEqual(await verdictOf({ leaf }, { stamp: { at: now - 5 * DAY } }), ["chain/expired"]);
    assert.deepEqual(await verdictOf({ leaf }, { stamp: { at: now - 25 * DAY } }), ["chain/not-yet-valid"]);
  });

  it("ends with a lifetime-signing certificate, time stamp or not", async () => {
    const leaf = {
      notBefore: now - 20 * DAY,
      notAfter: now - 10 * DAY,
      eku: [oids.codeSigning, "1.3.6.1.4.1.311.10.3.13"],
    };
    assert.deepEqual(await verdictOf({ leaf }, { stamp: { at: now - 15 * DAY } }), [
      "chain/lifetime-signing",
    ]);
  });

  it("is refused when it is longer than an authority allows", async () => {
    const pki = await publisherPki({ now, authority: { pathLength: 0 } });
    const long = { notBefore: now - 100 * DAY, notAfter: now + 100 * DAY };
    const lower = await issue(pki.authority, "Lower authority", "p256", { ...long, ca: true });
    const leaf = await issue(lower, "Example Publisher", "p256", { ...long, eku: [oids.codeSigning] });
    const signed = await sign(
      tinyPe(),
      { ...pki, leaf },
      { wish: { chain: [lower.certificate, pki.authority.certificate] } },
    );
    assert.deepEqual(codes(await verify(signed, pki)), ["chain/path-too-long"]);
  });

  it("wants a time stamp when told so", async () => {
    assert.deepEqual(await verdictOf({}, {}, { requireTimestamp: true }), ["signature/no-timestamp"]);
    assert.deepEqual(await verdictOf({}, { stamp: { at: now } }, { requireTimestamp: true }), []);
  });
});

describe("a key that spells out its curve", () => {
  it("is refused: whoever chooses the generator chooses the private key (CVE-2020-0601)", openssl, () => {
    const explicit = execFileSync("openssl", [
      "ecparam",
      "-name",
      "prime256v1",
      "-genkey",
      "-noout",
      "-param_enc",
      "explicit",
    ]);
    const spki = execFileSync("openssl", ["ec", "-pubout", "-outform", "DER", "-param_enc", "explicit"], {
      input: explicit,
      stdio: ["pipe", "pipe", "ignore"],
    });
    assert.throws(
      () => readPublicKey(new Uint8Array(spki)),
      (error) =>
        error instanceof DerError && error.code === "der/unsupported" && /CVE-2020-0601/.test(error.message),
    );
  });
});
