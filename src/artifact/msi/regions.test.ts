// Tests of what is said about the bytes of an installer package: covered means that a change breaks the signature, and nothing else does.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { publisherPki, type Pki } from "../../testing/publisher-pki.ts";
import { now } from "../../testing/pe-signing.ts";
import { tinyMsi } from "../../testing/tiny-windows-files.ts";
import { makeSignature } from "../make-signature.ts";
import { bytesSource, MemorySink } from "../source.ts";
import type { FileReport } from "../report.ts";
import { msiFormat } from "./format.ts";

let pki: Pki;
let signed: Uint8Array;
const verify = (bytes: Uint8Array): Promise<FileReport> =>
  msiFormat.verify(bytesSource(bytes), { roots: [pki.root.certificate], now });

before(async () => {
  pki = await publisherPki({ now });
  const sink = new MemorySink();
  await msiFormat.sign({
    source: bytesSource(await tinyMsi()),
    sink,
    mode: "new",
    hash: "sha256",
    makeSignature: (what) =>
      makeSignature(what, {
        certificate: pki.leaf.certificate,
        chain: [pki.authority.certificate],
        signer: pki.leaf.signer,
        opus: {},
      }),
  });
  signed = sink.bytes;
});

describe("the picture of an installer package", () => {
  it("fills the file from its first to its last byte", async () => {
    const regions = await msiFormat.explain(bytesSource(signed));
    assert.equal(regions[0]!.from, 0);
    assert.equal(regions.at(-1)!.to, signed.length);
    regions.slice(1).forEach((region, i) => assert.equal(region.from, regions[i]!.to));
    assert.deepEqual([...new Set(regions.map((region) => region.what))].toSorted(), [
      "contents",
      "header, tables and directory",
      "rest of a sector behind the end of a stream",
      "signature",
    ]);
  });

  it("calls covered what cannot be changed, and not covered the rest of a sector, which can", async () => {
    assert.equal((await verify(signed)).valid, true);
    for (const region of await msiFormat.explain(bytesSource(signed))) {
      const changed = signed.slice();
      changed[region.from]! ^= 1;
      if (region.covered) assert.equal((await verify(changed)).valid, false, region.what);
      if (region.what.startsWith("rest of a sector")) {
        const report = await verify(changed);
        assert.equal(report.valid, true);
        const codes = report.signatures.flatMap(({ findings }) => findings.map((finding) => finding.code));
        assert.ok(codes.includes("msi/slack-bytes"), "bytes in slack are named");
      }
    }
  });
});
