// Two detached messages over the same content as one: a signature that came from elsewhere joins those that are there.

import { compareBytes } from "../core/bytes.ts";
import * as oids from "../der/oids.ts";
import { signedData } from "./cms-build.ts";
import { parseSignedData, type SignedData } from "./cms.ts";
import { ArtifactError } from "./errors.ts";

/** Keeps every signer of both, as written. Errors: `artifact/already-signed` (a signer who is there already), `artifact/bad-signature`. */
export function joinSigners(beside: SignedData, cms: Uint8Array): Uint8Array {
  const added = parseSignedData(cms);
  const named = (signed: SignedData): readonly string[] =>
    signed.signers.map(({ id }) =>
      Buffer.from("issuer" in id ? [...id.issuer.der, ...id.serial] : id.keyIdentifier).toString("hex"),
    );
  const there = new Set(named(beside));
  if (named(added).some((name) => there.has(name)))
    throw new ArtifactError("artifact/already-signed", "This certificate has signed the file already.", {});
  const all = [beside, added];
  return signedData({
    // RFC 5652 5.1, as in content-sign.ts.
    version: all.some(({ version }) => version === 3) ? 3 : 1,
    digests: distinct(all.flatMap(({ signers }) => signers.map((signer) => signer.digestDer))),
    contentType: oids.data,
    content: null,
    certificates: distinct(all.flatMap(({ certificates }) => certificates.map(({ der }) => der))),
    signers: all.flatMap(({ signers }) => signers.map(({ der }) => der)),
  });
}

function distinct(values: readonly Uint8Array[]): readonly Uint8Array[] {
  return values.filter((value, i) => values.findIndex((other) => compareBytes(other, value) === 0) === i);
}
