// Tests of messages that are put together after they were signed: content that comes back, signers that join.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { equalBytes, toUtf8 } from "../core/bytes.ts";
import { encoded } from "../der/reader.ts";
import { octets, sequence } from "../der/writer.ts";
import { publisherPki, type Pki } from "../testing/publisher-pki.ts";
import { attachContent } from "./attach-content.ts";
import { indirectDataOctets } from "./authenticode.ts";
import { signAuthenticode } from "./authenticode-sign.ts";
import { digest } from "./cms-build.ts";
import { parseSignedData } from "./cms.ts";
import { signContent } from "./content-sign.ts";
import { verifyContent } from "./content-verify.ts";
import { digestContent } from "./content-digest.ts";
import { joinSigners } from "./join-signers.ts";
import { bytesSource } from "./source.ts";

const NOW = Date.UTC(2026, 10, 21);
let pki: Pki;
let other: Pki;
before(async () => {
  pki = await publisherPki({ now: NOW });
  other = await publisherPki({ now: NOW });
});

describe("content that comes back to its message", () => {
  const value = sequence(octets(toUtf8("content")));
  const sign = (indirectData: Uint8Array | { readonly digest: Uint8Array }): Promise<Uint8Array> =>
    signAuthenticode({ ...pki.leaf, chain: [pki.authority.certificate], indirectData, hash: "sha256" });

  it("stands where its signer would have written it, and nothing else changes", async () => {
    const detached = await sign({ digest: digest("sha256", indirectDataOctets(value)) });
    assert.equal(parseSignedData(detached).content, null);
    const attached = parseSignedData(attachContent(detached, value));
    assert.ok(equalBytes(encoded(attached.content!), value));
    const [before_, after_] = [parseSignedData(detached).signers[0]!, attached.signers[0]!];
    assert.ok(equalBytes(before_.der, after_.der));
    // But for the value of an ECDSA signature, which is never the same twice, it is the message of a signer that had the content.
    assert.ok(Math.abs((await sign(value)).length - attached.der.length) <= 4);
  });

  it("is refused where there is content already, and where there is no message", async () => {
    assert.throws(() => attachContent(NO_MESSAGE, value), { code: "artifact/bad-signature" });
    const whole = await sign(value);
    assert.throws(() => attachContent(whole, value), { code: "artifact/bad-signature" });
  });
  const NO_MESSAGE: Uint8Array = Uint8Array.of(0x30, 0);
});

describe("signers of two messages over the same bytes", () => {
  const text = toUtf8("text");
  const sign = async (by: Pki): Promise<Uint8Array> => {
    const digests = await digestContent(bytesSource(text), text.length, ["sha256"]);
    const { certificate, signer } = by.leaf;
    return signContent({ digests, signers: [{ certificate, signer, chain: [by.authority.certificate] }] });
  };

  it("join into one message in which both are believed", async () => {
    const joined = parseSignedData(joinSigners(parseSignedData(await sign(pki)), await sign(other)));
    assert.equal(joined.signers.length, 2);
    const digests = await digestContent(bytesSource(text), text.length, ["sha256"]);
    for (const roots of [[pki.root.certificate], [other.root.certificate]]) {
      const report = await verifyContent(joined, digests, { roots, now: NOW });
      assert.ok(report.believed && report.signers.every((signer) => signer.intact));
    }
  });

  it("do not when it is the same one twice", async () => {
    const once = await sign(pki);
    assert.throws(() => joinSigners(parseSignedData(once), once), { code: "artifact/already-signed" });
  });
});
