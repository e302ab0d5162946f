// Tests of verifying PE files: every known way to slip something into a signed file is refused.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import * as fc from "fast-check";
import { equalBytes } from "../../core/bytes.ts";
import { publisherPki, type Pki } from "../../testing/publisher-pki.ts";
import { tinyPe } from "../../testing/tiny-pe.ts";
import { ArtifactError } from "../errors.ts";
import { bytesSource } from "../source.ts";
import { readLayout } from "./layout.ts";
import { verifyPe } from "./verify.ts";
import { codes, now, sign, policyOf, verify, refusedWith, viewOf, grown } from "../../testing/pe-signing.ts";

describe("verifying a PE file refuses", () => {
  let pki: Pki;
  let signed: Uint8Array;
  let table: { readonly offset: number; readonly size: number };
  let directory: number;
  before(async () => {
    pki = await publisherPki({ now });
    signed = await sign(tinyPe(), pki);
    const layout = await readLayout(bytesSource(signed));
    table = layout.table!;
    directory = layout.directoryOffset;
  });
  /** The signed file with something appended and the directory grown by it. */
  const withEntry = (entry: Uint8Array, first = false): Uint8Array => {
    const out = grown(signed, entry.length);
    if (first) {
      out.set(signed.subarray(table.offset), table.offset + entry.length);
      out.set(entry, table.offset);
    } else out.set(entry, signed.length);
    viewOf(out).setUint32(directory + 4, table.size + entry.length, true);
    return out;
  };
  const entryOf = (type: number): Uint8Array => {
    const entry = new Uint8Array(32);
    viewOf(entry).setUint32(0, 32, true);
    viewOf(entry).setUint16(4, 0x200, true);
    viewOf(entry).setUint16(6, type, true);
    return entry;
  };

  it("an unsigned file", async () => refusedWith("pe/not-signed", tinyPe(), pki));

  it("A: bytes behind the certificate table", async () =>
    refusedWith("pe/table-not-last", grown(signed, 8), pki));

  it("B: data stuffed behind the signature inside its entry (CVE-2013-3900)", async () => {
    const out = grown(signed, 64);
    out.fill(0x41, signed.length);
    viewOf(out).setUint32(directory + 4, table.size + 64, true);
    viewOf(out).setUint32(table.offset, table.size + 64, true);
    await refusedWith("pe/stuffed", out, pki);
  });

  it("B: eight zero bytes behind the signature inside its entry", async () => {
    const out = grown(signed, 8);
    viewOf(out).setUint32(directory + 4, table.size + 8, true);
    viewOf(out).setUint32(table.offset, table.size + 8, true);
    await refusedWith("pe/stuffed", out, pki);
  });

  it("C: a bogus second entry", async () => refusedWith("cms/malformed", withEntry(entryOf(2)), pki));

  it("C: the signature itself a second time", async () =>
    refusedWith("pe/several-entries", withEntry(signed.slice(table.offset)), pki));

  it("no second entry under the rules of UEFI, if each of them holds, and one that does not", async () => {
    const other = await publisherPki({ now });
    // Both sign the same image; the second entry is what signing it anew as another publisher gives.
    const second = await sign(tinyPe(), other);
    const both = withEntry(second.slice(table.offset));
    const roots = [pki.root.certificate, other.root.certificate];
    const report = await verify(both, pki, { efi: true, roots });
    assert.ok(report.valid, codes(report).join(", "));
    assert.equal(report.signatures.length, 2);
    const foreign = await sign(tinyPe({ seed: 5 }), other);
    await refusedWith("signature/file-changed", withEntry(foreign.slice(table.offset)), pki, {
      efi: true,
      roots,
    });
  });

  it("C2: a bogus entry in front", async () =>
    refusedWith("cms/malformed", withEntry(entryOf(2), true), pki));

  it("C3: an entry of another type in front", async () =>
    refusedWith("pe/entry-kind", withEntry(entryOf(0x0ef1), true), pki));

  it("I: a directory that claims more than the entry has", async () => {
    const out = grown(signed, 16);
    viewOf(out).setUint32(directory + 4, table.size + 16, true);
    await refusedWith("pe/table-malformed", out, pki);
  });

  it("F: bytes inserted before the table", async () => {
    const out = grown(signed, 8);
    out.set(signed.subarray(table.offset), table.offset + 8);
    out.fill(0x41, table.offset, table.offset + 8);
    viewOf(out).setUint32(directory, table.offset + 8, true);
    await refusedWith("signature/file-changed", out, pki);
  });

  it("G: another revision or type in the entry", async () => {
    for (const at of [4, 6]) {
      const out = signed.slice();
      out[table.offset + at]! ^= 1;
      await refusedWith("pe/entry-kind", out, pki);
    }
  });

  it("H: one bit changed anywhere that counts", async () => {
    for (const at of [0x40, directory + 16, 1024, table.offset - 1]) {
      const out = signed.slice();
      out[at]! ^= 1;
      await refusedWith("signature/file-changed", out, pki);
    }
  });

  it("E: nothing for a wrong checksum, but says so, and refuses it when strict", async () => {
    const out = signed.slice();
    out[0x80 + 88]! ^= 0xff;
    const report = await verify(out, pki);
    assert.ok(report.valid);
    assert.ok(
      report.findings.some((finding) => finding.code === "pe/checksum" && finding.level === "warning"),
    );
    await refusedWith("pe/checksum", out, pki, { strict: true });
  });

  it("a section that reaches into the signature", async () => {
    const out = signed.slice();
    viewOf(out).setUint32(0x80 + 24 + 240 + 40 + 16, 4096, true);
    await refusedWith("pe/section-beyond-image", out, pki);
  });

  const pointedTo = (offset: number, size: number): Uint8Array => {
    const out = signed.slice();
    viewOf(out).setUint32(directory, offset, true);
    viewOf(out).setUint32(directory + 4, size, true);
    return out;
  };

  it("offsets that wrap round in 32 bits, point outside or into the headers", async () => {
    for (const [offset, size] of [
      [0xffff_fff8, 0x10],
      [table.offset, 0xffff_fff0],
      [table.offset, signed.length - table.offset + 1],
      [0, 64],
      [table.offset, 0],
    ] as const) {
      await refusedWith("pe/leftover-entry", pointedTo(offset, size), pki);
    }
    await assert.rejects(
      verify(pointedTo(64, signed.length - 64), pki),
      (error) => error instanceof ArtifactError && error.code === "artifact/malformed",
    );
  });

  it("files beyond 4 GiB, saying why", async () => {
    const huge = { size: 0x1_0000_0000, read: async () => {} };
    await assert.rejects(
      verifyPe(huge, policyOf(pki)),
      (error) =>
        error instanceof ArtifactError && error.code === "artifact/too-large" && /4 GiB/.test(error.message),
    );
  });

  it("a signature taken from another file", async () => {
    // ECDSA values differ in length by a byte or two; one that fills the same table is wanted.
    let other = await sign(tinyPe({ seed: 2 }), pki);
    for (let tries = 0; other.length !== signed.length && tries < 100; tries++)
      other = await sign(tinyPe({ seed: 2 }), pki);
    const out = signed.slice();
    out.set(other.subarray(table.offset), table.offset);
    await refusedWith("signature/file-changed", out, pki);
  });

  it("never throws anything but its own error, whatever byte is changed", async () => {
    const stamped = await sign(tinyPe(), pki, { stamp: { at: now } });
    await fc.assert(
      fc.asyncProperty(
        fc.nat(stamped.length - 1),
        fc.integer({ min: 1, max: 255 }),
        fc.nat(stamped.length),
        async (at, flip, cut) => {
          const out = stamped.slice(0, flip % 5 === 0 ? cut : stamped.length);
          if (at < out.length) out[at]! ^= flip;
          try {
            const report = await verify(out, pki);
            const harmless = equalBytes(out, stamped) || (at >= 0x80 + 88 && at < 0x80 + 92);
            // What no signature covers may change only in ways that change nothing: unsigned attributes, unused certificates,
            // and in the first byte of the table whether its length counts the zeros that fill it up.
            if (report.valid && !harmless)
              assert.ok(
                at >= table.offset && out.length === stamped.length,
                `byte ${at} of ${stamped.length} changed unnoticed`,
              );
          } catch (error) {
            if (!(error instanceof ArtifactError)) throw error;
          }
        },
      ),
      { numRuns: 1500 },
    );
  });
});
