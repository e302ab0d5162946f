// Keys in key services behind the Signer port: every answer is verified with the public key before it counts.

import { fromBase64, fromBase64Url, fromUtf8 } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { MINUTE, type Instant } from "../../core/instant.ts";
import { isJsonObject, parseJson, type JsonObject } from "../../core/json.ts";
import { publicKeyFromSpki } from "../../keys/public-key.ts";
import type { Signer } from "../../keys/signer.ts";
import type { KeyConfig } from "../../signing/policy/config.ts";
import { SigningError } from "../../signing/errors.ts";
import { awsSign, digestBytes, type AwsCredentials } from "../../signing/custody/kms/aws.ts";
import {
  azureSign,
  azureToken,
  derOfJoseEcdsa,
  googleSign,
  googleToken,
  vaultSign,
  vaultSignature,
  type AzureCredentials,
  type GoogleCredentials,
} from "../../signing/custody/kms/others.ts";
import { hashOfScheme, type KmsOrder, type KmsRequest } from "../../signing/custody/kms/request.ts";
import { exchange, type Reply } from "../connection/exchange.ts";
import { ConnectionError } from "../connection/failure.ts";
import { DIRECT, type Proxies } from "../connection/proxies.ts";
import { systemClock } from "../system/clock.ts";

const TIMEOUT = 10_000;
const LIMIT = 256 * 1024;
type KmsConfig = Exclude<KeyConfig, { custody: "file" | "pkcs11" }>;

/** `secret`: AWS, Google and Azure credentials as JSON; for Vault the token itself. */
export function kmsSigner(
  config: KmsConfig,
  spki: Uint8Array,
  secret: string,
  { clock = systemClock, proxies = DIRECT }: { readonly clock?: Clock; readonly proxies?: Proxies } = {},
): Signer {
  const publicKey = publicKeyFromSpki(spki, config.scheme);
  const post = postThrough(proxies);
  const token = bearer(config, secret, clock, post);
  return {
    publicKey,
    sign: async (message, scheme = config.scheme) => {
      const hash = hashOfScheme(scheme);
      const order = { scheme, message, digest: hash === null ? message : digestBytes(hash, message) };
      const signature = await ask(config, order, secret, await token(), clock.now(), post);
      // A service that signs with another key, version or algorithm than configured must not be believed.
      if (!publicKeyFromSpki(spki, scheme).verify(message, signature)) {
        throw new SigningError(
          "signing/key-failed",
          "The key service returned a signature that does not fit the configured key: either its key or version is another one, or somebody answers in its place.",
        );
      }
      return signature;
    },
  };
}

async function ask(
  config: KmsConfig,
  order: KmsOrder,
  secret: string,
  token: string,
  now: Instant,
  post: Post,
): Promise<Uint8Array> {
  const endpoint = (e: string | undefined) => (e === undefined ? {} : { endpoint: e });
  switch (config.custody) {
    case "aws-kms": {
      const credentials = JSON.parse(secret) as AwsCredentials;
      const answer = await post(
        awsSign(order, {
          region: config.region,
          keyId: config["key-id"],
          credentials,
          now,
          ...endpoint(config.endpoint),
        }),
      );
      return fromBase64(text(answer, "Signature"));
    }
    case "google-kms": {
      const answer = await post(
        googleSign(order, { resource: config.resource, token, ...endpoint(config.endpoint) }),
      );
      return fromBase64(text(answer, "signature"));
    }
    case "azure-key-vault": {
      const answer = await post(
        azureSign(order, { vault: config.vault, key: config.key, version: config.version, token }),
      );
      const value = fromBase64Url(text(answer, "value"));
      return order.scheme.startsWith("ecdsa") ? derOfJoseEcdsa(value) : value;
    }
    case "vault-transit": {
      const { address, mount, key, version } = config;
      const answer = await post(vaultSign(order, { address, mount, key, version, token }));
      const data = answer["data"];
      const signature = vaultSignature(isJsonObject(data) ? text(data, "signature") : "", version);
      if (signature === null) throw failed("its answer is for another key version");
      return signature;
    }
  }
}

/** A token that is fetched when needed and kept until shortly before its end. */
function bearer(config: KmsConfig, secret: string, clock: Clock, post: Post): () => Promise<string> {
  if (config.custody === "vault-transit") return async () => secret.trim();
  if (config.custody === "aws-kms") return async () => "";
  let kept: { readonly token: string; readonly until: number } | null = null;
  return async () => {
    if (kept !== null && kept.until > clock.monotonic()) return kept.token;
    const answer = await post(
      config.custody === "google-kms"
        ? googleToken(JSON.parse(secret) as GoogleCredentials, clock.now())
        : azureToken(JSON.parse(secret) as AzureCredentials, {
            tenant: config.tenant,
            ...(config.authority === undefined ? {} : { authority: config.authority }),
          }),
    );
    const seconds = typeof answer["expires_in"] === "number" ? answer["expires_in"] : 300;
    kept = {
      token: text(answer, "access_token"),
      until: clock.monotonic() + Math.max(0, seconds * 1000 - MINUTE),
    };
    return kept.token;
  };
}

type Post = (request: KmsRequest) => Promise<JsonObject>;

const postThrough =
  (proxies: Proxies): Post =>
  async (request) => {
    let response: Reply;
    try {
      response = await exchange({ ...request, limit: LIMIT, timeout: TIMEOUT, proxies });
    } catch (cause) {
      if (!(cause instanceof ConnectionError)) throw cause;
      const { hint, facts } = cause;
      throw new SigningError(
        "signing/key-failed",
        `The key service could not be reached: ${cause.message}`,
        { ...facts },
        { cause, ...(hint === undefined ? {} : { hint }) },
      );
    }
    const { status, body } = response;
    if (status < 200 || status > 299)
      throw failed(`it answered with status ${status}: ${fromUtf8(body).slice(0, 200)}`);
    const value = parseJson(body);
    if (!isJsonObject(value)) throw failed("its answer cannot be read");
    return value;
  };

function text(object: JsonObject, name: string): string {
  const value = object[name];
  if (typeof value !== "string") throw failed(`its answer holds no ${name}`);
  return value;
}

function failed(what: string): SigningError {
  return new SigningError("signing/key-failed", `The key service did not sign: ${what}.`);
}
