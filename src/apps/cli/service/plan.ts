// What is to be done with each file at the signing service; kept in a .pending file, so that `wait` does the same.

import { resolve } from "node:path";
import { checkSchema, nameSchema, sha256Schema, z } from "../../../core/schema.ts";
import { canonicalJson } from "../../../core/canonical-json.ts";
import { parseJson, type Json } from "../../../core/json.ts";
import { fromUtf8, toUtf8 } from "../../../core/bytes.ts";
import { hashForScheme } from "../../../artifact/content-sign.ts";
import type { SignJob } from "../../../artifact/format.ts";
import type { OfferedCertificate } from "../../../signing/wire/protocol.ts";
import { digestAlgorithmSchema, idSchema } from "../../../signing/request/operation.ts";
import type { Call } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { signOptions } from "../files/format-options.ts";

const word = z.string().check(z.maxLength(4096));
const planSchema = z.strictObject({
  cert: nameSchema,
  as: z.enum(["auto", "detached", "raw"]),
  /** Of Authenticode signatures. */
  algorithm: digestAlgorithmSchema,
  mode: z.enum(["new", "replace", "append"]),
  timestamp: z.boolean(),
  /** `true` is how older files say sha256. */
  pageHashes: z.union([z.boolean(), z.enum(["sha1", "sha256"])]),
  /** A signature beside a file is replaced without being told to. */
  overwrite: z._default(z.boolean(), true),
  skipSigned: z._default(z.boolean(), false),
  requireStripped: z._default(z.boolean(), false),
  installerMetadata: z._default(z.boolean(), false),
  /** Absolute; where to write instead of changing the file. */
  output: z.optional(word),
  options: z.record(z.string(), word),
});
export type Plan = z.infer<typeof planSchema>;

const pendingSchema = z.strictObject({
  plan: planSchema,
  resume: z.strictObject({ request: idSchema, signer: nameSchema }),
  /** Of the file that the request is about. */
  sha256: z.optional(sha256Schema),
});
export type Pending = z.infer<typeof pendingSchema>;
export type Algorithm = Plan["algorithm"];

/** Errors: `json/*`, `schema/invalid`. */
export function parsePending(bytes: Uint8Array): Pending {
  return checkSchema(pendingSchema, parseJson(bytes), ".pending file");
}

export function formatPending(pending: Pending): Uint8Array {
  return toUtf8(`${JSON.stringify(pending, null, 2)}\n`);
}

/** Whether a call that wants `plan` for a file of this digest is the one that was left pending. */
export function isSamePending(pending: Pending, plan: Plan, sha256: string): boolean {
  return pending.sha256 === sha256 && canonical(pending.plan) === canonical(plan);
}

function canonical(plan: Plan): string {
  return fromUtf8(canonicalJson(plan as unknown as Json));
}

/** Curves go with one digest each, Ed25519 with its own (RFC 8419 section 3.1); RSA keys sign over any. */
const FIXED: { readonly [scheme: string]: Algorithm } = {
  "ecdsa-sha2-nistp256": "sha256",
  "ecdsa-sha2-nistp384": "sha384",
  "ecdsa-sha2-nistp521": "sha512",
  ed25519: "sha512",
};

const KEPT = [
  "product",
  "release-version",
  "release-number",
  "channel",
  "description",
  "url",
  "purpose",
  "scheme",
  "receipts",
  "hash",
];

/** What the options of a call say, for a certificate; `overwrite` as in the plan. Errors: `cli/usage`. */
export function planOf(
  call: Call,
  cert: Pick<OfferedCertificate, "name" | "scheme">,
  overwrite: boolean,
): Plan {
  const options: { [name: string]: string } = {};
  for (const name of KEPT) {
    const value = call.text(name);
    if (value !== undefined) options[name] = value;
  }
  // Refuses numbers that are none, and an identity that is given in part.
  signOptions(call);
  if (call.flag("replace") && call.flag("append")) throw usage("--replace and --append exclude each other.");
  const hash = call.text("hash") as Algorithm | undefined;
  const fixed = FIXED[cert.scheme];
  if (hash !== undefined && fixed !== undefined && hash !== fixed)
    throw usage(`--hash ${hash} does not go with the key of ${cert.name}, which signs over ${fixed}.`);
  const output = call.text("output");
  return {
    cert: cert.name,
    as: (call.text("as") ?? (call.flag("detached") ? "detached" : "auto")) as Plan["as"],
    algorithm: fixed ?? hash ?? "sha256",
    mode: call.flag("replace") ? "replace" : call.flag("append") ? "append" : "new",
    timestamp: call.flag("timestamp"),
    pageHashes: call.flag("page-hashes-sha1") ? "sha1" : call.flag("page-hashes") ? "sha256" : false,
    overwrite,
    skipSigned: call.flag("skip-signed"),
    requireStripped: call.flag("require-stripped"),
    installerMetadata: call.flag("installer-metadata"),
    ...(output === undefined ? {} : { output: resolve(output) }),
    options,
  };
}

/** The digest that ELF and detached signatures are over. */
export function contentHash({ options }: Plan, scheme: string): Algorithm {
  return (options["hash"] as Algorithm | undefined) ?? hashForScheme(scheme);
}

/** What a format is asked to do, but for the file and the signature. */
export function formatJob(
  plan: Plan,
  hash: Algorithm,
): Pick<SignJob, "mode" | "hash" | "pageHashes" | "options"> {
  const { product, channel } = plan.options;
  const [version, release] = [plan.options["release-version"], plan.options["release-number"]];
  const pageHashes = plan.pageHashes === true ? "sha256" : plan.pageHashes;
  return {
    mode: plan.mode,
    hash,
    ...(pageHashes === false ? {} : { pageHashes }),
    options: {
      ...(product === undefined || version === undefined || release === undefined
        ? {}
        : {
            identity: {
              product,
              version,
              release: Number(release),
              ...(channel === undefined ? {} : { channel }),
            },
          }),
      requireStripped: plan.requireStripped,
      installerMetadata: plan.installerMetadata,
    },
  };
}
