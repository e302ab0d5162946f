// Google Cloud KMS, Azure Key Vault and HashiCorp Vault transit: their sign calls, and how each gets its bearer token.

import { createPrivateKey, sign } from "node:crypto";
import { toBase64, toBase64Url, toUtf8 } from "../../../core/bytes.ts";
import { HOUR, type Instant } from "../../../core/instant.ts";
import type { Scheme } from "../../../keys/scheme.ts";
import { SigningError } from "../../errors.ts";
import { hashOfScheme, type KmsOrder, type KmsRequest } from "./request.ts";

const JSON_TYPE = { "content-type": "application/json" } as const;

/** A service account's JSON key file. */
export type GoogleCredentials = {
  readonly client_email: string;
  readonly private_key: string;
  readonly token_uri: string;
};

/** RFC 7523: a signed assertion for an access token. */
export function googleToken(credentials: GoogleCredentials, now: Instant): KmsRequest {
  const seconds = Math.floor(now / 1000);
  const claims = {
    iss: credentials.client_email,
    scope: "https://www.googleapis.com/auth/cloudkms",
    aud: credentials.token_uri,
    iat: seconds,
    exp: seconds + HOUR / 1000,
  };
  const part = (value: object): string => toBase64Url(toUtf8(JSON.stringify(value)));
  const signed = `${part({ alg: "RS256", typ: "JWT" })}.${part(claims)}`;
  const signature = sign("sha256", Buffer.from(signed), createPrivateKey(credentials.private_key));
  return {
    method: "POST",
    url: credentials.token_uri,
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
      assertion: `${signed}.${toBase64Url(new Uint8Array(signature))}`,
    }).toString(),
  };
}

/** cryptoKeyVersions.asymmetricSign; the version's own algorithm decides padding. */
export function googleSign(
  order: KmsOrder,
  given: { readonly resource: string; readonly endpoint?: string; readonly token: string },
): KmsRequest {
  const hash = hashOfScheme(order.scheme);
  return {
    method: "POST",
    url: `${given.endpoint ?? "https://cloudkms.googleapis.com"}/v1/${given.resource}:asymmetricSign`,
    headers: { ...JSON_TYPE, authorization: `Bearer ${given.token}` },
    body: JSON.stringify(
      hash === null ? { data: toBase64(order.message) } : { digest: { [hash]: toBase64(order.digest) } },
    ),
  };
}

export type AzureCredentials = { readonly clientId: string; readonly clientSecret: string };

/** OAuth 2.0 client credentials (RFC 6749 4.4). */
export function azureToken(
  credentials: AzureCredentials,
  given: { readonly tenant: string; readonly authority?: string },
): KmsRequest {
  return {
    method: "POST",
    url: `${given.authority ?? "https://login.microsoftonline.com"}/${given.tenant}/oauth2/v2.0/token`,
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({
      grant_type: "client_credentials",
      client_id: credentials.clientId,
      client_secret: credentials.clientSecret,
      scope: "https://vault.azure.net/.default",
    }).toString(),
  };
}

/** RFC 7518 section 3.1 names. Azure returns ECDSA as r || s. */
const JOSE: { readonly [S in Scheme]?: string } = {
  "ecdsa-sha2-nistp256": "ES256",
  "ecdsa-sha2-nistp384": "ES384",
  "ecdsa-sha2-nistp521": "ES512",
  "rsassa-pss-sha256": "PS256",
  "rsassa-pss-sha384": "PS384",
  "rsassa-pss-sha512": "PS512",
  "rsa-pkcs1v15-sha256": "RS256",
  "rsa-pkcs1v15-sha384": "RS384",
  "rsa-pkcs1v15-sha512": "RS512",
};

export function azureSign(
  order: KmsOrder,
  given: { readonly vault: string; readonly key: string; readonly version: string; readonly token: string },
): KmsRequest {
  const algorithm = JOSE[order.scheme];
  if (algorithm === undefined) {
    throw new SigningError("signing/key-failed", `Azure Key Vault does not sign with ${order.scheme}.`, {
      scheme: order.scheme,
    });
  }
  return {
    method: "POST",
    url: `${given.vault.replace(/\/$/, "")}/keys/${given.key}/${given.version}/sign?api-version=7.4`,
    headers: { ...JSON_TYPE, authorization: `Bearer ${given.token}` },
    body: JSON.stringify({ alg: algorithm, value: toBase64Url(order.digest) }),
  };
}

/** `POST /v1/<mount>/sign/<key>`; Ed25519 takes the message, the others the digest. */
export function vaultSign(
  order: KmsOrder,
  given: {
    readonly address: string;
    readonly mount: string;
    readonly key: string;
    readonly version: number;
    readonly token: string;
  },
): KmsRequest {
  const hash = hashOfScheme(order.scheme);
  const rsa = order.scheme.startsWith("rsa");
  return {
    method: "POST",
    url: `${given.address.replace(/\/$/, "")}/v1/${given.mount}/sign/${given.key}`,
    headers: { ...JSON_TYPE, "x-vault-token": given.token },
    body: JSON.stringify({
      input: toBase64(hash === null ? order.message : order.digest),
      key_version: given.version,
      ...(hash === null ? {} : { prehashed: true, hash_algorithm: hash.replace("sha", "sha2-") }),
      ...(rsa
        ? {
            signature_algorithm: order.scheme.startsWith("rsassa-pss") ? "pss" : "pkcs1v15",
            salt_length: "hash",
          }
        : {}),
      marshaling_algorithm: "asn1",
    }),
  };
}

/** `vault:v<version>:<base64>` */
export function vaultSignature(text: string, version: number): Uint8Array | null {
  const match = /^vault:v(\d+):([A-Za-z0-9+/]+={0,2})$/.exec(text);
  return match === null || Number(match[1]) !== version
    ? null
    : new Uint8Array(Buffer.from(match[2]!, "base64"));
}

/** r || s as ECDSA-Sig-Value (RFC 3279 2.2.3). */
export function derOfJoseEcdsa(signature: Uint8Array): Uint8Array {
  const half = signature.length / 2;
  const integer = (bytes: Uint8Array): number[] => {
    let at = 0;
    while (at < bytes.length - 1 && bytes[at] === 0) at++;
    const rest = [...bytes.subarray(at)];
    if (rest[0]! >= 0x80) rest.unshift(0);
    return [0x02, rest.length, ...rest];
  };
  const body = [...integer(signature.subarray(0, half)), ...integer(signature.subarray(half))];
  return Uint8Array.from(
    body.length < 128 ? [0x30, body.length, ...body] : [0x30, 0x81, body.length, ...body],
  );
}
