// `sign --service --dry-run`: the digest and the request as it would be sent; with a way to sign in, also the key and what the rules say.

import { basename, resolve } from "node:path";
import { fromUtf8, toHex } from "../../../core/bytes.ts";
import { canonicalJson } from "../../../core/canonical-json.ts";
import { UpkeepError } from "../../../core/errors.ts";
import type { Json } from "../../../core/json.ts";
import { digestContent } from "../../../artifact/content-digest.ts";
import { nameSchema } from "../../../core/schema.ts";
import { formatName } from "../../../der/names.ts";
import { parseCertificatesPem } from "../../../der/x509.ts";
import { withFileSource } from "../../../io/source/file.ts";
import type { SigningClient } from "../../../io/signing/client.ts";
import type { Answers, OfferedCertificate } from "../../../signing/wire/protocol.ts";
import { digestWord } from "../../../signing/request/operation.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { forEachFile } from "../files/many-files.ts";
import { openService } from "./client.ts";
import { kindOf, nameOf, wantedFor } from "./operation.ts";
import { chooseOffered, given } from "./options.ts";
import { planOf } from "./plan.ts";
import { releaseOf } from "./release-list.ts";

type Chosen = Pick<OfferedCertificate, "name" | "scheme">;
type Told = Answers["preview"] & { readonly signer: string };

/**
 * The request is canonical and lacks what only a session gives it: `id` (without --request-id), `requester`, `created`, `expires`, `session`
 * and `signer`. A call that says how to sign in asks the service for the key and for what would become of each request: nothing is signed,
 * and nothing is counted. One that does not asks nobody: without --hash, the digest is then that of an RSA key.
 */
export async function dryServiceSign(call: Call, files: readonly string[]): Promise<Result> {
  if (!saysWho(call))
    return dry(call, files, { name: unaskedName(call), scheme: "rsa-pkcs1v15-sha256" }, null);
  const { client } = await openService(call);
  try {
    const offered = await chooseOffered(call, client);
    return await dry(call, files, offered, { client, offered });
  } finally {
    await client.close();
  }
}

function saysWho(call: Call): boolean {
  const { env } = call.context.terminal;
  const options = ["identity", "user", "oidc-token-file", "oidc-audience"];
  const inEnvironment = ["UPKEEP_IDENTITY", "UPKEEP_OIDC_TOKEN"].some((name) => (env[name] ?? "") !== "");
  return inEnvironment || options.some((name) => given(call, name));
}

/** Nobody is asked which certificate a subject belongs to; signtool's /n may be the name itself. */
function unaskedName(call: Call): string {
  const certificate = call.text("cert") ?? call.text("subject");
  if (certificate !== undefined && nameSchema.safeParse(certificate).success) return certificate;
  throw usage(
    "--cert is needed: the name of a certificate of the signing service, which is not asked now.",
    "With --identity or --user the service is asked, and a part of the subject will do.",
  );
}

async function dry(
  call: Call,
  files: readonly string[],
  chosen: Chosen,
  asked: { readonly client: SigningClient; readonly offered: OfferedCertificate } | null,
): Promise<Result> {
  const { name: certificate, scheme } = chosen;
  const plan = planOf(call, chosen, false);
  const listed = files.map((file) => ({ path: resolve(file), plan }));
  const release = call.flag("one-release") ? await releaseOf(listed, scheme, call.context.random) : null;
  const id = call.text("request-id");
  const key = asked === null ? null : keyOf(asked.offered);
  return forEachFile(call, files, (file) =>
    withFileSource(resolve(file), async (source) => {
      const kind = await kindOf(source, file, plan.as);
      const signed = typeof kind === "object" && (await kind.isSigned(source));
      const { operation } = await wantedFor(kind, source, plan, scheme);
      const whole = await digestContent(source, source.size, ["sha256"]);
      const about = { name: basename(file), length: source.size, sha256: toHex(whole.of("sha256")!) };
      const wish = {
        ...(id === undefined ? {} : { id }),
        certificate,
        operation,
        file: about,
        ...(release === null ? {} : { release: release[files.indexOf(file)]! }),
      };
      const request = { version: 1, ...wish };
      const [hash, digest] = digestWord(operation).split(":");
      const canonical = fromUtf8(canonicalJson(request as unknown as Json));
      const title = typeof kind === "object" ? kind.title : kind;
      const first = `${call.context.style.faint("-")} ${file}: ${title}${signed ? ", signed already" : ""}, ${hash!} ${digest!}`;
      const json = { file, ok: true, status: "dry-run", format: nameOf(kind), signed, hash, digest, request };
      if (asked === null || key === null) return { text: `${first}\n${canonical}`, json };
      const told = await previewOf(asked.client, wish, asked.offered);
      return {
        text: `${first}\n${canonical}\n  key: ${key.text}\n  ${sentenceOf(told)}`,
        json: { ...json, ok: told?.outcome !== "deny", key: key.json, preview: told },
        ...(told?.outcome === "deny" ? { exit: EXIT.refused } : {}),
      };
    }),
  );
}

/** Null where no signer is new enough to say. Errors: those of the client. */
async function previewOf(
  client: SigningClient,
  wish: Parameters<SigningClient["preview"]>[0],
  offered: OfferedCertificate,
): Promise<Told | null> {
  try {
    return await client.preview(wish, offered);
  } catch (error) {
    if (error instanceof UpkeepError && error.code === "signing/old-signer") return null;
    throw error;
  }
}

function keyOf({ name, scheme, chain, expires, spki }: OfferedCertificate) {
  const leaf = chain === undefined ? undefined : parseCertificatesPem(chain)[0];
  const subject = leaf === undefined ? null : formatName(leaf.subject);
  return {
    text: `${name}, ${scheme}, ${subject ?? "without a certificate"}${expires === undefined ? "" : `, until ${expires}`}`,
    json: { certificate: name, scheme, subject, expires: expires ?? null, spki },
  };
}

function sentenceOf(told: Told | null): string {
  if (told === null)
    return "rules: no signer of the service is new enough to say what its rules would answer";
  const { outcome, signer, rule = "", needed = 0, reasons } = told;
  if (outcome === "allow") return `rules: ${signer} would sign it by the rule ${rule}`;
  if (outcome === "ask")
    return `rules: ${signer} would have it wait for ${needed} ${needed === 1 ? "approval" : "approvals"} by the rule ${rule}`;
  const why = reasons.map(({ rule, check, reason }) => `${rule}/${check}: ${reason}`).join("; ");
  return `rules: ${signer} would refuse it (${why})`;
}
