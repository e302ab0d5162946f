// A time-stamp authority in memory (RFC 3161) that can be told to lie.

import type { Instant } from "../core/instant.ts";
import { hashIdentifier, readHashIdentifier, type HashName } from "../der/algorithms.ts";
import * as oids from "../der/oids.ts";
import { Fields, parseDer, readIntegerBytes, readOctets, readSmallInteger } from "../der/reader.ts";
import { INTEGER, OCTET_STRING, SEQUENCE } from "../der/tags.ts";
import { generalizedTime, integer, integerBytes, octets, oid, sequence, time, utf8 } from "../der/writer.ts";
import {
  attribute,
  contentTypeAttribute,
  digest,
  messageDigestAttribute,
  signAttributes,
  signedData,
  signerInfo,
  signingCertificateV2Attribute,
} from "../artifact/cms-build.ts";
import type { TimestampReply } from "../artifact/timestamp-request.ts";
import type { Holder } from "./publisher-pki.ts";

export type Lies = {
  readonly time?: Instant;
  readonly nonce?: Uint8Array;
  readonly imprint?: Uint8Array;
  readonly imprintHash?: HashName;
  readonly status?: number;
  /** Leaves out the attribute that names the certificate. */
  readonly unbound?: boolean;
};

/** Answers one request as a granting authority would, but for `lies`. */
export async function answerTimestamp(
  request: Uint8Array,
  authority: Holder,
  chain: readonly Holder[],
  now: Instant,
  lies: Lies = {},
): Promise<TimestampReply> {
  const fields = new Fields(parseDer(request));
  readSmallInteger(fields.take(INTEGER));
  const imprintFields = new Fields(fields.take(SEQUENCE));
  const hash = readHashIdentifier(imprintFields.take());
  const imprint = readOctets(imprintFields.take(OCTET_STRING));
  const nonce = readIntegerBytes(fields.take(INTEGER));
  if (lies.status !== undefined)
    return reply(sequence(sequence(integer(lies.status), sequence(utf8("not today")))));
  const info = sequence(
    integer(1),
    oid("1.2.3.4.1"),
    sequence(hashIdentifier(lies.imprintHash ?? hash), octets(lies.imprint ?? imprint)),
    integer(7),
    generalizedTime(lies.time ?? now),
    integerBytes(lies.nonce ?? nonce),
  );
  const parts = await signAttributes({
    certificate: authority.certificate,
    signer: authority.signer,
    hash: "sha256",
    attributes: [
      contentTypeAttribute(oids.tstInfo),
      messageDigestAttribute(digest("sha256", info)),
      ...(lies.unbound === true ? [] : [signingCertificateV2Attribute(authority.certificate)]),
    ],
  });
  const token = signedData({
    version: 3,
    digests: [hashIdentifier("sha256")],
    contentType: oids.tstInfo,
    content: octets(info),
    certificates: [authority, ...chain].map((holder) => holder.certificate.der),
    signers: [signerInfo(parts)],
  });
  return reply(sequence(sequence(integer(0)), token));
}

function reply(body: Uint8Array): TimestampReply {
  return { status: 200, body };
}

/** Answers a request of the older Authenticode protocol: base64 both ways, a countersignature with the time as an attribute. */
export async function answerLegacyTimestamp(
  request: Uint8Array,
  authority: Holder,
  chain: readonly Holder[],
  now: Instant,
  lies: { readonly contentType?: string; readonly stamped?: Uint8Array } = {},
): Promise<TimestampReply> {
  const fields = new Fields(
    parseDer(new Uint8Array(Buffer.from(Buffer.from(request).toString("latin1"), "base64"))),
  );
  fields.take();
  const blob = new Fields(fields.take(SEQUENCE));
  blob.take();
  const stamped = lies.stamped ?? readOctets(blob.optionalExplicit(0)!);
  const parts = await signAttributes({
    certificate: authority.certificate,
    signer: authority.signer,
    hash: "sha256",
    attributes: [
      contentTypeAttribute(lies.contentType ?? oids.data),
      messageDigestAttribute(digest("sha256", stamped)),
      attribute(oids.signingTime, time(now)),
    ],
  });
  const signed = signedData({
    version: 1,
    digests: [hashIdentifier("sha256")],
    contentType: oids.data,
    content: octets(stamped),
    certificates: [authority, ...chain].map((holder) => holder.certificate.der),
    signers: [signerInfo(parts)],
  });
  return reply(new TextEncoder().encode(Buffer.from(signed).toString("base64")));
}
