// Tests of the key services against a double that checks the signature or token of each request before it signs.

import assert from "node:assert/strict";
import {
  createHash,
  createHmac,
  generateKeyPairSync,
  sign,
  verify,
  constants,
  type KeyObject,
} from "node:crypto";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, it } from "node:test";
import type { KeyConfig } from "../../signing/policy/config.ts";
import { signV4 } from "../../signing/custody/kms/aws.ts";
import { derOfJoseEcdsa } from "../../signing/custody/kms/others.ts";
import { kmsSigner } from "./kms.ts";

const ec = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const other = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const spki = (key: KeyObject): Uint8Array => new Uint8Array(key.export({ type: "spki", format: "der" }));
const AWS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
const account = generateKeyPairSync("rsa", { modulusLength: 2048 });
const common = { "also-schemes": [] as KeyConfig["also-schemes"], parallel: 4 };

let server: Server;
let base: string;
/** What the double signs digests with; a test swaps it. */
let signing: KeyObject = ec.privateKey;

/** Independent of the client's code: the request as it arrived, its signature computed again. */
function awsSignatureHolds(request: IncomingMessage, body: string): boolean {
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/((\d{8})\/([^/]+)\/([^/]+)\/aws4_request), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
      request.headers.authorization ?? "",
    );
  if (match === null || match[1] !== AWS.accessKeyId) return false;
  const [, , scope, day, region, service, names, signature] = match as unknown as string[];
  const hash = (text: string): string => createHash("sha256").update(text).digest("hex");
  const canonical = `${request.method}\n/\n\n${names!
    .split(";")
    .map((n) => `${n}:${String(request.headers[n])}\n`)
    .join("")}\n${names}\n${hash(body)}`;
  const text = `AWS4-HMAC-SHA256\n${String(request.headers["x-amz-date"])}\n${scope}\n${hash(canonical)}`;
  const mac = (key: string | Buffer, part: string): Buffer => createHmac("sha256", key).update(part).digest();
  const key = mac(mac(mac(mac(`AWS4${AWS.secretAccessKey}`, day!), region!), service!), "aws4_request");
  return (
    mac(key, text).toString("hex") === signature && names!.includes("x-amz-target") && names!.includes("host")
  );
}

/** ECDSA over a digest is made here by finding the message it came from: the double is told it by the test. */
const messages = new Map<string, Buffer>();
function signDigest(digest: Buffer, jose = false): Buffer {
  const message = messages.get(digest.toString("hex"));
  assert.ok(message !== undefined, "the digest of another message was sent");
  return sign("sha256", message, {
    key: signing,
    dsaEncoding: jose ? "ieee-p1363" : "der",
    padding: constants.RSA_PKCS1_PADDING,
  });
}

function answer(request: IncomingMessage, body: string): object | null {
  const json = (): { [name: string]: string } => JSON.parse(body) as { [name: string]: string };
  const { url, headers } = request;
  if (headers["x-amz-target"] === "TrentService.Sign") {
    if (!awsSignatureHolds(request, body)) return null;
    const { Message, MessageType, SigningAlgorithm } = json();
    assert.deepEqual([MessageType, SigningAlgorithm], ["DIGEST", "ECDSA_SHA_256"]);
    return { Signature: signDigest(Buffer.from(Message!, "base64")).toString("base64") };
  }
  if (url === "/token") {
    const [head, claims, signature] = new URLSearchParams(body).get("assertion")!.split(".");
    const good = verify(
      "sha256",
      Buffer.from(`${head}.${claims}`),
      account.publicKey,
      Buffer.from(signature!, "base64url"),
    );
    return good ? { access_token: "google-token", expires_in: 3600 } : null;
  }
  if (url === "/tenant-1/oauth2/v2.0/token") {
    return new URLSearchParams(body).get("client_secret") === "azure secret"
      ? { access_token: "azure-token", expires_in: 3600 }
      : null;
  }
  if (url!.endsWith(":asymmetricSign")) {
    if (headers.authorization !== "Bearer google-token") return null;
    const { digest } = JSON.parse(body) as { digest: { sha256: string } };
    return { signature: signDigest(Buffer.from(digest.sha256, "base64")).toString("base64") };
  }
  if (url!.startsWith("/keys/release/v1/sign")) {
    if (headers.authorization !== "Bearer azure-token" || json()["alg"] !== "ES256") return null;
    return { value: signDigest(Buffer.from(json()["value"]!, "base64url"), true).toString("base64url") };
  }
  if (url === "/v1/transit/sign/release") {
    if (headers["x-vault-token"] !== "vault-token") return null;
    const { input, signature_algorithm, prehashed } = JSON.parse(body) as {
      input: string;
      signature_algorithm: string;
      prehashed: boolean;
    };
    assert.ok(prehashed && signature_algorithm === "pkcs1v15");
    return { data: { signature: `vault:v3:${signDigest(Buffer.from(input, "base64")).toString("base64")}` } };
  }
  return null;
}

before(async () => {
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (part: Buffer) => (body += part.toString()));
    request.on("end", () => {
      const said = answer(request, body);
      response.writeHead(said === null ? 403 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify(said ?? { error: "not allowed" }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => server.close());

const message = Buffer.from("signed attributes");
messages.set(createHash("sha256").update(message).digest("hex"), message);
type Kms = Parameters<typeof kmsSigner>[0];
const rows = (): readonly (readonly [string, Kms, string, KeyObject, KeyObject])[] => [
  [
    "AWS KMS",
    {
      custody: "aws-kms",
      scheme: "ecdsa-sha2-nistp256",
      ...common,
      region: "eu-central-1",
      "key-id": "k",
      endpoint: `${base}/`,
      credentials: "sealed",
    },
    JSON.stringify(AWS),
    ec.privateKey,
    ec.publicKey,
  ],
  [
    "Google Cloud KMS",
    {
      custody: "google-kms",
      scheme: "ecdsa-sha2-nistp256",
      ...common,
      resource: "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
      endpoint: base,
      credentials: "sealed",
    },
    JSON.stringify({
      client_email: "a@b",
      private_key: account.privateKey.export({ type: "pkcs8", format: "pem" }),
      token_uri: `${base}/token`,
    }),
    ec.privateKey,
    ec.publicKey,
  ],
  [
    "Azure Key Vault",
    {
      custody: "azure-key-vault",
      scheme: "ecdsa-sha2-nistp256",
      ...common,
      vault: base,
      key: "release",
      version: "v1",
      tenant: "tenant-1",
      authority: base,
      credentials: "sealed",
    },
    JSON.stringify({ clientId: "c", clientSecret: "azure secret" }),
    ec.privateKey,
    ec.publicKey,
  ],
  [
    "Vault transit",
    {
      custody: "vault-transit",
      scheme: "rsa-pkcs1v15-sha256",
      ...common,
      address: base,
      mount: "transit",
      key: "release",
      version: 3,
      credentials: "sealed",
    },
    "vault-token\n",
    rsa.privateKey,
    rsa.publicKey,
  ],
];

describe("a key service", () => {
  for (const i of [0, 1, 2, 3]) {
    it(`signs through ${["AWS KMS", "Google Cloud KMS", "Azure Key Vault", "Vault transit"][i]!}, whose double checks the request`, async () => {
      const [, config, secret, privateKey, publicKey] = rows()[i]!;
      signing = privateKey;
      const signer = kmsSigner(config as KeyConfig as Kms, spki(publicKey), secret);
      const signature = await signer.sign(new Uint8Array(message));
      assert.ok(signer.publicKey.verify(new Uint8Array(message), signature));
      const bad = secret.replace(/K7MDENG|azure secret|vault-token/, "wrong");
      if (bad !== secret)
        await assert.rejects(kmsSigner(config as Kms, spki(publicKey), bad).sign(new Uint8Array(message)), {
          code: "signing/key-failed",
        });
    });
  }

  it("that signs with another key than the configured one is not believed", async () => {
    const [, config, secret] = rows()[0]!;
    signing = other.privateKey;
    await assert.rejects(
      kmsSigner(config, spki(ec.publicKey), secret).sign(new Uint8Array(message)),
      /somebody answers in its place/,
    );
  });

  it("that is not there fails the request, not the process", async () => {
    const [, config, secret] = rows()[0]!;
    const gone = { ...config, endpoint: "http://127.0.0.1:1/" } as Kms;
    await assert.rejects(kmsSigner(gone, spki(ec.publicKey), secret).sign(new Uint8Array(message)), {
      code: "signing/key-failed",
    });
  });

  it("of AWS is asked with the signature of the published example", () => {
    const request = signV4(
      {
        method: "GET",
        url: "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
        headers: { "content-type": "application/x-www-form-urlencoded; charset=utf-8" },
        body: "",
      },
      { region: "us-east-1", service: "iam", credentials: AWS, now: Date.parse("2015-08-30T12:36:00Z") },
    );
    assert.match(
      request.headers["authorization"]!,
      /Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7$/,
    );
  });

  it("has its r and s written as minimal DER integers", () => {
    const raw = new Uint8Array(64);
    raw[31] = 0x80;
    raw[63] = 1;
    assert.deepEqual(derOfJoseEcdsa(raw), Uint8Array.of(0x30, 7, 2, 2, 0, 0x80, 2, 1, 1));
  });
});
