// The two certificate authorities of a server: one that devices know the server by, one that the server knows devices by.

import { sha256Hex } from "../core/digest.ts";
import { DAY, HOUR, type Instant } from "../core/instant.ts";
import type { Random } from "../core/random.ts";
import type { X509Signer } from "../der/algorithms.ts";
import { parseCsr } from "../der/csr.ts";
import type { AltName } from "../der/extensions.ts";
import { buildCertificate } from "../der/issue.ts";
import { buildName } from "../der/names.ts";
import { clientAuth, serverAuth } from "../der/oids.ts";
import type { Certificate } from "../der/x509.ts";
import { IdentityError } from "./errors.ts";

export const AUTHORITY_LIFE = 3650 * DAY;
export const DEVICE_LIFE = 45 * DAY;
export const SERVER_LIFE = 90 * DAY;
/** Clocks differ; a certificate of this minute must be good for a device that is somewhat behind. */
const BACKDATED = HOUR;
/** The host part of SPIFFE ids; names no host that exists. */
export const TRUST_DOMAIN = "upkeep";

export type Authority = { readonly certificate: Certificate; readonly signer: X509Signer };

/** SHA-256 of a SubjectPublicKeyInfo, hex: what pins and device records hold. */
export function spkiDigest(spki: Uint8Array): string {
  return sha256Hex(spki);
}

/** A self-signed authority below which no other may stand. */
export async function createAuthority(request: {
  readonly name: string;
  readonly signer: X509Signer;
  readonly now: Instant;
  readonly random: Random;
}): Promise<Authority> {
  const { name, signer, now, random } = request;
  const certificate = await buildCertificate({
    serial: serialOf(random),
    issuer: { signer },
    subject: buildName([["CN", name]]),
    spki: signer.publicKey.spki,
    notBefore: now - DAY,
    notAfter: now + AUTHORITY_LIFE,
    ca: { pathLength: 0 },
  });
  return { certificate, signer };
}

/** Issues for a device's key. The certificate only says who it is; what it may do stands in the device's record. */
export async function issueDevice(
  authority: Authority,
  request: {
    readonly device: string;
    readonly spki: Uint8Array;
    readonly now: Instant;
    readonly random: Random;
    readonly life?: number;
  },
): Promise<Certificate> {
  const { device, spki, now, random, life = DEVICE_LIFE } = request;
  return issue(authority, {
    spki,
    now,
    random,
    life,
    subject: device,
    eku: clientAuth,
    sans: [{ uri: `spiffe://${TRUST_DOMAIN}/device/${device}` }],
  });
}

/** Issues for the server's own key. `names` are host names and IP addresses that devices reach it by. */
export async function issueServer(
  authority: Authority,
  request: {
    readonly names: readonly string[];
    readonly spki: Uint8Array;
    readonly now: Instant;
    readonly random: Random;
    readonly life?: number;
  },
): Promise<Certificate> {
  const { names, spki, now, random, life = SERVER_LIFE } = request;
  if (names.length === 0) {
    throw new IdentityError("identity/bad-request", "A server certificate needs at least one name.");
  }
  return issue(authority, {
    spki,
    now,
    random,
    life,
    subject: names[0]!,
    eku: serverAuth,
    sans: names.map((name): AltName => (isAddress(name) ? { ip: name } : { dns: name })),
  });
}

function issue(
  authority: Authority,
  leaf: {
    readonly subject: string;
    readonly spki: Uint8Array;
    readonly now: Instant;
    readonly random: Random;
    readonly life: number;
    readonly eku: string;
    readonly sans: readonly AltName[];
  },
): Promise<Certificate> {
  const { certificate } = authority;
  return buildCertificate({
    serial: serialOf(leaf.random),
    issuer: authority,
    subject: buildName([["CN", leaf.subject.slice(0, 64)]]),
    spki: leaf.spki,
    // A leaf that outlives its authority, or is older, is refused by some verifiers.
    notBefore: Math.max(leaf.now - BACKDATED, certificate.notBefore),
    notAfter: Math.min(leaf.now + leaf.life, certificate.notAfter),
    eku: [leaf.eku],
    sans: leaf.sans,
  });
}

/** Half of the life is over: time to renew, with as much time again for retries (SPIRE's rule). */
export function renewalTime(certificate: Pick<Certificate, "notBefore" | "notAfter">): Instant {
  return certificate.notBefore + (certificate.notAfter - certificate.notBefore) / 2;
}

/**
 * Reads the request of a device. Only its key counts: names and extensions are the server's to choose.
 * Errors: `identity/bad-request` for a request that cannot be read, is not signed by its key, or has a key of another kind.
 */
export function readDeviceRequest(der: Uint8Array): { readonly spki: Uint8Array; readonly digest: string } {
  let spki: Uint8Array;
  try {
    spki = parseCsr(der).spki;
  } catch (cause) {
    throw new IdentityError(
      "identity/bad-request",
      `The certificate request is refused: ${cause instanceof Error ? cause.message : "it cannot be read"}`,
      {},
      { cause },
    );
  }
  if (!DEVICE_KEYS.some((prefix) => startsWith(spki, prefix))) {
    throw new IdentityError(
      "identity/bad-request",
      "The certificate request has a key that devices do not use; P-256 and Ed25519 are the ones that do.",
    );
  }
  return { spki, digest: spkiDigest(spki) };
}

/** AlgorithmIdentifiers of SubjectPublicKeyInfo: RFC 5480 P-256 (uncompressed point), RFC 8410 Ed25519. */
const DEVICE_KEYS = [
  Uint8Array.from(Buffer.from("3059301306072a8648ce3d020106082a8648ce3d03010703420004", "hex")),
  Uint8Array.from(Buffer.from("302a300506032b6570032100", "hex")),
];

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return prefix.every((byte, i) => bytes[i] === byte);
}

/** 128 random bits, the first one zero and the number never so. */
function serialOf(random: Random): Uint8Array {
  const serial = random.bytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  return serial;
}

/** An IPv4 or IPv6 address, as against a host name. */
export function isAddress(name: string): boolean {
  return /^\d{1,3}(?:\.\d{1,3}){3}$/.test(name) || name.includes(":");
}
