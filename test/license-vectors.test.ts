// The worked examples and vectors of licenses, leases and what devices say about them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../src/core/bytes.ts";
import { parseTufKey, type PublicKey } from "../src/keys/public-key.ts";
import { openActivation, openReceipt, openUsage } from "../src/license/device-documents.ts";
import { openGrant } from "../src/license/lease.ts";
import { openLicense } from "../src/license/license.ts";
import { openRevocations } from "../src/license/revocations.ts";

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");
const key = (hex: string): PublicKey =>
  parseTufKey({ keytype: "ed25519", scheme: "ed25519", keyval: { public: hex } });
const { issuer, lessor, device, product, cases } = JSON.parse(read("vectors/license/cases.json")) as {
  issuer: string;
  lessor: string;
  device: string;
  product: string;
  cases: { file: string; result: string }[];
};
const issuers = { keys: [key(issuer)], threshold: 1 };
const leases = { keys: [key(lessor)], threshold: 1 };

describe("the vectors of spec/license.md and spec/lease.md", () => {
  for (const { file, result } of cases) {
    it(`${file} is ${result === "ok" ? "taken" : `refused with ${result}`}`, () => {
      const documents = JSON.parse(read(`vectors/license/${file}`)) as { license: string; lease: string };
      const open = () =>
        openGrant(
          { license: toUtf8(documents.license), lease: toUtf8(documents.lease) },
          { issuers, leases },
          { product, key: key(device), clientNonce: null, before: null },
        );
      if (result === "ok") assert.equal(open().lease.seq, 1);
      else assert.throws(open, { code: result });
    });
  }
});

describe("the examples of the pages about licenses", () => {
  const pairs = (page: string): readonly (readonly [payload: unknown, envelope: Uint8Array])[] => {
    const blocks = [...read(`../spec/${page}.md`).matchAll(/```json\n([\s\S]*?)\n```/g)].map(
      ([, text]) => text!,
    );
    return blocks.flatMap((text, at) =>
      at % 2 === 0 ? [[JSON.parse(text), toUtf8(`${blocks[at + 1]!}\n`)] as const] : [],
    );
  };
  const [license, revocations] = pairs("license");
  const [lease] = pairs("lease");
  const [activation, receipt, usage] = pairs("activation");
  const by = { key: key(device), device: "0a0b0c0d-0000-4000-8000-000000000001" };

  it("verify and say what the pages show", () => {
    assert.deepEqual(openLicense(license![1], issuers, { product }), license![0]);
    assert.deepEqual(openRevocations(revocations![1], issuers), revocations![0]);
    const expected = { product, key: key(device), clientNonce: "a1".repeat(16), before: null };
    const granted = openGrant({ license: license![1], lease: lease![1] }, { issuers, leases }, expected);
    assert.deepEqual(granted.lease, lease![0]);
    assert.deepEqual(openActivation(activation![1], by), activation![0]);
    assert.deepEqual(openReceipt(receipt![1], by), receipt![0]);
    assert.deepEqual(openUsage(usage![1], by), usage![0]);
  });

  it("are refused by type when one kind is offered as another", () => {
    const openers = [
      (bytes: Uint8Array) => openLicense(bytes, issuers, { product }),
      (bytes: Uint8Array) => openRevocations(bytes, issuers),
      (bytes: Uint8Array) => openActivation(bytes, by),
      (bytes: Uint8Array) => openReceipt(bytes, by),
      (bytes: Uint8Array) => openUsage(bytes, by),
    ];
    const documents = [license, revocations, activation, receipt, usage].map((pair) => pair![1]);
    for (const [at, open] of openers.entries())
      for (const [other, bytes] of documents.entries())
        if (at !== other)
          assert.throws(() => open(bytes), { code: "dsse/wrong-type" }, fromUtf8(bytes).slice(0, 80));
  });

  it("are refused when any one byte of them is changed", () => {
    const bytes = license![1];
    for (let at = 0; at < bytes.length - 1; at += 7) {
      const changed = Uint8Array.from(bytes);
      changed[at]! ^= 1;
      assert.throws(() => openLicense(changed, issuers, { product }), `byte ${at}`);
    }
  });
});
