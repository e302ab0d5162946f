// Tests of signing PE files: attach, replace, append, remove, stamp.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, describe, it } from "node:test";
import { equalBytes, toHex } from "../../core/bytes.ts";
import { DAY, HOUR } from "../../core/instant.ts";
import { publisherPki, type Pki } from "../../testing/publisher-pki.ts";
import { tinyPe } from "../../testing/tiny-pe.ts";
import { ArtifactError } from "../errors.ts";
import { bytesSource, MemorySink } from "../source.ts";
import { peFormat } from "./format.ts";
import { readLayout } from "./layout.ts";
import { peIndirectData } from "./indirect.ts";
import { checksumOf, scanImage } from "./scan.ts";
import { removePe, stampPe } from "./sign.ts";
import { now, sign, token, verify, codes, viewOf, grown } from "../../testing/pe-signing.ts";

describe("signing a PE file", () => {
  let pki: Pki;
  before(async () => {
    pki = await publisherPki({ now, key: "rsa2048" });
  });

  for (const [name, wish] of Object.entries({
    "PE32+": {},
    PE32: { plus: false },
    "an overlay of 5 bytes": { overlay: 5 },
    "one section": { sections: [512] },
  })) {
    it(`gives a file that verifies: ${name}`, async () => {
      const signed = await sign(tinyPe(wish), pki);
      const report = await verify(signed, pki);
      assert.deepEqual(codes(report), []);
      assert.ok(report.valid);
      assert.equal(signed.length % 8, 0);
      const layout = await readLayout(bytesSource(signed));
      assert.equal(layout.checksum, await checksumOf(bytesSource(signed), layout));
    });
  }

  for (const [key, hash] of [
    ["rsa3072", "sha384"],
    ["rsa3072", "sha512"],
    ["p256", "sha256"],
    ["p384", "sha384"],
  ] as const) {
    it(`works with ${key} and ${hash}`, async () => {
      const other = await publisherPki({ now, key });
      const report = await verify(await sign(tinyPe(), other, { hash }), other);
      assert.deepEqual(codes(report), []);
      assert.equal(report.signatures[0]!.hash, hash);
    });
  }

  it("writes page hashes that verify, and notices a wrong one", async () => {
    for (const algorithm of ["sha1", "sha256"] as const) {
      const signed = await sign(tinyPe({ sections: [9000, 512] }), pki, { pageHashes: algorithm });
      const report = await verify(signed, pki);
      assert.deepEqual(codes(report), []);
      assert.ok(report.signatures[0]!.findings.some((finding) => finding.code === "pe/page-hashes-right"));
    }
  });

  it("refuses a signed file unless told what to do with the signature", async () => {
    const signed = await sign(tinyPe(), pki);
    await assert.rejects(
      sign(signed, pki),
      (error) => error instanceof ArtifactError && error.code === "artifact/already-signed",
    );
  });

  it("replaces a signature by what signing the original gives", async () => {
    const once = await sign(tinyPe(), pki);
    assert.ok(equalBytes(await sign(once, pki, { mode: "replace" }), once));
  });

  it("appends nested signatures, each of which verifies", async () => {
    const other = await publisherPki({ now, key: "p256" });
    const once = await sign(tinyPe(), pki, { stamp: { at: now - HOUR } });
    const twice = await sign(once, other, { mode: "append" });
    const thrice = await sign(twice, other, { mode: "append", hash: "sha256" });
    const report = await verify(thrice, pki, { roots: [pki.root.certificate, other.root.certificate] });
    assert.deepEqual(codes(report), []);
    assert.deepEqual(
      report.signatures.map((each) => each.place),
      ["signature", "nested signature 1", "nested signature 2"],
    );
    assert.equal(report.signatures[0]!.signedAt, now - HOUR);
  });

  it("removes a signature and gives back the original but for padding and checksum", async () => {
    const original = tinyPe({ overlay: 3 });
    const sink = new MemorySink();
    await removePe(bytesSource(await sign(original, pki)), sink);
    const expected = grown(original, 5);
    const layout = await readLayout(bytesSource(expected));
    viewOf(expected).setUint32(layout.checksumOffset, await checksumOf(bytesSource(expected), layout), true);
    assert.ok(equalBytes(sink.bytes, expected));
  });

  it("puts a new time stamp on a signature that stays as it is", async () => {
    const signed = await sign(tinyPe(), pki, { stamp: { at: now - 2 * DAY } });
    const sink = new MemorySink();
    await stampPe({
      source: bytesSource(signed),
      sink,
      makeToken: (stamped) => token(stamped, pki, now - DAY),
    });
    const report = await verify(sink.bytes, pki);
    assert.deepEqual(codes(report), []);
    assert.equal(report.signatures[0]!.signedAt, now - DAY);
  });

  it("refuses a certificate for another key", async () => {
    const other = await publisherPki({ now });
    await assert.rejects(
      sign(tinyPe(), pki, { wish: { signer: other.leaf.signer } }),
      (error) => error instanceof ArtifactError && error.code === "artifact/bad-key",
    );
  });

  it("refuses Ed25519, which no Windows knows", async () => {
    const other = await publisherPki({ now, key: "ed25519" });
    await assert.rejects(
      sign(tinyPe(), other),
      (error) => error instanceof ArtifactError && error.code === "artifact/bad-key",
    );
  });

  it("shows the publisher's words about the program", async () => {
    const report = await verify(
      await sign(tinyPe(), pki, { wish: { opus: { name: "Prüfung ✓", url: "https://example.com/" } } }),
      pki,
    );
    assert.deepEqual(report.signatures[0]!.opus, { name: "Prüfung ✓", url: "https://example.com/" });
  });

  it("explains every byte of a file once", async () => {
    const signed = await sign(tinyPe({ overlay: 4 }), pki);
    let at = 0;
    for (const region of await peFormat.explain(bytesSource(signed))) {
      assert.equal(region.from, at);
      at = region.to;
    }
    assert.equal(at, signed.length);
  });
});

describe("the page about Authenticode", () => {
  it("shows the digest and the indirect data of its example", async () => {
    const source = bytesSource(tinyPe({ overlay: 5 }));
    const { digests } = await scanImage(source, await readLayout(source), ["sha256"]);
    const digest = digests.get("sha256")!;
    const page = readFileSync(new URL("../../../spec/authenticode.md", import.meta.url), "utf8");
    assert.ok(page.includes(`digest   ${toHex(digest)}\n`));
    assert.ok(page.includes(`\n${toHex(peIndirectData("sha256", digest, null))}\n`));
  });
});
