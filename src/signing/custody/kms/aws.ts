// AWS KMS: the Sign call, and AWS Signature Version 4 over it.

import { createHash, createHmac } from "node:crypto";
import { toBase64, toHex } from "../../../core/bytes.ts";
import { sha256Hex } from "../../../core/digest.ts";
import type { Instant } from "../../../core/instant.ts";
import type { Scheme } from "../../../keys/scheme.ts";
import { SigningError } from "../../errors.ts";
import { hashOfScheme, type KmsOrder, type KmsRequest } from "./request.ts";

export type AwsCredentials = {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
};

/** `date` is the request's instant. AWS General Reference, "Create a signed AWS API request". */
export function signV4(
  request: KmsRequest,
  given: {
    readonly region: string;
    readonly service: string;
    readonly credentials: AwsCredentials;
    readonly now: Instant;
  },
): KmsRequest {
  const { region, service, credentials, now } = given;
  const url = new URL(request.url);
  const stamp = new Date(now).toISOString().replace(/[-:]|\.\d{3}/g, "");
  const day = stamp.slice(0, 8);
  const headers: { [name: string]: string } = {
    ...request.headers,
    host: url.host,
    "x-amz-date": stamp,
    ...(credentials.sessionToken === undefined ? {} : { "x-amz-security-token": credentials.sessionToken }),
  };
  const names = Object.keys(headers)
    .map((name) => name.toLowerCase())
    .sort();
  const lower = new Map(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value.trim().replace(/\s+/g, " ")]),
  );
  const query = [...url.searchParams]
    .map(([name, value]) => [escape(name), escape(value)] as const)
    .sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
  const canonical = [
    request.method,
    url.pathname,
    query,
    ...names.map((name) => `${name}:${lower.get(name)!}`),
    "",
    names.join(";"),
    sha256Hex(Buffer.from(request.body)),
  ].join("\n");
  const scope = `${day}/${region}/${service}/aws4_request`;
  const toSign = ["AWS4-HMAC-SHA256", stamp, scope, sha256Hex(Buffer.from(canonical))].join("\n");
  const key = [day, region, service, "aws4_request"].reduce<Uint8Array>(
    (above, part) => new Uint8Array(createHmac("sha256", above).update(part).digest()),
    Buffer.from(`AWS4${credentials.secretAccessKey}`),
  );
  const signature = toHex(new Uint8Array(createHmac("sha256", key).update(toSign).digest()));
  return {
    ...request,
    headers: {
      ...headers,
      authorization: `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${scope}, SignedHeaders=${names.join(";")}, Signature=${signature}`,
    },
  };
}

/** RFC 3986 unreserved characters stay. */
function escape(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

const ALGORITHMS: { readonly [S in Scheme]?: string } = {
  "ecdsa-sha2-nistp256": "ECDSA_SHA_256",
  "ecdsa-sha2-nistp384": "ECDSA_SHA_384",
  "ecdsa-sha2-nistp521": "ECDSA_SHA_512",
  "rsassa-pss-sha256": "RSASSA_PSS_SHA_256",
  "rsassa-pss-sha384": "RSASSA_PSS_SHA_384",
  "rsassa-pss-sha512": "RSASSA_PSS_SHA_512",
  "rsa-pkcs1v15-sha256": "RSASSA_PKCS1_V1_5_SHA_256",
  "rsa-pkcs1v15-sha384": "RSASSA_PKCS1_V1_5_SHA_384",
  "rsa-pkcs1v15-sha512": "RSASSA_PKCS1_V1_5_SHA_512",
};

/** Errors: `signing/key-failed` for a scheme that AWS KMS has not. */
export function awsSign(
  order: KmsOrder,
  given: {
    readonly region: string;
    readonly keyId: string;
    readonly endpoint?: string;
    readonly credentials: AwsCredentials;
    readonly now: Instant;
  },
): KmsRequest {
  const algorithm = ALGORITHMS[order.scheme];
  if (algorithm === undefined || hashOfScheme(order.scheme) === null) {
    throw new SigningError("signing/key-failed", `AWS KMS does not sign with ${order.scheme}.`, {
      scheme: order.scheme,
    });
  }
  const body = JSON.stringify({
    KeyId: given.keyId,
    Message: toBase64(order.digest),
    MessageType: "DIGEST",
    SigningAlgorithm: algorithm,
  });
  return signV4(
    {
      method: "POST",
      url: given.endpoint ?? `https://kms.${given.region}.amazonaws.com/`,
      headers: { "content-type": "application/x-amz-json-1.1", "x-amz-target": "TrentService.Sign" },
      body,
    },
    { region: given.region, service: "kms", credentials: given.credentials, now: given.now },
  );
}

/** The digest that the services want. */
export function digestBytes(hash: "sha256" | "sha384" | "sha512", message: Uint8Array): Uint8Array {
  return new Uint8Array(createHash(hash).update(message).digest());
}
