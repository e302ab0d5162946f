// Tests of verifying PE files: every known way to slip something past a verifier is refused.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import * as fc from "fast-check";
import * as oids from "../../der/oids.ts";
import { equalBytes } from "../../core/bytes.ts";
import { DAY } from "../../core/instant.ts";
import { hashIdentifier } from "../../der/algorithms.ts";
import { buildCertificate } from "../../der/issue.ts";
import { parseDerPrefix } from "../../der/reader.ts";
import { octets } from "../../der/writer.ts";
import { publisherPki, type Pki } from "../../testing/publisher-pki.ts";
import { tinyPe } from "../../testing/tiny-pe.ts";
import {
  buildIndirectData,
  editUnsigned,
  SPC_INDIRECT_DATA,
  SPC_PE_IMAGE_DATA,
  appendNested,
  indirectDataOctets,
} from "../authenticode.ts";
import {
  attribute,
  contentTypeAttribute,
  digest,
  messageDigestAttribute,
  signAttributes,
  signedData,
  signerInfo,
} from "../cms-build.ts";
import { ArtifactError } from "../errors.ts";
import type { SignJob, AuthenticodeToBeSigned } from "../format.ts";
import { bytesSource, MemorySink } from "../source.ts";
import { readLayout } from "./layout.ts";
import { signPe } from "./sign.ts";
import { verifyPe } from "./verify.ts";
import {
  codes,
  now,
  type SignOptions,
  sign,
  make,
  policyOf,
  verify,
  refusedWith,
  viewOf,
  grown,
} from "../../testing/pe-signing.ts";

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

  it("offsets that wrap round in 32 bits, point outside or into the headers", async () => {
    for (const [offset, size] of [
      [0xffff_fff8, 0x10],
      [table.offset, 0xffff_fff0],
      [0, 64],
      [64, signed.length - 64],
    ] as const) {
      const out = signed.slice();
      viewOf(out).setUint32(directory, offset, true);
      viewOf(out).setUint32(directory + 4, size, true);
      await assert.rejects(
        verify(out, pki),
        (error) => error instanceof ArtifactError && error.code === "artifact/malformed",
      );
    }
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

  it("more than a little unsigned data beside the signature, and reports the little", async () => {
    const stuffed = async (size: number): Promise<Uint8Array> =>
      sign(tinyPe(), pki, { stamp: false, wish: {} }).then(() =>
        signWith(async (what) =>
          editUnsigned(await make(what, pki, {}), (attributes) => [
            ...attributes,
            attribute("1.3.6.1.4.1.42921.1.2.1", octets(new Uint8Array(size))),
          ]),
        ),
      );
    const little = await verify(await stuffed(100), pki);
    assert.ok(little.valid);
    assert.ok(little.signatures[0]!.findings.some((finding) => finding.code === "signature/unsigned-data"));
    await refusedWith("signature/unsigned-data", await stuffed(100_000), pki);
  });

  /** Signs a tiny PE with whatever `makeSignature` returns. */
  const signWith = async (
    makeSignature: SignJob<AuthenticodeToBeSigned>["makeSignature"],
    options: SignOptions = {},
  ): Promise<Uint8Array> => {
    const sink = new MemorySink();
    await signPe({
      source: bytesSource(tinyPe()),
      sink,
      mode: options.mode ?? "new",
      hash: options.hash ?? "sha256",
      makeSignature,
    });
    return sink.bytes;
  };
  /** A signature with attributes chosen freely. */
  const handmade = async (
    what: AuthenticodeToBeSigned,
    change: {
      attributes?: (what: AuthenticodeToBeSigned) => readonly Uint8Array[];
      digests?: readonly Uint8Array[];
      contentType?: string;
      certificates?: readonly Uint8Array[];
      signers?: (one: Uint8Array) => readonly Uint8Array[];
      content?: Uint8Array;
    },
  ): Promise<Uint8Array> => {
    const content = change.content ?? what.indirectData;
    const parts = await signAttributes({
      certificate: pki.leaf.certificate,
      signer: pki.leaf.signer,
      hash: "sha256",
      attributes: change.attributes?.(what) ?? [
        contentTypeAttribute(SPC_INDIRECT_DATA),
        messageDigestAttribute(digest("sha256", indirectDataOctets(content))),
      ],
    });
    const one = signerInfo(parts);
    return signedData({
      version: 1,
      digests: change.digests ?? [hashIdentifier("sha256")],
      contentType: change.contentType ?? SPC_INDIRECT_DATA,
      content,
      certificates: change.certificates ?? [pki.leaf.certificate.der, pki.authority.certificate.der],
      signers: change.signers?.(one) ?? [one],
    });
  };

  it("a contentType attribute that is missing or says something else", async () => {
    const md = (what: AuthenticodeToBeSigned): Uint8Array =>
      messageDigestAttribute(digest("sha256", what.indirectData.subarray(2)));
    await refusedWith(
      "cms/content-type-missing",
      await signWith((what) => handmade(what, { attributes: () => [md(what)] })),
      pki,
    );
    await refusedWith(
      "cms/content-type-mismatch",
      await signWith((what) =>
        handmade(what, { attributes: () => [contentTypeAttribute(oids.data), md(what)] }),
      ),
      pki,
    );
  });

  it("a messageDigest attribute that is missing, doubled or over something else", async () => {
    const type = contentTypeAttribute(SPC_INDIRECT_DATA);
    await refusedWith(
      "cms/message-digest-missing",
      await signWith((what) => handmade(what, { attributes: () => [type] })),
      pki,
    );
    await refusedWith(
      "cms/message-digest-mismatch",
      await signWith((what) =>
        handmade(what, { attributes: () => [type, messageDigestAttribute(new Uint8Array(32))] }),
      ),
      pki,
    );
    await refusedWith(
      "cms/malformed",
      await signWith((what) =>
        handmade(what, {
          attributes: () => [
            type,
            messageDigestAttribute(new Uint8Array(32)),
            messageDigestAttribute(new Uint8Array(32).fill(1)),
          ],
        }),
      ),
      pki,
    );
    await refusedWith(
      "cms/malformed",
      await signWith((what) =>
        handmade(what, {
          attributes: () => [
            type,
            attribute(oids.messageDigest, octets(new Uint8Array(32)), octets(new Uint8Array(32).fill(1))),
          ],
        }),
      ),
      pki,
    );
  });

  it("digest algorithms that disagree between list, signer and file", async () => {
    await refusedWith(
      "cms/digest-mismatch",
      await signWith((what) => handmade(what, { digests: [hashIdentifier("sha384")] })),
      pki,
    );
    await refusedWith(
      "cms/digest-mismatch",
      await signWith((what) =>
        handmade(what, {
          content: buildIndirectData({
            type: SPC_PE_IMAGE_DATA,
            value: null,
            hash: "sha512",
            digest: new Uint8Array(64),
          }),
        }),
      ),
      pki,
    );
  });

  it("SHA-1 and MD5 as the digest of the file", async () => {
    for (const hash of ["sha1", "md5"] as const) {
      await refusedWith(
        "cms/digest-mismatch",
        await signWith((what) =>
          handmade(what, {
            content: buildIndirectData({
              type: SPC_PE_IMAGE_DATA,
              value: null,
              hash,
              digest: new Uint8Array(hash === "md5" ? 16 : 20),
            }),
          }),
        ),
        pki,
      );
    }
  });

  it("several signers, or none, in one signature", async () => {
    await refusedWith(
      "cms/malformed",
      await signWith((what) => handmade(what, { signers: (one) => [one, one] })),
      pki,
    );
    await refusedWith("cms/malformed", await signWith((what) => handmade(what, { signers: () => [] })), pki);
  });

  it("a signature over content of another type", async () =>
    refusedWith("cms/malformed", await signWith((what) => handmade(what, { contentType: oids.data })), pki));

  it("a signature for another kind of file", async () => {
    await refusedWith(
      "signature/wrong-kind",
      await signWith((what) =>
        handmade(what, {
          content: buildIndirectData({
            type: "1.3.6.1.4.1.311.2.1.30",
            value: null,
            hash: "sha256",
            digest: what.digest,
          }),
        }),
      ),
      pki,
    );
  });

  it("a second certificate of the same issuer and number with another key", async () => {
    const twin = await buildCertificate({
      serial: pki.leaf.certificate.serial,
      issuer: { certificate: pki.authority.certificate, signer: pki.authority.signer },
      subject: pki.leaf.certificate.subject,
      spki: pki.root.signer.publicKey.spki,
      notBefore: now - DAY,
      notAfter: now + DAY,
      eku: [oids.codeSigning],
    });
    await refusedWith(
      "cms/certificate-ambiguous",
      await signWith((what) =>
        handmade(what, { certificates: [twin.der, pki.leaf.certificate.der, pki.authority.certificate.der] }),
      ),
      pki,
    );
    await refusedWith(
      "cms/bad-signature",
      await signWith((what) => handmade(what, { certificates: [twin.der, pki.authority.certificate.der] })),
      pki,
    );
  });

  it("a signature without its certificate", async () =>
    refusedWith(
      "cms/certificate-missing",
      await signWith((what) => handmade(what, { certificates: [pki.authority.certificate.der] })),
      pki,
    ));

  it("BER: an indefinite length, a superfluous length octet, a byte left over", async () => {
    await refusedWith(
      "cms/malformed",
      await signWith(async (what) => spoil(await handmade(what, {}), "indefinite")),
      pki,
    );
    await refusedWith(
      "cms/malformed",
      await signWith(async (what) => spoil(await handmade(what, {}), "long")),
      pki,
    );
    await refusedWith(
      "cms/malformed",
      await signWith(async (what) =>
        handmade(what, { certificates: [new Uint8Array([...pki.leaf.certificate.der, 0])] }),
      ),
      pki,
    );
  });

  it("a nested signature over another image", async () => {
    const other = await sign(tinyPe({ seed: 9 }), pki);
    const layout = await readLayout(bytesSource(other));
    const cms = other.subarray(layout.table!.offset + 8);
    const foreign = cms.subarray(0, parseDerPrefix(cms).end);
    await refusedWith(
      "signature/file-changed",
      await signWith(async (what) => appendNested(await make(what, pki, {}), foreign)),
      pki,
    );
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
            // What no signature covers may change only in ways that change nothing: unsigned attributes, unused certificates.
            if (report.valid && !harmless)
              assert.ok(
                at > table.offset && out.length === stamped.length,
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

function spoil(cms: Uint8Array, how: "indefinite" | "long"): Uint8Array {
  if (how === "indefinite") return new Uint8Array([0x30, 0x80, ...cms.subarray(4), 0, 0]);
  return new Uint8Array([0x30, 0x83, 0, cms[2]!, cms[3]!, ...cms.subarray(4)]);
}
