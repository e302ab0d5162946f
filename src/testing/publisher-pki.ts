// A publisher's certificates for tests: root, intermediate, code signing leaf and time-stamp authority, with any fault one asks for.

import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { DAY, type Instant } from "../core/instant.ts";
import type { X509Scheme } from "../der/algorithms.ts";
import type { KeyUsage } from "../der/extensions.ts";
import { buildCertificate } from "../der/issue.ts";
import { buildName } from "../der/names.ts";
import * as oids from "../der/oids.ts";
import type { Certificate } from "../der/x509.ts";
import { localSigner, type Signer } from "../keys/signer.ts";

export type TestKey = "rsa2048" | "rsa3072" | "rsa4096" | "p256" | "p384" | "ed25519";

export type Holder = {
  readonly certificate: Certificate;
  readonly signer: Signer;
  readonly privateKey: KeyObject;
};

export type PkiWish = {
  readonly key?: TestKey;
  readonly now: Instant;
  /** Further extensions, encoded by `writeExtension`. */
  readonly extensions?: {
    readonly root?: readonly Uint8Array[];
    readonly authority?: readonly Uint8Array[];
    readonly leaf?: readonly Uint8Array[];
  };
  /** Faults and variants of the leaf. */
  readonly leaf?: {
    readonly eku?: readonly string[];
    readonly keyUsage?: readonly KeyUsage[];
    readonly notBefore?: Instant;
    readonly notAfter?: Instant;
    readonly name?: string;
  };
  readonly authority?: {
    readonly ca?: boolean;
    readonly pathLength?: number;
    readonly keyUsage?: readonly KeyUsage[];
    readonly eku?: readonly string[];
  };
  readonly stamper?: {
    readonly eku?: readonly string[];
    readonly ekuCritical?: boolean;
    readonly notBefore?: Instant;
    readonly notAfter?: Instant;
  };
};

export type Pki = {
  readonly root: Holder;
  readonly authority: Holder;
  readonly leaf: Holder;
  readonly stamper: Holder;
};

/** The root and the authorities have P-256 keys, whatever the leaf has. */
export async function publisherPki(wish: PkiWish): Promise<Pki> {
  const { now } = wish;
  const long = { notBefore: now - 3650 * DAY, notAfter: now + 3650 * DAY };
  const root = await issue(null, "Test root", "p256", {
    ...long,
    ca: true,
    extensions: wish.extensions?.root ?? [],
  });
  const authority = await issue(root, "Test code signing authority", "p256", {
    ...long,
    ca:
      wish.authority?.ca === false
        ? false
        : wish.authority?.pathLength === undefined
          ? true
          : { pathLength: wish.authority.pathLength },
    ...(wish.authority?.keyUsage === undefined ? {} : { keyUsage: wish.authority.keyUsage }),
    ...(wish.authority?.eku === undefined ? {} : { eku: wish.authority.eku }),
    extensions: wish.extensions?.authority ?? [],
  });
  const leaf = await issue(authority, wish.leaf?.name ?? "Example Publisher", wish.key ?? "p256", {
    notBefore: wish.leaf?.notBefore ?? now - 30 * DAY,
    notAfter: wish.leaf?.notAfter ?? now + 300 * DAY,
    eku: wish.leaf?.eku ?? [oids.codeSigning],
    extensions: wish.extensions?.leaf ?? [],
    ...(wish.leaf?.keyUsage === undefined ? {} : { keyUsage: wish.leaf.keyUsage }),
  });
  const stamper = await issue(root, "Test time stamps", "rsa2048", {
    notBefore: wish.stamper?.notBefore ?? long.notBefore,
    notAfter: wish.stamper?.notAfter ?? long.notAfter,
    eku: wish.stamper?.eku ?? [oids.timeStamping],
    ekuCritical: wish.stamper?.ekuCritical ?? true,
  });
  return { root, authority, leaf, stamper };
}

let serial = 1;

/** One certificate and its key under an issuer, or self-signed. */
export async function issue(
  issuer: Holder | null,
  name: string,
  key: TestKey,
  values: {
    readonly notBefore: Instant;
    readonly notAfter: Instant;
    readonly ca?: boolean | { readonly pathLength: number };
    readonly eku?: readonly string[];
    readonly ekuCritical?: boolean;
    readonly keyUsage?: readonly KeyUsage[];
    readonly extensions?: readonly Uint8Array[];
  },
): Promise<Holder> {
  const { privateKey, signer } = testSigner(key);
  const certificate = await buildCertificate({
    ...values,
    serial: Uint8Array.of(0x10, serial >> 8, serial++ & 0xff),
    issuer: issuer === null ? { signer } : { certificate: issuer.certificate, signer: issuer.signer },
    subject: buildName([
      ["C", "DE"],
      ["O", "Example"],
      ["CN", name],
    ]),
    spki: signer.publicKey.spki,
  });
  return { certificate, signer, privateKey };
}

const RSA = new Map<TestKey, KeyObject>();

/** RSA keys take long to make and are shared by all tests of a run. */
export function testSigner(key: TestKey): { readonly privateKey: KeyObject; readonly signer: Signer } {
  const privateKey = testKey(key);
  return { privateKey, signer: localSigner(privateKey, SCHEMES[key]) };
}

const SCHEMES: { readonly [K in TestKey]: X509Scheme } = {
  rsa2048: "rsa-pkcs1v15-sha256",
  rsa3072: "rsa-pkcs1v15-sha256",
  rsa4096: "rsa-pkcs1v15-sha256",
  p256: "ecdsa-sha2-nistp256",
  p384: "ecdsa-sha2-nistp384",
  ed25519: "ed25519",
};

function testKey(key: TestKey): KeyObject {
  if (key === "ed25519") return generateKeyPairSync("ed25519").privateKey;
  if (key === "p256") return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  if (key === "p384") return generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey;
  const known =
    RSA.get(key) ?? generateKeyPairSync("rsa", { modulusLength: Number(key.slice(3)) }).privateKey;
  RSA.set(key, known);
  return createPrivateKey(known.export({ type: "pkcs8", format: "pem" }));
}
