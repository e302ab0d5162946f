// TLS from the device's side: the server is known by its pinned authority and its name, both, on every connection.

import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import type { ConnectionOptions, DetailedPeerCertificate } from "node:tls";
import { sha256Hex } from "../../core/digest.ts";
import { IdentityError } from "../../identity/errors.ts";
import { checkName, openStream, shake } from "../connection/connect.ts";
import { placeName } from "../connection/failure.ts";
import { DIRECT, type Proxies } from "../connection/proxies.ts";
import { serverFailure } from "./server-failure.ts";

export type ServerIdentity = {
  readonly host: string;
  readonly port: number;
  /** PEM certificates of the server CAs; those whose key is not pinned are not used. */
  readonly authorities: readonly string[];
  /** SHA-256 of SubjectPublicKeyInfo, hex. */
  readonly pins: readonly string[];
};

/** What the device shows of itself: PEM of its key, and of its certificate chain, leaf first. */
export type ClientIdentity = { readonly key: string; readonly certificates: string };

/**
 * Options for `tls.connect` and `https.request`. Errors: `identity/wrong-authority` when no authority is pinned.
 * Callers add no `session`: on a resumed session node:tls does not call `checkServerIdentity`.
 */
export function connectOptions(server: ServerIdentity, client?: ClientIdentity): ConnectionOptions {
  const ca = server.authorities.filter((pem) => server.pins.includes(spkiOf(new X509Certificate(pem))));
  if (ca.length === 0) {
    throw new IdentityError(
      "identity/wrong-authority",
      "None of the server authorities known here has a pinned key, so no server can be trusted.",
      { pins: server.pins, authorities: server.authorities.length },
      { hint: "Enroll this device again with a new token." },
    );
  }
  const { host, port } = server;
  return {
    host,
    port,
    ca,
    minVersion: "TLSv1.3",
    // RFC 6066 section 3 knows no addresses; the check below compares them with the certificate's all the same.
    servername: isIP(host) === 0 ? host : "",
    // The name first: a callback of one's own replaces the built-in check.
    checkServerIdentity: (_name, certificate) => checkName(host, certificate),
    ...(client === undefined ? {} : { key: client.key, cert: client.certificates }),
  };
}

/**
 * Finds the pinned authority in what a server shows, before anything is sent to it. Used once, at enrolment, when only the pin is known;
 * the connection that follows verifies the chain in full with `connectOptions`. Returns PEM.
 * Errors: `identity/wrong-server` when no certificate has the pinned key; `server/*`.
 */
export async function findAuthority(
  server: { readonly host: string; readonly port: number },
  pin: string,
  signal?: AbortSignal,
  proxies: Proxies = DIRECT,
): Promise<string> {
  const chain = await chainShownBy(server, signal, proxies);
  const found = chain.find((certificate) => certificate.ca && spkiOf(certificate) === pin);
  if (found !== undefined) return found.toString();
  throw new IdentityError(
    "identity/wrong-server",
    `The server at ${placeName(server)} is not the one this token is for: either somebody stands in between, or the address or the token is wrong. The token was not sent.`,
    { expected: pin, found: chain.map(spkiOf) },
    { hint: "Compare the address with that of the server where the token was made." },
  );
}

async function chainShownBy(
  server: { readonly host: string; readonly port: number },
  signal: AbortSignal | undefined,
  proxies: Proxies,
): Promise<readonly X509Certificate[]> {
  try {
    const stream = await openStream(server, { proxies, signal });
    const socket = await shake(stream, {
      servername: isIP(server.host) === 0 ? server.host : "",
      minVersion: "TLSv1.3",
      // Nothing is sent on this connection: it only collects the chain, and the pin decides whether that is used.
      rejectUnauthorized: false,
    });
    const chain = chainOf(socket.getPeerCertificate(true));
    socket.destroy();
    return chain;
  } catch (cause) {
    throw serverFailure(cause, server, signal);
  }
}

function chainOf(leaf: DetailedPeerCertificate): readonly X509Certificate[] {
  const chain: X509Certificate[] = [];
  let at: DetailedPeerCertificate | undefined = leaf;
  // A self-signed certificate is its own issuer.
  while (at?.raw !== undefined && chain.length < 8) {
    chain.push(new X509Certificate(at.raw));
    if (at.issuerCertificate === at) break;
    at = at.issuerCertificate;
  }
  return chain;
}

export function spkiOf(certificate: X509Certificate): string {
  return sha256Hex(certificate.publicKey.export({ type: "spki", format: "der" }));
}
