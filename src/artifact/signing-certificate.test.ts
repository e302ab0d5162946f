// Tests of certificates before anything is signed with them: what our own verifier would refuse is refused here, and nothing else.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY } from "../core/instant.ts";
import { writeExtension } from "../der/extensions.ts";
import * as oids from "../der/oids.ts";
import { issue, publisherPki, type PkiWish } from "../testing/publisher-pki.ts";
import { now, sign, verify } from "../testing/pe-signing.ts";
import { tinyPe } from "../testing/tiny-pe.ts";
import { ArtifactError } from "./errors.ts";
import { refuseUnfit, whyUnfit } from "./signing-certificate.ts";

describe("a certificate that is to sign", () => {
  /** What the check says, which has to be what the verifier says about a file that was signed all the same. */
  const agrees = async (wish: Partial<PkiWish>, fit: boolean): Promise<void> => {
    const pki = await publisherPki({ now, ...wish });
    assert.equal((await verify(await sign(tinyPe(), pki), pki)).valid, fit);
    if (fit) return refuseUnfit(pki.leaf.certificate);
    assert.throws(
      () => refuseUnfit(pki.leaf.certificate),
      (error) =>
        error instanceof ArtifactError &&
        error.code === "artifact/bad-certificate" &&
        error.message.includes("Example Publisher"),
    );
  };

  it("is fit with the purpose of code signing, alone or among others", async () => {
    await agrees({}, true);
    await agrees({ leaf: { eku: [oids.serverAuth, oids.codeSigning] } }, true);
    await agrees({ key: "rsa2048" }, true);
  });

  it("is refused for a TLS server, for no purpose of code signing, for stamping time", async () => {
    for (const eku of [[oids.serverAuth], [oids.clientAuth], [oids.timeStamping], [oids.anyExtendedKeyUsage]])
      await agrees({ leaf: { eku } }, false);
  });

  it("is refused when its key may not make signatures", async () => {
    await agrees({ leaf: { keyUsage: ["keyEncipherment"] } }, false);
    await agrees({ leaf: { keyUsage: ["keyCertSign"] } }, false);
  });

  it("is refused with a critical extension that nobody understands", async () => {
    const extensions = { leaf: [writeExtension("1.3.6.1.4.1.42921.9.9", true, Uint8Array.of(5, 0))] };
    await agrees({ extensions }, false);
  });

  it("that signed itself may have one: it is the root that a user names", async () => {
    const own = await issue(null, "Own root", "p256", {
      notBefore: now - DAY,
      notAfter: now + DAY,
      eku: [oids.codeSigning],
      extensions: [writeExtension("1.3.6.1.4.1.42921.9.9", true, Uint8Array.of(5, 0))],
    });
    assert.deepEqual(whyUnfit(own.certificate), []);
  });
});
