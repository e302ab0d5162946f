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
import { ArtifactError, type ArtifactErrorCode } from "./errors.ts";
import { signPe } from "./pe/sign.ts";
import { verifyPublisher, verifyPublisherBeside } from "./publisher.ts";
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
