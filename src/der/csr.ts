// Certificate requests (PKCS#10, RFC 2986): built by the holder of a key, believed only with its signature.

import {
  readPublicKey,
  readSignatureAlgorithm,
  signatureIdentifier,
  verifySignature,
  type X509Scheme,
  type X509Signer,
} from "./algorithms.ts";
import { DerError } from "./errors.ts";
import {
  readExtensions,
  writeAltNames,
  writeExtension,
  type AltName,
  type Extensions,
} from "./extensions.ts";
import { readName, type Name } from "./names.ts";
import * as oids from "./oids.ts";
import {
  children,
  encoded,
  Fields,
  only,
  parseDer,
  readBitOctets,
  readOid,
  readSmallInteger,
  setOf as readSetOf,
} from "./reader.ts";
import { contextOf, SET } from "./tags.ts";
import { bitOctets, element, integer, oid, sequence, setOf } from "./writer.ts";

const REQUEST_LIMIT = 16 * 1024;

/** A request whose signature was checked: the sender held the key. What it asks for is a wish, nothing more. */
export type CertificateRequest = {
  readonly subject: Name;
  readonly spki: Uint8Array;
  readonly extensions: Extensions;
};

/** Errors: `der/unsupported` for a key that cannot sign certificates, and the signer's. */
export async function buildCsr(wish: {
  readonly subject: Name;
  readonly sans?: readonly AltName[];
  readonly signer: X509Signer;
  readonly scheme?: X509Scheme;
}): Promise<Uint8Array> {
  const scheme = wish.scheme ?? (wish.signer.publicKey.scheme as X509Scheme);
  const sans = wish.sans ?? [];
  const attributes =
    sans.length === 0
      ? []
      : [
          sequence(
            oid(oids.extensionRequest),
            setOf(sequence(writeExtension(oids.subjectAltName, false, writeAltNames(sans)))),
          ),
        ];
  const info = sequence(
    integer(0),
    wish.subject.der,
    wish.signer.publicKey.spki,
    element(contextOf(0), ...attributes),
  );
  return sequence(info, signatureIdentifier(scheme), bitOctets(await wish.signer.sign(info, scheme)));
}

/** Reads a request and checks its signature. Errors: `der/bad-request`, `der/bad-signature`. */
export function parseCsr(der: Uint8Array): CertificateRequest {
  if (der.length > REQUEST_LIMIT)
    throw new DerError("der/bad-request", `The certificate request has more than ${REQUEST_LIMIT} bytes.`, {
      length: der.length,
    });
  try {
    return readCsr(der);
  } catch (cause) {
    if (cause instanceof DerError && cause.code !== "der/bad-signature")
      throw new DerError(
        "der/bad-request",
        `The certificate request cannot be read: ${cause.message}`,
        {},
        { cause },
      );
    throw cause;
  }
}

function readCsr(der: Uint8Array): CertificateRequest {
  const outer = new Fields(parseDer(der));
  const info = outer.take();
  const algorithm = readSignatureAlgorithm(outer.take());
  const signature = readBitOctets(outer.take());
  outer.done();

  const fields = new Fields(info);
  const version = readSmallInteger(fields.take());
  if (version !== 0)
    throw new DerError("der/bad-request", `The certificate request is of version ${version + 1}.`, {
      version,
    });
  const subject = readName(fields.take());
  const spki = encoded(fields.take());
  const wanted: Extensions[] = [];
  for (const attribute of readSetOf(fields.take(contextOf(0)))) {
    const pair = new Fields(attribute);
    const type = readOid(pair.take());
    const values = pair.take(SET);
    pair.done();
    if (type === oids.extensionRequest) wanted.push(readExtensions(only(values)));
    else children(values);
  }
  fields.done();
  if (wanted.length > 1)
    throw new DerError("der/bad-request", "The certificate request asks for extensions twice.", {});

  if (!verifySignature(readPublicKey(spki), algorithm, encoded(info), signature)) {
    throw new DerError(
      "der/bad-signature",
      "The certificate request is not signed by the key it is for: either it was changed on its way, or somebody asks for a certificate over a key of another.",
      {},
    );
  }
  return { subject, spki, extensions: wanted[0] ?? readExtensions(null) };
}
