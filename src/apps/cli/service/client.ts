// Signing in to the signing service with what options and environment give.

import { generateKeyPairSync } from "node:crypto";
import { resolve } from "node:path";
import { toBase64 } from "../../../core/bytes.ts";
import { sha256Hex } from "../../../core/digest.ts";
import type { PublicKey } from "../../../keys/public-key.ts";
import type { Scheme } from "../../../keys/scheme.ts";
import type { Signer } from "../../../keys/signer.ts";
import { purposeOf } from "../../../signing/request/request.ts";
import { isJsonObject, parseJson } from "../../../core/json.ts";
import { identityOf } from "../../../io/signing/pinned-tls.ts";
import { SigningClient } from "../../../io/signing/client.ts";
import type { ServiceDescription } from "../../../signing/wire/description.ts";
import type { OfferedCertificate, SignIn } from "../../../signing/wire/protocol.ts";
import type { Call } from "../../framework/command.ts";
import type { Context } from "../../framework/context.ts";
import { CliError, usage } from "../../framework/errors.ts";
import { readSecretFile } from "../../framework/secret.ts";
import { readDescription, readIdentity } from "./inputs.ts";
import { exchange } from "../../../io/connection/exchange.ts";
import { proxiesFrom } from "../../../io/connection/proxies.ts";

const POLL = 2000;

export type OpenService = { readonly client: SigningClient; readonly service: ServiceDescription };

export async function openService(call: Call): Promise<OpenService> {
  const { context } = call;
  const { env } = context.terminal;
  const file = call.text("service") ?? env["UPKEEP_SERVICE"];
  if (file === undefined) throw usage("Which signing service? Give --service or UPKEEP_SERVICE.");
  const service = await readDescription(context.disk, resolve(file));
  const keyFile = call.text("identity") ?? env["UPKEEP_IDENTITY"];
  const key =
    keyFile === undefined
      ? generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey
      : await readIdentity(context.disk, resolve(keyFile));
  const identity = await identityOf(key, context.clock, context.random);
  const signer = call.text("signer");
  const client = new SigningClient(
    { clock: context.clock, random: context.random },
    {
      service,
      identity,
      proxies: proxiesFrom(env),
      signIn: (signer) =>
        signIn(call, identity.spki, keyFile !== undefined, service.signers.length > 1 ? signer : null),
      patience: (call.whole("patience", 0, 86_400) ?? 300) * 1000,
      signal: context.signal,
      trouble: (sentence) => context.note(sentence),
      ...(signer === undefined ? {} : { signer }),
    },
  );
  return { client, service };
}

/** `signer`: named in what a person is asked, because each signer has its own users. */
async function signIn(call: Call, spki: string, hasKey: boolean, signer: string | null): Promise<SignIn> {
  const { context } = call;
  const { env } = context.terminal;
  const user = call.text("user");
  if (user !== undefined) {
    const where = signer === null ? "" : ` at ${signer}`;
    const password = await context.secret({
      what: `Password of ${user}${where}`,
      env: "UPKEEP_PASSWORD",
      file: call.text("password-file"),
      option: "--password-file",
    });
    const code = await context.secret({
      what: `One-time code${where}`,
      env: "UPKEEP_CODE",
      option: "UPKEEP_CODE",
    });
    return { method: "password", user, password, code };
  }
  const tokenFile = call.text("oidc-token-file");
  const token =
    tokenFile === undefined
      ? env["UPKEEP_OIDC_TOKEN"]
      : await readSecretFile(context.disk, resolve(tokenFile));
  if (token !== undefined && token !== "") return { method: "oidc", token };
  const audience = call.text("oidc-audience");
  if (audience !== undefined) return { method: "oidc", token: await githubToken(env, `${audience}#${spki}`) };
  if (!hasKey) {
    throw usage("Who are you? Give --identity, --user, or an identity token in UPKEEP_OIDC_TOKEN.");
  }
  return { method: "key" };
}

/** GitHub Actions hands out identity tokens for any audience, so this one names the key of this very run. */
async function githubToken(
  env: { readonly [name: string]: string | undefined },
  audience: string,
): Promise<string> {
  const [url, bearer] = [env["ACTIONS_ID_TOKEN_REQUEST_URL"], env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]];
  if (url === undefined || bearer === undefined) {
    throw usage(
      "--oidc-audience works in GitHub Actions with the permission id-token: write; elsewhere give the token itself.",
    );
  }
  const response = await exchange({
    url: `${url}&audience=${encodeURIComponent(audience)}`,
    headers: { authorization: `Bearer ${bearer}` },
    limit: 64 * 1024,
    timeout: 20_000,
    proxies: proxiesFrom(env),
  });
  const body = parseJson(response.body);
  if (!isJsonObject(body) || typeof body["value"] !== "string") {
    throw new CliError("cli/no-secret", "The pipeline's token service gave no token.", {
      status: response.status,
    });
  }
  return body["value"];
}

type Held = { readonly client: SigningClient; readonly offered: readonly OfferedCertificate[] };
/** One session for all signatures of a command: a person's one-time code is good once. */
const sessions = new WeakMap<Context, Promise<Held>>();

export function serviceSession(call: Call): Promise<Held> {
  const known = sessions.get(call.context);
  if (known !== undefined) return known;
  const opening = (async (): Promise<Held> => {
    const { client } = await openService(call);
    call.context.atEnd(() => client.close());
    const { answers, silent } = await client.certificatesEverywhere();
    if (answers.length === 0) throw silent[0]!.error;
    for (const { signer, error } of silent)
      call.context.note(`${signer} could not be asked: ${error.message}`);
    return { client, offered: answers.flatMap(({ answer }) => answer) };
  })();
  sessions.set(call.context, opening);
  return opening;
}

/** Signers for those of the wanted keys that the service holds for this user and signs raw with. */
export async function serviceSigners(call: Call, wanted: readonly PublicKey[]): Promise<readonly Signer[]> {
  const { client, offered } = await serviceSession(call);
  return wanted.flatMap((publicKey): Signer[] => {
    const spki = toBase64(publicKey.spki);
    const found = offered.find((each) => each.spki === spki && each.operations.includes("raw"));
    if (found === undefined) return [];
    return [
      {
        publicKey,
        sign: (message, scheme = publicKey.scheme) => signRaw(call, client, found, message, scheme),
      },
    ];
  });
}

async function signRaw(
  call: Call,
  client: SigningClient,
  offered: OfferedCertificate,
  message: Uint8Array,
  scheme: Scheme,
): Promise<Uint8Array> {
  const purpose = purposeOf(message) ?? "other";
  const wish = {
    certificate: offered.name,
    operation: { kind: "raw", scheme, message: toBase64(message), purpose } as const,
    file: { name: purpose, length: message.length, sha256: sha256Hex(message) },
  };
  let outcome = await client.sign(wish, offered);
  let told = -1;
  while (outcome.state === "pending") {
    const left = outcome.needed - outcome.have;
    if (left !== told)
      call.context.note(`${purpose} waits for ${left} approvals (request ${outcome.request})`);
    told = left;
    await call.context.clock.sleep(POLL, call.context.signal);
    outcome = await client.status(outcome.request, outcome.signer, wish, offered);
  }
  return outcome.reply;
}
