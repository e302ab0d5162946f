// Builds the CMS messages that the signer returns, with a timestamp from the configured authorities.

import { fromHex, fromUtf8 } from "../core/bytes.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import {
  contentTypeAttribute,
  messageDigestAttribute,
  signAttributes,
  signedData,
  signerInfo,
  signingCertificateV2Attribute,
} from "../artifact/cms-build.ts";
import { hashIdentifier } from "../der/algorithms.ts";
import * as oids from "../der/oids.ts";
import type { SignerConfig } from "../signing/config.ts";
import { SigningError } from "../signing/errors.ts";
import type { Build } from "../signing/ports.ts";

export type BuilderPorts = {
  readonly clock: Clock;
  readonly random: Random;
  readonly settings: () => SignerConfig["timestamp"];
};

export function messageBuilder(_ports: BuilderPorts): Build {
  return async ({ operation, chain, key, sign }) => {
    const certificate = chain[0]!;
    const signer = { publicKey: key, sign: (message: Uint8Array) => sign(message) };
    if (operation.kind !== "cms") {
      throw new SigningError(
        "signing/bad-request",
        `This signer does not build ${operation.kind} signatures.`,
      );
    }
    const parts = await signAttributes({
      certificate,
      signer,
      hash: operation.algorithm,
      attributes: [
        contentTypeAttribute(oids.data),
        messageDigestAttribute(fromHex(operation.digest)),
        signingCertificateV2Attribute(certificate),
      ],
    });
    const cms = signedData({
      version: 1,
      digests: [hashIdentifier(operation.algorithm)],
      contentType: oids.data,
      content: null,
      certificates: chain.map((each) => each.der),
      signers: [signerInfo(parts)],
    });
    return { cms };
  };
}
void fromUtf8;
