// Tests of verifying the CMS in a PE file: signatures that no tool would write are refused, each by name.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import * as oids from "../../der/oids.ts";
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
import type { SignJob, AuthenticodeToBeSigned } from "../format.ts";
import { bytesSource, MemorySink } from "../source.ts";
import { readLayout } from "./layout.ts";
import { signPe } from "./sign.ts";
import { now, type SignOptions, sign, make, verify, refusedWith } from "../../testing/pe-signing.ts";

describe("verifying a signature made by hand refuses", () => {
  let pki: Pki;
  before(async () => {
    pki = await publisherPki({ now });
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
});

function spoil(cms: Uint8Array, how: "indefinite" | "long"): Uint8Array {
  if (how === "indefinite") return new Uint8Array([0x30, 0x80, ...cms.subarray(4), 0, 0]);
  return new Uint8Array([0x30, 0x83, 0, cms[2]!, cms[3]!, ...cms.subarray(4)]);
}
