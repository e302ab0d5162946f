// Who signs: a key with the certificate for it and the certificates above, gathered from files.

import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { equalBytes } from "../core/bytes.ts";
import { formatInstant, type Instant } from "../core/instant.ts";
import { DerError } from "../der/errors.ts";
import { formatName, type Name } from "../der/names.ts";
import { parsePem } from "../der/pem.ts";
import { children, parseDer } from "../der/reader.ts";
import { INTEGER, OID } from "../der/tags.ts";
import { fingerprint, parseCertificate, type Certificate } from "../der/x509.ts";
import { KeyError } from "../keys/errors.ts";
import { isScheme, type Scheme } from "../keys/scheme.ts";
import { localSigner, type Signer } from "../keys/signer.ts";
import { parseSignedData } from "./cms.ts";
import { ArtifactError } from "./errors.ts";
import { openPkcs12 } from "./pkcs12.ts";

export type SigningIdentity = {
  readonly certificate: Certificate;
  /** Other certificates that came along. */
  readonly chain: readonly Certificate[];
  readonly signer: Signer;
};

/** What a file holds that is of use here. */
export type KeyMaterial = {
  readonly keys: readonly KeyObject[];
  readonly certificates: readonly Certificate[];
};

/** Asked only when a file turns out to be encrypted. */
export type AskPassphrase = () => Promise<string>;

/** Reads PEM, PKCS#12, a bare DER certificate or key, or a PKCS#7 bag of certificates. Errors: `artifact/bad-key`, `artifact/bad-certificate`. */
export async function readKeyMaterial(bytes: Uint8Array, passphrase: AskPassphrase): Promise<KeyMaterial> {
  const text = Buffer.from(bytes).toString("latin1");
  if (text.includes("-----BEGIN ")) return readPem(text, passphrase);
  if (isPkcs12(bytes)) return openPkcs12(bytes, await passphrase());
  try {
    const [first] = children(parseDer(bytes));
    if (first?.tag === OID) return { keys: [], certificates: parseSignedData(bytes).certificates };
    if (first?.tag === INTEGER)
      return {
        keys: [createPrivateKey({ key: Buffer.from(bytes), format: "der", type: "pkcs8" })],
        certificates: [],
      };
    return { keys: [], certificates: [parseCertificate(bytes)] };
  } catch (cause) {
    throw new ArtifactError(
      "artifact/bad-certificate",
      "The file holds neither PEM nor PKCS#12 nor a certificate or key in DER.",
      {},
      { cause },
    );
  }
}

/** PFX ::= SEQUENCE { INTEGER 3, SEQUENCE ContentInfo, ... }, often in BER. */
function isPkcs12(bytes: Uint8Array): boolean {
  const at = bytes[1] === undefined || bytes[1] <= 0x80 ? 2 : 2 + (bytes[1] & 0x7f);
  return bytes[0] === 0x30 && bytes[at] === INTEGER && bytes[at + 1] === 1 && bytes[at + 2] === 3;
}

async function readPem(text: string, passphrase: AskPassphrase): Promise<KeyMaterial> {
  const keys: KeyObject[] = [];
  // An old-style encrypted key has header lines, which strict PEM has not; those blocks go to OpenSSL as they are.
  const keyBlocks = text.match(/-----BEGIN ([A-Z ]*PRIVATE KEY)-----[\s\S]*?-----END \1-----/g) ?? [];
  for (const block of keyBlocks) {
    const encrypted = block.includes("ENCRYPTED");
    try {
      keys.push(
        createPrivateKey(encrypted ? { key: block, format: "pem", passphrase: await passphrase() } : block),
      );
    } catch (cause) {
      if (cause instanceof ArtifactError) throw cause;
      throw new ArtifactError(
        "artifact/bad-key",
        encrypted ? "The passphrase does not open the private key." : "The private key cannot be read.",
        {},
        { cause },
      );
    }
  }
  const rest = keyBlocks.reduce((left, block) => left.replace(block, ""), text);
  try {
    const blocks = parsePem(rest);
    const certificates = blocks
      .filter((block) => block.label === "CERTIFICATE")
      .map((block) => parseCertificate(block.der));
    const bags = blocks
      .filter((block) => block.label === "PKCS7" || block.label === "CMS")
      .flatMap((block) => parseSignedData(block.der).certificates);
    return { keys, certificates: [...certificates, ...bags] };
  } catch (cause) {
    if (cause instanceof DerError)
      throw new ArtifactError("artifact/bad-certificate", cause.message, {}, { cause });
    throw cause;
  }
}

/** How a user names one certificate among several. */
export type CertificateChoice = {
  /** A part of the subject's text. */
  readonly subject?: string;
  /** A part of the issuer's text. */
  readonly issuer?: string;
  /** Digests of the whole certificate, hex, any case, as other tools show them. */
  readonly sha1?: string;
  readonly sha256?: string;
  /** Signing with a certificate that has ended, or not begun, is refused unless this is set. */
  readonly allowExpired?: boolean;
};

/** Finds the certificate for the key, and checks that it is the one that was meant. Errors: `artifact/bad-certificate`. */
export function chooseIdentity(
  signer: Signer,
  certificates: readonly Certificate[],
  choice: CertificateChoice,
  now: Instant,
): SigningIdentity {
  const own = certificates.filter((certificate) => equalBytes(certificate.spki, signer.publicKey.spki));
  if (own.length === 0)
    throw new ArtifactError(
      "artifact/bad-certificate",
      "None of the certificates is for the key that is to sign.",
      { certificates: certificates.map((certificate) => formatName(certificate.subject)) },
    );
  const fits = own.filter((certificate) => isChosen(certificate, choice));
  if (fits.length === 0)
    throw new ArtifactError(
      "artifact/bad-certificate",
      "The certificate is not the one that was asked for.",
      { certificates: own.map((certificate) => formatName(certificate.subject)) },
    );
  // After a renewal with the same key both certificates may lie in one file: the one that lasts longest signs.
  const certificate = fits.toSorted((a, b) => b.notAfter - a.notAfter)[0]!;
  if (choice.allowExpired !== true && (now > certificate.notAfter || now < certificate.notBefore)) {
    throw new ArtifactError(
      "artifact/bad-certificate",
      `The certificate is valid from ${formatInstant(certificate.notBefore)} to ${formatInstant(certificate.notAfter)}, not now: every verification would refuse its signatures.`,
      { subject: formatName(certificate.subject) },
      { hint: "Use the renewed certificate, or --allow-expired for a test." },
    );
  }
  return { certificate, chain: certificates.filter((other) => other !== certificate), signer };
}

/** Whether this is the certificate that a user named. */
export function isChosen(certificate: Certificate, choice: CertificateChoice): boolean {
  const digest = (text: string): string => text.replace(/[\s:]/g, "").toLowerCase();
  const holds = (name: Name, part: string): boolean =>
    formatName(name).toLowerCase().includes(part.toLowerCase());
  if (choice.subject !== undefined && !holds(certificate.subject, choice.subject)) return false;
  if (choice.issuer !== undefined && !holds(certificate.issuer, choice.issuer)) return false;
  if (choice.sha1 !== undefined && fingerprint(certificate, "sha1") !== digest(choice.sha1)) return false;
  return choice.sha256 === undefined || fingerprint(certificate) === digest(choice.sha256);
}

/** A signer over a private key of a file: RSA as PKCS#1 v1.5, EC by its curve. Errors: `artifact/bad-key`. */
export function signerOf(privateKey: KeyObject): Signer {
  const details = privateKey.asymmetricKeyDetails ?? {};
  const scheme =
    privateKey.asymmetricKeyType === "rsa"
      ? "rsa-pkcs1v15-sha256"
      : privateKey.asymmetricKeyType === "ec"
        ? CURVES[details.namedCurve ?? ""]
        : privateKey.asymmetricKeyType;
  if (scheme === undefined || !isScheme(scheme)) {
    throw new ArtifactError(
      "artifact/bad-key",
      `A key of the kind ${privateKey.asymmetricKeyType ?? "unknown"} ${details.namedCurve ?? ""} cannot sign files.`.replace(
        "  ",
        " ",
      ),
      {},
    );
  }
  try {
    return localSigner(privateKey, scheme);
  } catch (cause) {
    if (cause instanceof KeyError) throw new ArtifactError("artifact/bad-key", cause.message, {}, { cause });
    throw cause;
  }
}

const CURVES: { readonly [curve: string]: Scheme } = {
  prime256v1: "ecdsa-sha2-nistp256",
  secp384r1: "ecdsa-sha2-nistp384",
  secp521r1: "ecdsa-sha2-nistp521",
};

/** The private key among several that has a certificate here; the only one if there are no certificates. Errors: `artifact/bad-key`. */
export function chooseKey(keys: readonly KeyObject[], certificates: readonly Certificate[]): KeyObject {
  const spki = (key: KeyObject): Uint8Array =>
    new Uint8Array(createPublicKey(key).export({ type: "spki", format: "der" }));
  const fitting =
    keys.find((key) => certificates.some((certificate) => equalBytes(certificate.spki, spki(key)))) ??
    (keys.length === 1 ? keys[0] : undefined);
  if (fitting === undefined) {
    throw new ArtifactError(
      "artifact/bad-key",
      keys.length === 0
        ? "There is no private key in what was given."
        : "No private key goes with the certificates that were given.",
      {},
      { hint: "--key FILE names the private key." },
    );
  }
  return fitting;
}
