// Tests of the publisher pin: the right publisher passes, everybody else is refused by name.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { spkiPin } from "../der/x509.ts";
import * as oids from "../der/oids.ts";
import type { PublisherPin } from "../release/manifest.ts";
import { elfPublisher } from "../testing/elf-publisher.ts";
import { publisherPki, type Pki } from "../testing/publisher-pki.ts";
import { tinyElf } from "../testing/tiny-elf.ts";
import { tinyPe } from "../testing/tiny-pe.ts";
import { toUtf8 } from "../core/bytes.ts";
import { signDetached } from "./detached/detached.ts";
import { readContainer } from "./elf/container.ts";
import { signAuthenticode } from "./authenticode-sign.ts";
import { ArtifactError, type ArtifactErrorCode, type Finding } from "./errors.ts";
import { formatOf } from "./formats.ts";
import { signPe } from "./pe/sign.ts";
import { checkPublisher, verifyPublisher, verifyPublisherBeside, type Publisher } from "./publisher.ts";
import type { FileReport } from "./report.ts";
import { bytesSource, MemorySink } from "./source.ts";

const now = Date.UTC(2026, 10, 21);
const DURABLE = "1.3.6.1.4.1.311.97.1.2.3";

async function sign(pki: Pki): Promise<Uint8Array> {
  const sink = new MemorySink();
  await signPe({
    source: bytesSource(tinyPe()),
    sink,
    mode: "new",
    hash: "sha256",
    makeSignature: ({ indirectData, hash }) =>
      signAuthenticode({
        indirectData,
        hash,
        certificate: pki.leaf.certificate,
        chain: [pki.authority.certificate],
        signer: pki.leaf.signer,
      }),
  });
  return sink.bytes;
}

describe("the publisher of a file", () => {
  let pki: Pki;
  let signed: Uint8Array;
  before(async () => {
    pki = await publisherPki({ now, leaf: { eku: [oids.codeSigning, DURABLE] } });
    signed = await sign(pki);
  });
  const check = (pin: PublisherPin, bytes = signed): Promise<unknown> =>
    verifyPublisher(bytesSource(bytes), "agent.exe", pin, now, [pki.root.certificate]);
  const refuses = (code: ArtifactErrorCode, attempt: Promise<unknown>): Promise<void> =>
    assert.rejects(attempt, (error) => error instanceof ArtifactError && error.code === code);

  it("is recognised by name, by issuer, by a durable key usage, and by any key of its chain", async () => {
    for (const pin of [
      {
        subject: "CN=Example Publisher, O=Example, C=DE",
        issuer: "CN=Test code signing authority, O=Example, C=DE",
      },
      { eku: [DURABLE] },
      { spkiSha256: ["00".repeat(32), spkiPin(pki.leaf.certificate)] },
      { spkiSha256: [spkiPin(pki.authority.certificate)] },
    ]) {
      assert.deepEqual(await check(pin), {
        subject: "CN=Example Publisher, O=Example, C=DE",
        signedAt: null,
        place: "signature",
      });
    }
  });

  it("is refused when it is another one", async () => {
    await refuses("artifact/wrong-publisher", check({ subject: "CN=Someone Else, O=Example, C=DE" }));
    await refuses(
      "artifact/wrong-publisher",
      check({ subject: "CN=Example Publisher, O=Example, C=DE", issuer: "CN=Another authority" }),
    );
    await refuses("artifact/wrong-publisher", check({ eku: ["1.3.6.1.4.1.311.97.9"] }));
    await refuses("artifact/wrong-publisher", check({ spkiSha256: ["00".repeat(32)] }));
    await refuses("artifact/wrong-publisher", check({}));
  });

  it("is refused when the file is unsigned, changed, or of a stranger with the same name", async () => {
    await refuses("artifact/not-signed", check({ eku: [DURABLE] }, tinyPe()));
    const changed = signed.slice();
    changed[1500]! ^= 1;
    await refuses("artifact/bad-signature", check({ eku: [DURABLE] }, changed));
    const stranger = await publisherPki({ now, leaf: { eku: [oids.codeSigning, DURABLE] } });
    await refuses("artifact/bad-signature", check({ eku: [DURABLE] }, await sign(stranger)));
  });
});

describe("the publisher of an archive, which signed beside it", () => {
  const archive = toUtf8("the bytes of an archive");
  let pki: Pki;
  let signature: Uint8Array;
  const signedBy = ({ leaf, authority }: Pki): Promise<Uint8Array> =>
    signDetached(bytesSource(archive), [{ ...leaf, chain: [authority.certificate] }]);
  before(async () => {
    pki = await publisherPki({ now });
    signature = await signedBy(pki);
  });
  const check = (bytes: Uint8Array, beside: Uint8Array, root = pki): Promise<unknown> =>
    verifyPublisherBeside(bytesSource(bytes), beside, { spkiSha256: [spkiPin(pki.leaf.certificate)] }, now, [
      root.root.certificate,
    ]);

  it("is recognised by its pin", async () => {
    await check(archive, signature);
  });

  it("is refused without the revocation list that is required", async () => {
    const pin = { spkiSha256: [spkiPin(pki.leaf.certificate)] };
    const revocation = { lists: [], required: true, now };
    const roots = [pki.root.certificate];
    await assert.rejects(
      verifyPublisherBeside(bytesSource(archive), signature, pin, now, roots, revocation),
      { code: "artifact/bad-signature", message: /No revocation list speaks/ },
    );
    await assert.rejects(
      verifyPublisher(bytesSource(await sign(pki)), "a.exe", pin, now, roots, revocation),
      { code: "artifact/bad-signature", message: /No revocation list speaks/ },
    );
  });

  it("is refused for other bytes, of a stranger, and when what lies there is no signature", async () => {
    await assert.rejects(check(toUtf8("the bytes of an Archive"), signature), {
      code: "artifact/bad-signature",
    });
    const stranger = await publisherPki({ now });
    await assert.rejects(check(archive, await signedBy(stranger)), { code: "artifact/bad-signature" });
    await assert.rejects(check(archive, await signedBy(stranger), stranger), {
      code: "artifact/wrong-publisher",
    });
    await assert.rejects(check(archive, archive), { code: "artifact/bad-signature" });
  });

  it("is not proven by the signature out of a program (substitution)", async () => {
    const elf = await elfPublisher(now);
    const { cms, contentSize } = (await readContainer(bytesSource(await elf.sign(tinyElf()))))!;
    const pin = { spkiSha256: [spkiPin(elf.pki.root.certificate)] };
    await assert.rejects(
      verifyPublisherBeside(bytesSource(tinyElf().subarray(0, contentSize)), cms, pin, now, [
        elf.pki.root.certificate,
      ]),
      { code: "artifact/bad-signature", message: /inside of a program/ },
    );
  });
});

describe("the decision about a publisher", () => {
  let good: FileReport;
  let pin: PublisherPin;
  before(async () => {
    const pki = await publisherPki({ now });
    const format = await formatOf(bytesSource(tinyPe()), "a.exe");
    good = await format.verify(bytesSource(await sign(pki)), { roots: [pki.root.certificate], now });
    pin = { spkiSha256: [spkiPin(pki.leaf.certificate)] };
  });
  const fault = (code: string, facts = {}): Finding => ({
    level: "error",
    code,
    message: `Said ${code}.`,
    facts,
  });
  const decided = (report: Partial<FileReport>, wanted = pin): string | Publisher => {
    try {
      return checkPublisher({ ...good, ...report }, wanted);
    } catch (error) {
      assert.ok(error instanceof ArtifactError);
      return error.code;
    }
  };

  it("passes on who signed, and when a stamp says so", () => {
    const at = now - 1000;
    const signatures = [{ ...good.signatures[0]!, signedAt: at, place: "nested signature 1" }];
    assert.deepEqual(decided({ signatures }), {
      subject: "CN=Example Publisher, O=Example, C=DE",
      signedAt: at,
      place: "nested signature 1",
    });
  });

  it("needs one property of the pin at least, whichever it is", () => {
    assert.equal(decided({}, {}), "artifact/wrong-publisher");
    for (const wanted of [{ subject: "x" }, { issuer: "x" }, { eku: ["1.2"] }, { spkiSha256: ["00"] }])
      assert.throws(
        () => checkPublisher(good, wanted),
        /is signed by CN=Example Publisher.*not by the publisher/,
      );
    assert.throws(() => checkPublisher(good, {}), /names no property/);
  });

  it("takes no signature that is not valid, and none without a certificate", () => {
    const [one] = good.signatures;
    assert.equal(decided({ signatures: [{ ...one!, valid: false }] }), "artifact/wrong-publisher");
    assert.deepEqual(decided({ signatures: [{ ...one!, valid: false }, one!] }), decided({}));
    assert.throws(() => checkPublisher({ ...good, signatures: [{ ...one!, path: [] }] }, pin));
  });

  it("says what a sound signature says wrongly, and no more than that of one that is not sound", () => {
    const findings = [fault("artifact/older-release", { release: 1 })];
    const wrong = { valid: false, findings };
    assert.equal(decided(wrong), "artifact/older-release");
    assert.throws(() => checkPublisher({ ...good, ...wrong }, pin), {
      message: "Said artifact/older-release.",
    });
    const [one] = good.signatures;
    assert.equal(
      decided({ ...wrong, signatures: [] }),
      "artifact/bad-signature",
      "no signature is not sound",
    );
    assert.equal(
      decided({ ...wrong, signatures: [one!, { ...one!, valid: false }] }),
      "artifact/bad-signature",
    );
    assert.equal(decided({ valid: false, findings: [fault("pe/stuffed")] }), "artifact/bad-signature");
    // A note is none of the reasons.
    const noted = [{ ...findings[0]!, level: "note" as const }, fault("pe/stuffed")];
    assert.equal(decided({ valid: false, findings: noted }), "artifact/bad-signature");
    for (const code of ["artifact/wrong-product", "artifact/foreign-architecture"])
      assert.equal(decided({ valid: false, findings: [fault("pe/stuffed"), fault(code)] }), code);
  });
});
