// Tests of what a .pending file holds: the plan as it was, in today's form and in that of older programs, and nothing else.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../../../core/bytes.ts";
import { contentHash, formatJob, formatPending, parsePending } from "./plan.ts";

const resume = { request: "a".repeat(32), signer: "signer-1" };
const older = {
  cert: "release",
  as: "auto",
  algorithm: "sha256",
  mode: "new",
  timestamp: true,
  pageHashes: true,
  options: { product: "app", "release-version": "1.0.0", "release-number": "3", receipts: "out" },
};
const parse = (plan: object, more: object = {}) =>
  parsePending(toUtf8(JSON.stringify({ plan, resume, ...more })));

describe("a .pending file", () => {
  it("of an older program is read, and means what it meant", () => {
    const { plan } = parse(older);
    assert.equal(plan.overwrite, true);
    const job = formatJob(plan, "sha512");
    assert.equal(job.pageHashes, "sha256");
    assert.deepEqual(job.options?.identity, { product: "app", version: "1.0.0", release: 3 });
    assert.equal(contentHash(plan, "rsa-pkcs1v15-sha256"), "sha512");
    assert.equal(contentHash(plan, "ecdsa-sha2-nistp256"), "sha256");
  });

  it("of today comes back as it was written", () => {
    const { plan } = parse({ ...older, pageHashes: "sha1", output: "/tmp/x", skipSigned: true });
    assert.deepEqual(parsePending(formatPending({ plan, resume })), { plan, resume });
  });

  it("that holds anything else is refused", () => {
    for (const change of [
      { cert: "../release" },
      { as: "pe" },
      { algorithm: "md5" },
      { mode: "force" },
      { pageHashes: "md5" },
      { more: 1 },
      { options: { product: 1 } },
    ])
      assert.throws(() => parse({ ...older, ...change }), { code: "schema/invalid" });
    assert.throws(() => parse(older, { more: 1 }), { code: "schema/invalid" });
    assert.throws(() => parse(older, { resume: { request: "x", signer: "signer-1" } }), {
      code: "schema/invalid",
    });
    assert.throws(() => parsePending(toUtf8("{")), { code: "json/syntax" });
  });
});
