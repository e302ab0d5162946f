// TLS 1.3 between parties that know each other by key: self-made certificates, identity is the SHA-256 of the public key.

import { createPrivateKey, type KeyObject, type X509Certificate } from "node:crypto";
import type { Duplex } from "node:stream";
import { connect, TLSSocket, type TlsOptions } from "node:tls";
import type { Clock } from "../../core/clock.ts";
import { sha256Hex } from "../../core/digest.ts";
import { DAY } from "../../core/instant.ts";
import type { Random } from "../../core/random.ts";
import { buildCertificate } from "../../der/issue.ts";
import { commonName } from "../../der/names.ts";
import { toPem } from "../../der/pem.ts";
import { publicKeyFromSpki, type PublicKey } from "../../keys/public-key.ts";
import { defaultScheme, type Scheme } from "../../keys/scheme.ts";
import { localSigner, type Signer } from "../../keys/signer.ts";
import { SigningError } from "../../signing/errors.ts";
import { openStream, timedOut } from "../connection/connect.ts";
import { connectionError, type Place } from "../connection/failure.ts";
import { DIRECT, type Proxies } from "../connection/proxies.ts";

export const HANDSHAKE_TIMEOUT = 5000;

/** A private key and a certificate that says no more than the key. */
export type Identity = {
  readonly signer: Signer;
  readonly spki: string;
  readonly key: string;
  readonly certificate: string;
};

/** Who is at the other end. */
export type PinnedPeer = { readonly spki: string; readonly publicKey: PublicKey };

/** The certificate is made anew at each start: nobody looks at anything but its key. */
export async function identityOf(privateKey: KeyObject, clock: Clock, random: Random): Promise<Identity> {
  const signer = localSigner(privateKey, schemeOf(privateKey));
  const certificate = await buildCertificate({
    serial: random.bytes(16).with(0, 1),
    issuer: { signer },
    subject: commonName("upkeep"),
    spki: signer.publicKey.spki,
    notBefore: clock.now() - DAY,
    notAfter: clock.now() + 3650 * DAY,
  });
  return {
    signer,
    spki: sha256Hex(signer.publicKey.spki),
    key: String(privateKey.export({ type: "pkcs8", format: "pem" })),
    certificate: toPem("CERTIFICATE", certificate.der),
  };
}

export function identityFromPem(pem: string, clock: Clock, random: Random): Promise<Identity> {
  return identityOf(createPrivateKey(pem), clock, random);
}

/** For both ends of a connection, and for listeners. */
export function serverOptions(identity: Identity): TlsOptions {
  return {
    key: identity.key,
    cert: identity.certificate,
    minVersion: "TLSv1.3",
    requestCert: true,
    // TLS proves that the peer holds the key of its certificate; whose key it is is decided by `peerOf` and its caller.
    rejectUnauthorized: false,
    handshakeTimeout: HANDSHAKE_TIMEOUT,
  };
}

/** The key at the other end of a completed handshake. Errors: `signing/wrong-peer`. */
export function peerOf(socket: TLSSocket, pin?: string): PinnedPeer {
  const certificate: X509Certificate | undefined = socket.getPeerX509Certificate();
  if (certificate === undefined || socket.getProtocol() !== "TLSv1.3" || socket.isSessionReused()) {
    throw new SigningError(
      "signing/wrong-peer",
      "The other side did not prove who it is with a fresh TLS 1.3 handshake.",
    );
  }
  const key = certificate.publicKey;
  const scheme = defaultScheme(key.asymmetricKeyType ?? "", key.asymmetricKeyDetails?.namedCurve);
  if (scheme === null)
    throw new SigningError("signing/wrong-peer", "The other side's key is of an unknown kind.");
  const publicKey = publicKeyFromSpki(new Uint8Array(key.export({ type: "spki", format: "der" })), scheme);
  const spki = sha256Hex(publicKey.spki);
  if (pin !== undefined && spki !== pin) {
    throw new SigningError(
      "signing/wrong-peer",
      "The other side has another key than the one that is expected: either it was replaced without notice, or somebody stands in between.",
      { expected: pin, found: spki },
    );
  }
  return { spki, publicKey };
}

/** Connects to a pinned peer, through a proxy where one is meant; nothing is sent before the pin held. Errors: `signing/unreachable`, `signing/wrong-peer`. */
export async function connectPinned(
  target: Place & { readonly pin: string },
  identity: Identity,
  proxies: Proxies = DIRECT,
): Promise<TLSSocket> {
  const { host, port, pin } = target;
  const begun = performance.now();
  try {
    const stream = await openStream({ host, port }, { proxies, timeout: HANDSHAKE_TIMEOUT });
    const left = Math.max(1, HANDSHAKE_TIMEOUT - (performance.now() - begun));
    return await handshake(stream, pin, identity, `${host}:${port}`, left);
  } catch (error) {
    if (error instanceof SigningError && error.code !== "signing/unreachable") throw error;
    const cause: unknown = error instanceof SigningError ? error.cause : error;
    const { message, facts, hint } = connectionError(cause, { host, port });
    const why = hint === undefined ? {} : { hint };
    throw new SigningError("signing/unreachable", message, { ...facts }, { cause, ...why });
  }
}

/** A client's handshake over any byte stream. */
export function handshake(
  stream: Duplex,
  pin: string,
  identity: Identity,
  where: string,
  timeout = HANDSHAKE_TIMEOUT,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      socket: stream,
      key: identity.key,
      cert: identity.certificate,
      minVersion: "TLSv1.3",
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    });
    const fail = (cause: unknown): void => {
      clearTimeout(timer);
      socket.destroy();
      stream.destroy();
      reject(
        cause instanceof SigningError
          ? cause
          : new SigningError("signing/unreachable", `No connection to ${where}.`, { where }, { cause }),
      );
    };
    const timer = setTimeout(() => fail(timedOut("the handshake took too long")), timeout);
    const cut = Object.assign(new Error("the connection was closed during the handshake"), {
      code: "ECONNRESET",
    });
    stream.once("error", fail);
    socket.once("error", fail);
    socket.once("close", () => fail(cut));
    socket.once("secureConnect", () => {
      try {
        peerOf(socket, pin);
      } catch (error) {
        return fail(error);
      }
      clearTimeout(timer);
      socket.removeAllListeners("close");
      socket.removeListener("error", fail);
      stream.removeListener("error", fail);
      resolve(socket);
    });
  });
}

/** A server's handshake over any byte stream. Errors: `signing/wrong-peer`, `signing/unreachable`. */
export function accept(
  stream: Duplex,
  identity: Identity,
): Promise<{ readonly socket: TLSSocket; readonly peer: PinnedPeer }> {
  return new Promise((resolve, reject) => {
    const socket = new TLSSocket(stream, { isServer: true, ...serverOptions(identity) });
    const fail = (cause: unknown): void => {
      clearTimeout(timer);
      socket.destroy();
      stream.destroy();
      reject(
        cause instanceof SigningError
          ? cause
          : new SigningError("signing/unreachable", "The inner handshake did not complete.", {}, { cause }),
      );
    };
    const timer = setTimeout(() => fail(new Error("the handshake took too long")), HANDSHAKE_TIMEOUT);
    stream.once("error", fail);
    socket.once("error", fail);
    socket.once("close", () => fail(new Error("the connection was closed during the handshake")));
    socket.once("secure", () => {
      try {
        const peer = peerOf(socket);
        clearTimeout(timer);
        socket.removeAllListeners("close");
        socket.removeListener("error", fail);
        stream.removeListener("error", fail);
        resolve({ socket, peer });
      } catch (error) {
        fail(error);
      }
    });
  });
}

function schemeOf(key: KeyObject): Scheme {
  const scheme = defaultScheme(key.asymmetricKeyType ?? "", key.asymmetricKeyDetails?.namedCurve);
  if (scheme !== "ed25519" && scheme !== "ecdsa-sha2-nistp256" && scheme !== "ecdsa-sha2-nistp384") {
    throw new SigningError("signing/wrong-peer", "An identity is an Ed25519, P-256 or P-384 key.");
  }
  return scheme;
}

/** `host:port`, IPv6 in brackets. */
export function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(address.slice(at + 1)) };
}
