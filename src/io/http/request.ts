// What is read of a caller: the body within its limit, the certificate, and what counts as one caller.

import { X509Certificate } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { ServerOptions } from "node:https";
import type { TLSSocket } from "node:tls";
import { sha256Hex } from "../../core/digest.ts";
import { HttpError } from "./errors.ts";

const DRAIN_BYTES = 2 * 1024 * 1024;
const DRAIN_MS = 1000;

/**
 * A certificate that one of the device CAs issued, by the digest of its key; the handshake proved that the caller holds the key.
 * `expired`: everything about it is right but its end; `early`: but its beginning, as after a clock that was ahead.
 */
export type ClientCertificate = {
  readonly spki: string;
  readonly notAfter: number;
  readonly notBefore: number;
  readonly expired: boolean;
  readonly early: boolean;
  /** SHA-256 of the key of the authority that issued it, hex; whether that one is believed still is for the caller to ask. */
  readonly authority: string;
};

/** The whole body. Errors: `http/too-large`, `http/bad-request`. */
export async function readBody(request: IncomingMessage, limit: number): Promise<Uint8Array> {
  const tooLarge = (): HttpError =>
    new HttpError("http/too-large", `The request's body is larger than the allowed ${limit} bytes.`, {
      limit,
    });
  // Said before a byte of it is read, when the caller is honest about the length.
  if (Number(request.headers["content-length"] ?? "0") > limit) throw tooLarge();
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      length += part.length;
      if (length > limit) throw tooLarge();
      parts.push(part);
    }
  } catch (cause) {
    if (cause instanceof HttpError) throw cause;
    throw new HttpError(
      "http/bad-request",
      "The request's body ended before it was complete.",
      {},
      { cause },
    );
  }
  return new Uint8Array(Buffer.concat(parts));
}

/**
 * Closing with unread bytes resets the connection, and the caller never sees why it was refused.
 * So a little more is read and thrown away; who sends more than that gets the reset.
 */
export async function drainBriefly(request: IncomingMessage): Promise<void> {
  let left = DRAIN_BYTES;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, DRAIN_MS);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    request.on("data", (part: Buffer) => {
      left -= part.length;
      if (left < 0) done();
    });
    request.once("end", done);
    request.once("close", done);
    request.resume();
  });
}

/** The authorities that device certificates come from: those that are believed, and those that are only known. */
export type Issuers = {
  readonly believed: readonly X509Certificate[];
  readonly known: readonly X509Certificate[];
};

export function readCertificate(socket: TLSSocket, issuers: Issuers): ClientCertificate | null {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return null;
  const notBefore = Date.parse(certificate.validFrom);
  const notAfter = Date.parse(certificate.validTo);
  const spki = keyOf(certificate);
  const issued = (ca: X509Certificate): boolean =>
    certificate.checkIssued(ca) && certificate.verify(ca.publicKey);
  const believed = issuers.believed.find(issued);
  const issuer = believed ?? issuers.known.find(issued);
  if (issuer === undefined) return null;
  const found = { spki, notBefore, notAfter, authority: keyOf(issuer) };
  // `authorized` covers chain, dates and purpose at the handshake; the status of the device is looked up on every request.
  if (socket.authorized) return { ...found, expired: false, early: false };
  // `authorizationError` names one fault of several: a stranger's certificate that has expired too reads like an expired one of ours.
  const expired = notAfter < Date.now();
  const early = notBefore > Date.now();
  return expired || early || believed === undefined ? { ...found, expired, early } : null;
}

function keyOf(certificate: X509Certificate): string {
  return sha256Hex(certificate.publicKey.export({ type: "spki", format: "der" }));
}

export function authoritiesOf(ca: ServerOptions["ca"] | readonly string[]): readonly X509Certificate[] {
  const texts = ca === undefined ? [] : Array.isArray(ca) ? (ca as readonly string[]) : [ca as string];
  return texts.map((text) => new X509Certificate(text));
}

/**
 * What counts as one caller: an IPv4 address, or the /64 of an IPv6 address, since everybody has a whole one of those.
 */
export function peerKey(address: string): string {
  const plain = address.replace(/%.*$/, "").toLowerCase();
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(plain);
  if (mapped !== null) return mapped[1]!;
  if (!plain.includes(":")) return plain;
  const [head, tail] = plain.split("::") as [string, string | undefined];
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const groups = [...left, ...Array.from({ length: zeros }, () => "0"), ...right];
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}
