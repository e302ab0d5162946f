// Tests of signing and verifying PE files: output as signtool writes it, and every known way to slip something past a verifier.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { equalBytes } from "../../core/bytes.ts";
import { DAY, HOUR, type Instant } from "../../core/instant.ts";
import * as fc from "fast-check";
import * as oids from "../../der/oids.ts";
import { octets } from "../../der/writer.ts";
import { hashIdentifier } from "../../der/algorithms.ts";
import { answerTimestamp, type Lies } from "../../testing/timestamp-authority.ts";
import { issue, publisherPki, type Pki, type PkiWish } from "../../testing/publisher-pki.ts";
import { tinyPe } from "../../testing/tiny-pe.ts";
import { signAuthenticode, withTimestamp, type AuthenticodeWish } from "../authenticode-sign.ts";
import { buildIndirectData, editUnsigned, SPC_INDIRECT_DATA, SPC_PE_IMAGE_DATA } from "../authenticode.ts";
import {
  attribute,
  contentTypeAttribute,
  digest,
  messageDigestAttribute,
  signAttributes,
  signedData,
  signerInfo,
} from "../cms-build.ts";
import { parseSignedData } from "../cms.ts";
import { ArtifactError } from "../errors.ts";
import type { SignJob, AuthenticodeToBeSigned } from "../format.ts";
import type { FileReport, VerifyPolicy } from "../report.ts";
import { bytesSource, MemorySink } from "../source.ts";
import { requestTimestamp } from "../timestamp-request.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { peFormat } from "./format.ts";
import { readLayout } from "./layout.ts";
import { removePe, signPe, stampPe } from "./sign.ts";
import { checksumOf } from "./scan.ts";
import { verifyPe } from "./verify.ts";

const now: Instant = Date.UTC(2026, 10, 21, 12);
const random = { bytes: (length: number): Uint8Array => new Uint8Array(length).fill(0x5a) };

type Options = {
  readonly mode?: SignJob["mode"];
  readonly hash?: SignJob["hash"];
  readonly pageHashes?: "sha1" | "sha256";
  readonly wish?: Partial<AuthenticodeWish>;
  readonly stamp?: { readonly at: Instant; readonly lies?: Lies } | false;
};

async function sign(bytes: Uint8Array, pki: Pki, options: Options = {}): Promise<Uint8Array> {
  const sink = new MemorySink();
  await signPe({
    source: bytesSource(bytes),
    sink,
    mode: options.mode ?? "new",
    hash: options.hash ?? "sha256",
    ...(options.pageHashes === undefined ? {} : { pageHashes: options.pageHashes }),
    makeSignature: (what) => make(what, pki, options),
  });
  return sink.bytes;
}

async function make(what: AuthenticodeToBeSigned, pki: Pki, options: Options): Promise<Uint8Array> {
  const cms = await signAuthenticode({
    indirectData: what.indirectData,
    hash: what.hash,
    certificate: pki.leaf.certificate,
    chain: [pki.authority.certificate, pki.root.certificate],
    signer: pki.leaf.signer,
    ...(what.sequenceNumber === null ? {} : { sequenceNumber: what.sequenceNumber }),
    ...options.wish,
  });
  return options.stamp === undefined || options.stamp === false
    ? cms
    : withTimestamp(
        cms,
        await token(parseSignedData(cms).signers[0]!.signature, pki, options.stamp.at, options.stamp.lies),
      );
}

/** A token straight from the authority, lies included. */
async function token(stamped: Uint8Array, pki: Pki, at: Instant, lies: Lies = {}): Promise<Uint8Array> {
  const { timestampRequest, parseTimestampReply } = await import("../timestamp-request.ts");
  const request = timestampRequest(digest("sha256", stamped), "sha256", random.bytes(8));
  const { body } = await answerTimestamp(request, pki.stamper, [pki.root], at, lies);
  const value = parseTimestampReply(body);
  return value.source.subarray(value.start, value.end);
}

const policyOf = (pki: Pki, more: Partial<VerifyPolicy> = {}): VerifyPolicy => ({
  roots: [pki.root.certificate],
  now,
  ...more,
});
const verify = (bytes: Uint8Array, pki: Pki, more: Partial<VerifyPolicy> = {}): Promise<FileReport> =>
  verifyPe(bytesSource(bytes), policyOf(pki, more));
const codes = (report: FileReport): readonly string[] =>
  [...report.findings, ...report.signatures.flatMap((each) => each.findings)]
    .filter((finding) => finding.level === "error")
    .map((finding) => finding.code);

async function refusedWith(
  code: string,
  bytes: Uint8Array,
  pki: Pki,
  more: Partial<VerifyPolicy> = {},
): Promise<void> {
  const report = await verify(bytes, pki, more);
  assert.equal(report.valid, false);
  assert.ok(codes(report).includes(code), `${code} is not among ${codes(report).join(", ")}`);
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const grown = (bytes: Uint8Array, by: number): Uint8Array => {
  const out = new Uint8Array(bytes.length + by);
  out.set(bytes);
  return out;
};

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
    view(expected).setUint32(layout.checksumOffset, await checksumOf(bytesSource(expected), layout), true);
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
    view(out).setUint32(directory + 4, table.size + entry.length, true);
    return out;
  };
  const entryOf = (type: number): Uint8Array => {
    const entry = new Uint8Array(32);
    view(entry).setUint32(0, 32, true);
    view(entry).setUint16(4, 0x200, true);
    view(entry).setUint16(6, type, true);
    return entry;
  };

  it("an unsigned file", async () => refusedWith("pe/not-signed", tinyPe(), pki));

  it("A: bytes behind the certificate table", async () =>
    refusedWith("pe/table-not-last", grown(signed, 8), pki));

  it("B: data stuffed behind the signature inside its entry (CVE-2013-3900)", async () => {
    const out = grown(signed, 64);
    out.fill(0x41, signed.length);
    view(out).setUint32(directory + 4, table.size + 64, true);
    view(out).setUint32(table.offset, table.size + 64, true);
    await refusedWith("pe/stuffed", out, pki);
  });

  it("B: eight zero bytes behind the signature inside its entry", async () => {
    const out = grown(signed, 8);
    view(out).setUint32(directory + 4, table.size + 8, true);
    view(out).setUint32(table.offset, table.size + 8, true);
    await refusedWith("pe/stuffed", out, pki);
  });

  it("C: a bogus second entry", async () => refusedWith("cms/malformed", withEntry(entryOf(2)), pki));

  it("C: the signature itself a second time", async () =>
    refusedWith("pe/several-entries", withEntry(signed.slice(table.offset)), pki));

  it("C2: a bogus entry in front", async () =>
    refusedWith("cms/malformed", withEntry(entryOf(2), true), pki));

  it("C3: an entry of another type in front", async () =>
    refusedWith("pe/entry-kind", withEntry(entryOf(0x0ef1), true), pki));

  it("I: a directory that claims more than the entry has", async () => {
    const out = grown(signed, 16);
    view(out).setUint32(directory + 4, table.size + 16, true);
    await refusedWith("pe/table-malformed", out, pki);
  });

  it("F: bytes inserted before the table", async () => {
    const out = grown(signed, 8);
    out.set(signed.subarray(table.offset), table.offset + 8);
    out.fill(0x41, table.offset, table.offset + 8);
    view(out).setUint32(directory, table.offset + 8, true);
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
    view(out).setUint32(0x80 + 24 + 240 + 40 + 16, 4096, true);
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
      view(out).setUint32(directory, offset, true);
      view(out).setUint32(directory + 4, size, true);
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
    const other = await sign(tinyPe({ seed: 2 }), pki);
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
    options: Options = {},
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
    const { indirectDataOctets } = await import("../authenticode.ts");
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
    const { buildCertificate } = await import("../../der/issue.ts");
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
    const { parseDerPrefix } = await import("../../der/reader.ts");
    const foreign = cms.subarray(0, parseDerPrefix(cms).end);
    const { appendNested } = await import("../authenticode.ts");
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

describe("the chain of a signature", () => {
  const verdictOf = async (
    wish: Partial<PkiWish>,
    options: Options = {},
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

describe("a time stamp is refused", () => {
  const stampCodes = async (
    lies: Lies,
    wish: Partial<PkiWish> = {},
    at = now,
  ): Promise<readonly string[]> => {
    const pki = await publisherPki({ now, ...wish });
    const report = await verify(await sign(tinyPe(), pki, { stamp: { at, lies } }), pki);
    assert.deepEqual(codes(report), ["signature/timestamp-invalid"]);
    return report.signatures[0]!.timestamps[0]!.findings.map((finding) => finding.code);
  };

  it("over another signature", async () =>
    assert.deepEqual(await stampCodes({ imprint: new Uint8Array(32) }), ["timestamp/imprint-mismatch"]));
  it("that does not bind its certificate", async () =>
    assert.deepEqual(await stampCodes({ unbound: true }), ["timestamp/unbound"]));
  it("from the future", async () =>
    assert.deepEqual(await stampCodes({ time: now + DAY }), ["timestamp/in-the-future"]));
  it("of an authority without the sole, critical purpose", async () => {
    assert.deepEqual(await stampCodes({}, { stamper: { ekuCritical: false } }), ["chain/extended-key-usage"]);
    assert.deepEqual(await stampCodes({}, { stamper: { eku: [oids.timeStamping, oids.codeSigning] } }), [
      "chain/extended-key-usage",
    ]);
  });
  it("made outside the authority's validity", async () => {
    assert.deepEqual(await stampCodes({}, { stamper: { notAfter: now - DAY } }), ["chain/expired"]);
  });
});

describe("asking for a time stamp", () => {
  const ask = async (
    behaviour: (
      url: string,
      body: Uint8Array,
      pki: Pki,
      call: number,
    ) => Promise<{ status: number; body: Uint8Array; retryAfter?: number }>,
    urls = ["a", "b"],
  ): Promise<{ token: Uint8Array; calls: readonly string[]; slept: number }> => {
    const pki = await publisherPki({ now });
    const clock = new ScriptedClock(now);
    const calls: string[] = [];
    const wish = {
      urls,
      hash: "sha256",
      clock,
      random,
      roots: [pki.root.certificate],
      transport: {
        post: (url: string, _type: string, body: Uint8Array) => {
          calls.push(url);
          return behaviour(url, body, pki, calls.length);
        },
      },
    } as const;
    const result = requestTimestamp(Uint8Array.of(1, 2, 3), wish);
    result.catch(() => {});
    for (let i = 0; i < 12; i++) await clock.advance(10_000);
    return { token: await result, calls, slept: clock.monotonic() };
  };

  it("falls back to the next authority at once", async () => {
    const { calls } = await ask(async (url, body, pki) =>
      url === "a"
        ? { status: 503, body: new Uint8Array(0) }
        : answerTimestamp(body, pki.stamper, [pki.root], now),
    );
    assert.deepEqual(calls, ["a", "b"]);
  });

  it("comes back later when all are busy", async () => {
    const { calls } = await ask(async (_url, body, pki, call) =>
      call <= 4
        ? { status: 429, body: new Uint8Array(0), retryAfter: 20 }
        : answerTimestamp(body, pki.stamper, [pki.root], now),
    );
    assert.deepEqual(calls, ["a", "b", "a", "b", "a"]);
  });

  for (const [name, lies] of Object.entries({
    "another nonce": { nonce: Uint8Array.of(1) },
    "another imprint": { imprint: new Uint8Array(32) },
    "a refusal": { status: 2 },
    "no bound certificate": { unbound: true },
  } satisfies Record<string, Lies>)) {
    it(`refuses a reply with ${name}`, async () => {
      await assert.rejects(
        ask((_url, body, pki) => answerTimestamp(body, pki.stamper, [pki.root], now, lies), ["a"]),
        (error) => error instanceof ArtifactError && error.code === "artifact/no-timestamp",
      );
    });
  }

  it("refuses rubbish with its own error", async () => {
    await assert.rejects(
      ask(async () => ({ status: 200, body: new TextEncoder().encode("<html>") }), ["a"]),
      (error) => error instanceof ArtifactError && error.code === "artifact/no-timestamp",
    );
  });
});
