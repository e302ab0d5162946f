// PKCS#12 files (RFC 7292): one private key with its certificates, under a passphrase.

import { createHmac, createPrivateKey, type KeyObject } from "node:crypto";
import { equalBytes } from "../core/bytes.ts";
import { readHashIdentifier, readIdentifier } from "../der/algorithms.ts";
import { berToDer } from "../der/ber.ts";
import { DerError } from "../der/errors.ts";
import * as oids from "../der/oids.ts";
import {
  children,
  content,
  encoded,
  Fields,
  parseDer,
  readOctets,
  readOid,
  readSmallInteger,
  type Der,
} from "../der/reader.ts";
import { context, contextOf, INTEGER, OCTET_STRING, SEQUENCE } from "../der/tags.ts";
import { parseCertificate, type Certificate } from "../der/x509.ts";
import { decrypt, derive, pkcs12Kdf, readIterations } from "./_pbe.ts";
import { ArtifactError } from "./errors.ts";

const LIMIT = 1024 * 1024;
const PBMAC1 = "1.2.840.113549.1.5.14";
const KEY_BAG = "1.2.840.113549.1.12.10.1.1";
const SHROUDED_KEY_BAG = "1.2.840.113549.1.12.10.1.2";
const CERTIFICATE_BAG = "1.2.840.113549.1.12.10.1.3";
const SAFE_CONTENTS_BAG = "1.2.840.113549.1.12.10.1.6";
const X509_CERTIFICATE = "1.2.840.113549.1.9.22.1";

export type Pkcs12 = { readonly keys: readonly KeyObject[]; readonly certificates: readonly Certificate[] };

/**
 * Opens a file whose integrity the passphrase proves; a file without MAC is refused. BER is accepted, as Windows and Java write it.
 * Errors: `artifact/bad-key` (also for a wrong passphrase), `artifact/unsupported`.
 */
export function openPkcs12(bytes: Uint8Array, passphrase: string): Pkcs12 {
  if (bytes.length > LIMIT) throw bad(`it has more than ${LIMIT} bytes`);
  try {
    const fields = new Fields(parseDer(berToDer(bytes)));
    if (readSmallInteger(fields.take(INTEGER)) !== 3) throw bad("it is of another version than 3");
    const safe = dataOf(fields.take(SEQUENCE));
    const mac = fields.optional(SEQUENCE);
    fields.done();
    if (mac === null) throw bad("it has no MAC, so changes to it cannot be detected");
    checkMac(mac, safe, passphrase);
    const found = { keys: [] as KeyObject[], certificates: [] as Certificate[] };
    for (const info of children(parseDer(safe))) readBags(openSafe(info, passphrase), passphrase, found, 0);
    return found;
  } catch (cause) {
    if (cause instanceof DerError) throw bad(cause.message, cause);
    throw cause;
  }
}

/** The octets inside a ContentInfo of the type data. */
function dataOf(info: Der): Uint8Array {
  const fields = new Fields(info);
  const type = readOid(fields.take());
  if (type !== oids.data) throw bad(`it is protected in a way (${type}) that is not supported`);
  const value = fields.optionalExplicit(0);
  if (value === null) throw bad("it is empty");
  return readOctets(value);
}

/** RFC 7292 section 4 and appendix B; RFC 9579 for PBMAC1. */
function checkMac(mac: Der, safe: Uint8Array, passphrase: string): void {
  const fields = new Fields(mac);
  const info = new Fields(fields.take(SEQUENCE));
  const algorithm = info.take(SEQUENCE);
  const wanted = readOctets(info.take(OCTET_STRING));
  const salt = readOctets(fields.take(OCTET_STRING));
  const iterations = fields.more ? readIterations(fields.take()) : 1;
  const actual =
    readIdentifier(algorithm).dotted === PBMAC1
      ? pbmac1(algorithm, safe, passphrase)
      : classicMac(algorithm, salt, iterations, safe, passphrase);
  if (!equalBytes(actual, wanted)) {
    throw new ArtifactError(
      "artifact/bad-key",
      "The passphrase does not open the PKCS#12 file, or the file was changed.",
      {},
      { hint: "UPKEEP_CERT_PASSWORD, --password-file or the prompt give the passphrase." },
    );
  }
}

function classicMac(
  algorithm: Der,
  salt: Uint8Array,
  iterations: number,
  safe: Uint8Array,
  passphrase: string,
): Uint8Array {
  const hash = readHashIdentifier(algorithm);
  if (hash !== "sha1" && hash !== "sha256" && hash !== "sha384" && hash !== "sha512")
    throw bad(`its MAC uses ${hash}`);
  const length = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 }[hash];
  const key = pkcs12Kdf(hash, 3, passphrase, salt, iterations, length);
  return new Uint8Array(createHmac(hash, key).update(safe).digest());
}

function pbmac1(algorithm: Der, safe: Uint8Array, passphrase: string): Uint8Array {
  const { parameters } = readIdentifier(algorithm);
  if (parameters === null) throw bad("its MAC has no parameters");
  const fields = new Fields(parameters);
  const derivation = fields.take(SEQUENCE);
  const scheme = readIdentifier(fields.take(SEQUENCE)).dotted;
  const hash = {
    "1.2.840.113549.2.9": "sha256",
    "1.2.840.113549.2.10": "sha384",
    "1.2.840.113549.2.11": "sha512",
  }[scheme];
  if (hash === undefined) throw bad("its MAC is of a kind that is not supported");
  const key = derive(derivation, passphrase, { sha256: 32, sha384: 48, sha512: 64 }[hash]!);
  return new Uint8Array(createHmac(hash, key).update(safe).digest());
}

/** SafeContents of one ContentInfo, decrypted if need be. */
function openSafe(info: Der, passphrase: string): Der {
  const type = readOid(children(info)[0]!);
  if (type !== oids.encryptedData) return parseDer(dataOf(info));
  const outer = new Fields(info);
  outer.take();
  const encrypted = outer.optionalExplicit(0);
  if (encrypted === null) throw bad("an encrypted part is empty");
  const fields = new Fields(encrypted);
  readSmallInteger(fields.take(INTEGER));
  const inner = new Fields(fields.take(SEQUENCE));
  inner.take();
  const algorithm = inner.take(SEQUENCE);
  const value = inner.take();
  // [0] IMPLICIT OCTET STRING, which BER writers cut into pieces.
  const data =
    value.tag === context(0)
      ? content(value)
      : value.tag === contextOf(0)
        ? Buffer.concat(children(value).map(readOctets))
        : null;
  if (data === null) throw bad("an encrypted part has no data");
  return parseDer(opened(algorithm, new Uint8Array(data), passphrase));
}

function opened(algorithm: Der, data: Uint8Array, passphrase: string): Uint8Array {
  const plain = decrypt(algorithm, data, passphrase);
  if (plain === null) throw bad("a part of it cannot be decrypted with this passphrase");
  return plain;
}

function readBags(
  safe: Der,
  passphrase: string,
  into: { keys: KeyObject[]; certificates: Certificate[] },
  depth: number,
): void {
  if (depth > 4) throw bad("its parts are nested too deep");
  for (const bag of children(safe)) {
    const fields = new Fields(bag);
    const kind = readOid(fields.take());
    const value = fields.optionalExplicit(0);
    if (value === null) throw bad("a part of it is empty");
    if (kind === CERTIFICATE_BAG) {
      const pair = new Fields(value);
      if (readOid(pair.take()) !== X509_CERTIFICATE) continue;
      const der = pair.optionalExplicit(0);
      if (der !== null) into.certificates.push(parseCertificate(readOctets(der)));
    } else if (kind === KEY_BAG) into.keys.push(privateKey(encoded(value)));
    else if (kind === SHROUDED_KEY_BAG) {
      const pair = new Fields(value);
      const algorithm = pair.take(SEQUENCE);
      into.keys.push(privateKey(opened(algorithm, readOctets(pair.take(OCTET_STRING)), passphrase)));
    } else if (kind === SAFE_CONTENTS_BAG) readBags(value, passphrase, into, depth + 1);
  }
}

function privateKey(pkcs8: Uint8Array): KeyObject {
  try {
    return createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  } catch (cause) {
    throw bad("its private key cannot be read", cause);
  }
}

function bad(what: string, cause?: unknown): ArtifactError {
  return new ArtifactError(
    "artifact/bad-key",
    `The PKCS#12 file cannot be used: ${what}`.replace(/\.?$/, "."),
    {},
    { cause },
  );
}
