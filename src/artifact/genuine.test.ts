// Tests of what others wrote and Windows believes: it passes, each kind with the attack beside it that must not come in through the same gap.

import assert from "node:assert/strict";
import { constants, createHash, privateEncrypt } from "node:crypto";
import { describe, it } from "node:test";
import { DAY } from "../core/instant.ts";
import { writeExtension } from "../der/extensions.ts";
import * as oids from "../der/oids.ts";
import { parseDer } from "../der/reader.ts";
import { publisherPki, type Holder, type Pki, type PkiWish } from "../testing/publisher-pki.ts";
import { answerLegacyTimestamp } from "../testing/timestamp-authority.ts";
import { tinyPe } from "../testing/tiny-pe.ts";
import { tinyCab } from "../testing/tiny-windows-files.ts";
import { codes, make, now, random, sign, token, verify } from "../testing/pe-signing.ts";
import { ScriptedClock } from "../testing/scripted-clock.ts";
import { appendNested, buildIndirectData, SPC_INDIVIDUAL } from "./authenticode.ts";
import { signAuthenticode, valueToStamp, withLegacyTimestamp, withTimestamp } from "./authenticode-sign.ts";
import { cabFormat } from "./cab/format.ts";
import { parseSignedData } from "./cms.ts";
import { ArtifactError } from "./errors.ts";
import type { AuthenticodeToBeSigned } from "./format.ts";
import { checkFreshTimestamp } from "./fresh-timestamp.ts";
import { peFormat } from "./pe/format.ts";
import { signPe } from "./pe/sign.ts";
import type { FileReport } from "./report.ts";
import { bytesSource, MemorySink } from "./source.ts";
import { requestLegacyTimestamp } from "./timestamp-request.ts";

const ENDED = { notBefore: now - 20 * DAY, notAfter: now - 10 * DAY };
const THEN = now - 15 * DAY;

/** A tiny program with whatever signature `makeSignature` returns. */
async function signedBy(
  makeSignature: (what: AuthenticodeToBeSigned) => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const sink = new MemorySink();
  await signPe({ source: bytesSource(tinyPe()), sink, mode: "new", hash: "sha256", makeSignature });
  return sink.bytes;
}

const notes = (report: FileReport): readonly string[] =>
  report.signatures
    .flatMap(({ findings, timestamps }) => [...findings, ...timestamps.flatMap((each) => each.findings)])
    .map((finding) => finding.code);

describe("a time-stamp authority whose purpose is not marked as critical", () => {
  const stampedUnder = async (stamper: PkiWish["stamper"]): Promise<FileReport> => {
    const pki = await publisherPki({ now, leaf: ENDED, ...(stamper === undefined ? {} : { stamper }) });
    return verify(await sign(tinyPe(), pki, { stamp: { at: THEN } }), pki);
  };

  it("proves a time, as Microsoft's of before 2023 do", async () => {
    const report = await stampedUnder({ ekuCritical: false });
    assert.deepEqual(codes(report), []);
    assert.equal(report.signatures[0]!.signedAt, THEN);
    assert.ok(notes(report).includes("chain/usage-not-critical"));
    assert.ok(!notes(await stampedUnder({})).includes("chain/usage-not-critical"));
  });

  it("proves nothing with a second purpose beside it, or with another one", async () => {
    for (const eku of [[oids.timeStamping, oids.codeSigning], [oids.codeSigning], [oids.serverAuth]]) {
      assert.deepEqual(codes(await stampedUnder({ ekuCritical: false, eku })), [
        "signature/timestamp-invalid",
        "chain/expired",
      ]);
    }
  });

  it("is not put into a new signature", async () => {
    const pki = await publisherPki({ now, stamper: { ekuCritical: false } });
    const stamped = Uint8Array.of(1, 2, 3);
    const value = parseDer(await token(stamped, pki, now));
    assert.throws(
      () => checkFreshTimestamp(value, stamped, { roots: [pki.root.certificate], now }),
      (error) => error instanceof ArtifactError && error.code === "artifact/bad-timestamp",
    );
  });
});

describe("an old-style countersignature", () => {
  const countersigned = async (
    pki: Pki,
    lies: Parameters<typeof answerLegacyTimestamp>[4] = {},
    stamper: Holder = pki.stamper,
  ): Promise<FileReport> => {
    const bytes = await signedBy(async (what) => {
      const cms = await make(what, pki, {});
      const made = await requestLegacyTimestamp(valueToStamp(cms), {
        urls: ["old"],
        hash: "sha256",
        clock: new ScriptedClock(now),
        random,
        transport: {
          post: (_url, _type, body) => answerLegacyTimestamp(body, stamper, [pki.root], THEN, lies),
        },
      });
      return withLegacyTimestamp(cms, made);
    });
    return verify(bytes, pki);
  };
  const pkiOf = (): Promise<Pki> => publisherPki({ now, leaf: ENDED });

  it("proves a time when it names the type of a token, as Certum's do", async () => {
    const report = await countersigned(await pkiOf(), { contentType: oids.tstInfo });
    assert.deepEqual(codes(report), []);
    assert.equal(report.signatures[0]!.signedAt, THEN);
    assert.ok(notes(report).includes("cms/content-type-foreign"));
  });

  it("proves nothing over another signature, whatever type it names", async () => {
    const lies = { contentType: oids.tstInfo, stamped: new Uint8Array(64) };
    assert.deepEqual(codes(await countersigned(await pkiOf(), lies)), [
      "signature/timestamp-invalid",
      "chain/expired",
    ]);
  });

  it("proves nothing with any third type", async () =>
    assert.deepEqual(codes(await countersigned(await pkiOf(), { contentType: oids.signedData })), [
      "signature/timestamp-invalid",
      "chain/expired",
    ]));

  it("proves nothing when it is the signer of a token, lifted out of it", async () => {
    const pki = await pkiOf();
    const bytes = await signedBy(async (what) => {
      const cms = await make(what, pki, {});
      const lifted = parseSignedData(await token(valueToStamp(cms), pki, THEN));
      return withLegacyTimestamp(cms, {
        signerInfo: lifted.signers[0]!.der,
        certificates: lifted.certificates.map((each) => each.der),
      });
    });
    assert.deepEqual(codes(await verify(bytes, pki)), ["signature/timestamp-invalid", "chain/expired"]);
  });

  /** A holder whose signature value is a PKCS#1 block around what `inside` makes of the digest. */
  const bare = (holder: Holder, inside: (digest: Buffer) => Buffer, type: 1 | "none" = 1): Holder => ({
    ...holder,
    signer: {
      publicKey: holder.signer.publicKey,
      sign: async (message: Uint8Array) => {
        const block = inside(createHash("sha256").update(message).digest());
        const padding = type === 1 ? constants.RSA_PKCS1_PADDING : constants.RSA_NO_PADDING;
        return new Uint8Array(privateEncrypt({ key: holder.privateKey, padding }, block));
      },
    } as Holder["signer"],
  });

  it("proves a time when its PKCS#1 block holds the bare digest, as Symantec's G4 have it", async () => {
    const pki = await pkiOf();
    const report = await countersigned(
      pki,
      {},
      bare(pki.stamper, (digest) => digest),
    );
    assert.deepEqual(codes(report), []);
    assert.equal(report.signatures[0]!.signedAt, THEN);
    assert.ok(notes(report).includes("cms/bare-digest"));
  });

  for (const [attack, inside] of Object.entries<(digest: Buffer) => Buffer>({
    "bytes behind the digest (Bleichenbacher's forgery)": (digest) =>
      Buffer.concat([digest, Buffer.alloc(100)]),
    "bytes before the digest": (digest) => Buffer.concat([Buffer.alloc(19), digest]),
    "a part of the digest": (digest) => digest.subarray(0, 20),
    "another digest": () => Buffer.alloc(32),
    nothing: () => Buffer.alloc(0),
  })) {
    it(`proves nothing when its block holds ${attack}`, async () => {
      const pki = await pkiOf();
      assert.deepEqual(codes(await countersigned(pki, {}, bare(pki.stamper, inside))), [
        "signature/timestamp-invalid",
        "chain/expired",
      ]);
    });
  }

  it("proves nothing when its block is padded with anything but FF", async () => {
    const pki = await pkiOf();
    const zeros = (digest: Buffer): Buffer =>
      Buffer.concat([Buffer.from([0, 1]), Buffer.alloc(256 - 35, 0), Buffer.from([0]), digest]);
    assert.deepEqual(codes(await countersigned(pki, {}, bare(pki.stamper, zeros, "none"))), [
      "signature/timestamp-invalid",
      "chain/expired",
    ]);
  });

  it("is the only place for a bare digest: the publisher's own signature with one is refused", async () => {
    const pki = await publisherPki({ now, key: "rsa2048" });
    const leaf = bare(pki.leaf, (digest) => digest);
    assert.deepEqual(codes(await verify(await sign(tinyPe(), { ...pki, leaf }), pki)), ["cms/bad-signature"]);
  });
});

describe("a critical extension that is not understood", () => {
  const netscape = [writeExtension("2.16.840.1.113730.1.1", true, Uint8Array.of(0x03, 0x02, 0x00, 0xf7))];
  const under = async (extensions: PkiWish["extensions"]): Promise<FileReport> => {
    const pki = await publisherPki({ now, ...(extensions === undefined ? {} : { extensions }) });
    return verify(await sign(tinyPe(), pki), pki);
  };

  it("harms nothing in the root that the caller named, as Debian's Secure Boot authority has it", async () => {
    const report = await under({ root: netscape });
    assert.deepEqual(codes(report), []);
    assert.ok(notes(report).includes("chain/unknown-critical-extension"));
  });

  it("is refused in every other certificate of the chain", async () => {
    assert.deepEqual(codes(await under({ authority: netscape })), ["chain/unknown-critical-extension"]);
    assert.deepEqual(codes(await under({ leaf: netscape })), ["chain/unknown-critical-extension"]);
  });

  it("is refused in a root that was not named", async () => {
    const pki = await publisherPki({ now, extensions: { root: netscape } });
    const other = await publisherPki({ now });
    const bytes = await sign(tinyPe(), pki, { wish: { includeRoot: true } });
    assert.deepEqual(codes(await verify(bytes, pki, { roots: [other.root.certificate] })), [
      "chain/untrusted",
      "chain/unknown-critical-extension",
    ]);
  });
});

describe("the kind of file that a signature names", () => {
  const SPC_LINK = "1.3.6.1.4.1.311.2.1.28";
  const SPC_CAB = "1.3.6.1.4.1.311.2.1.25";
  const signedAs = async (format: typeof peFormat, type: string): Promise<FileReport> => {
    const pki = await publisherPki({ now });
    const bytes = format === peFormat ? tinyPe() : tinyCab("a.txt", new Uint8Array(100).fill(65));
    const sink = new MemorySink();
    await format.sign({
      source: bytesSource(bytes),
      sink,
      mode: "new",
      hash: "sha256",
      makeSignature: async (what) => {
        assert.equal(what.kind, "authenticode");
        const { digest } = what as AuthenticodeToBeSigned;
        return signAuthenticode({
          indirectData: buildIndirectData({ type, value: null, hash: "sha256", digest }),
          hash: "sha256",
          certificate: pki.leaf.certificate,
          chain: [pki.authority.certificate],
          signer: pki.leaf.signer,
        });
      },
    });
    return format.verify(bytesSource(sink.bytes), { roots: [pki.root.certificate], now });
  };

  it("may be a program under the number of a statement (Debian's fwupd), or a cabinet as a link (Windows, 2015)", async () => {
    for (const report of [await signedAs(peFormat, SPC_INDIVIDUAL), await signedAs(cabFormat, SPC_LINK)]) {
      assert.deepEqual(codes(report), []);
      assert.ok(notes(report).includes("signature/foreign-kind"));
    }
    assert.ok(!notes(await signedAs(cabFormat, SPC_CAB)).includes("signature/foreign-kind"));
  });

  it("is refused where no genuine file of the format has it: a cabinet's on a program, and the other way round", async () => {
    for (const type of [SPC_LINK, SPC_CAB, "1.3.6.1.4.1.311.2.1.30"])
      assert.deepEqual(codes(await signedAs(peFormat, type)), ["signature/wrong-kind"]);
    for (const type of [SPC_INDIVIDUAL, "1.3.6.1.4.1.311.2.1.15"])
      assert.deepEqual(codes(await signedAs(cabFormat, type)), ["signature/wrong-kind"]);
  });
});

describe("an old nested signature", () => {
  /** The primary one is in order; `nested` is what hangs on it. */
  const withNested = async (
    pki: Pki,
    nested: (what: AuthenticodeToBeSigned) => Promise<Uint8Array>,
  ): Promise<FileReport> =>
    verify(await signedBy(async (what) => appendNested(await make(what, pki, {}), await nested(what))), pki);

  it("whose stamp is out of order and whose certificate has ended does not damn the primary one", async () => {
    const pki = await publisherPki({ now });
    const old = await publisherPki({ now, leaf: ENDED });
    const report = await withNested(pki, async (what) => {
      const cms = await make({ ...what, sequenceNumber: 1 }, old, {});
      return withTimestamp(cms, await token(new Uint8Array(64), old, THEN));
    });
    assert.equal(report.valid, true);
    assert.deepEqual(
      report.signatures.map((each) => each.valid),
      [true, false],
    );
    assert.ok(codes(report).includes("signature/timestamp-invalid"));
  });

  it("over another image is refused still: nobody can say which of the two the file is", async () => {
    const pki = await publisherPki({ now });
    const report = await withNested(pki, (what) =>
      make(
        {
          ...what,
          sequenceNumber: 1,
          indirectData: buildIndirectData({
            type: "1.3.6.1.4.1.311.2.1.15",
            value: null,
            hash: "sha256",
            digest: new Uint8Array(32),
          }),
        },
        pki,
        {},
      ),
    );
    assert.equal(report.valid, false);
    assert.deepEqual(codes(report), ["signature/file-changed"]);
  });

  it("that is valid never makes up for a primary one that was changed", async () => {
    const pki = await publisherPki({ now });
    const bytes = await sign(tinyPe(), pki);
    const twice = new MemorySink();
    await signPe({
      source: bytesSource(bytes),
      sink: twice,
      mode: "append",
      hash: "sha256",
      makeSignature: (what) => make(what, pki, {}),
    });
    const cms = (await peFormat.verify(bytesSource(twice.bytes), { roots: [pki.root.certificate], now }))
      .signatures;
    assert.equal(cms.length, 2);
    const spoiled = twice.bytes.slice();
    spoiled[1100]! ^= 1;
    assert.equal((await verify(spoiled, pki)).valid, false);
  });

  it("with a stamp out of order is not the one that makes a file valid", async () => {
    const pki = await publisherPki({ now });
    const bytes = await signedBy(async (what) => {
      const cms = await make(what, pki, {});
      return withTimestamp(cms, await token(new Uint8Array(64), pki, now));
    });
    const report = await verify(bytes, pki);
    assert.equal(report.valid, false);
    assert.deepEqual(codes(report), ["signature/timestamp-invalid"]);
  });
});
