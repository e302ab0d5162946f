// When `sign` goes to the signing service, and which of its words have no meaning there, or only there.

import { statSync } from "node:fs";
import { isChosen } from "../../../artifact/identity.ts";
import { parseCertificatesPem } from "../../../der/x509.ts";
import type { SigningClient } from "../../../io/signing/client.ts";
import { SigningError } from "../../../signing/errors.ts";
import type { OfferedCertificate } from "../../../signing/wire/protocol.ts";
import type { Call } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";

/** Words of `sign` that name a key of one's own, or what only its owner can do; the service refuses them by name. */
const LOCAL_ONLY: readonly (readonly [name: string, why: string])[] = [
  ["key", "the service holds the key"],
  ["key-name", "the service holds the key"],
  ["add-cert", "the service adds the chain"],
  ["pkcs11-module", "the service holds the key"],
  ["pkcs11-token", "the service holds the key"],
  ["pkcs11-key", "the service holds the key"],
  ["pin-file", "the service holds the key"],
  [
    "password-in-argv",
    "a password never stands on the command line; UPKEEP_PASSWORD or --password-file give it",
  ],
  ["timestamp-url", "the service names its own authorities; --timestamp asks for one of their timestamps"],
  [
    "legacy-timestamp-url",
    "the service makes no stamps of the old kind; --timestamp asks for one of RFC 3161",
  ],
  ["kernel", "the service signs with a manifest; --detached signs beside the file"],
  ["allow-expired", "the service decides which certificates are valid"],
];

/** Words that mean something at the service only. */
const SERVICE_ONLY: readonly string[] = [
  "identity",
  "signer",
  "user",
  "oidc-token-file",
  "oidc-audience",
  "timestamp",
  "receipts",
  "one-release",
  "leave-pending",
  "request-id",
  "timeout",
];

/** Whether the call itself says it. */
export function given(call: Call, name: string): boolean {
  return call.flag(name) || call.text(name) !== undefined || call.list(name).length > 0;
}

/** Errors: `cli/usage`. */
export function refuseLocalWords(call: Call): void {
  for (const [name, why] of LOCAL_ONLY)
    if (given(call, name)) throw usage(`--${name} does not go with --service: ${why}.`);
  if ((call.text("timestamp-hash") ?? "sha256") !== "sha256")
    throw usage("--timestamp-hash does not go with --service: its timestamps are over SHA-256.");
  if (given(call, "password-file") && !given(call, "user"))
    throw usage("--password-file with --service is the password of --user, who is not named.");
  if (given(call, "timeout"))
    throw usage("--timeout is for `sign wait`; --leave-pending does not wait at all.");
}

/** Errors: `cli/usage`. */
export function refuseServiceWords(call: Call): void {
  for (const name of SERVICE_ONLY)
    if (given(call, name))
      throw usage(
        `--${name} means something at a signing service only.`,
        name === "timestamp" ? "--timestamp-url names an authority." : "--service names one.",
      );
}

/**
 * `--service` says so; UPKEEP_SERVICE alone does where no key or certificate of one's own is named, so that a build which
 * says `/n release` reaches the service while one with `/f cert.pfx` stays as it is.
 */
export function goesToService(call: Call): boolean {
  if (call.text("service") !== undefined) return true;
  const { env } = call.context.terminal;
  if ((env["UPKEEP_SERVICE"] ?? "") === "" || (env["UPKEEP_CERT"] ?? "") !== "") return false;
  if (["key", "key-name", "pkcs11-module"].some((name) => given(call, name))) return false;
  const cert = call.text("cert");
  // A look at a digest needs no certificate at all.
  if (call.flag("dry-run") && !["cert", "subject", "issuer", "sha1"].some((name) => given(call, name)))
    return false;
  return cert === undefined || statSync(cert, { throwIfNoEntry: false }) === undefined;
}

/** By --cert, the name that the service knows; else by what is said about it, which has to fit one only. Errors: `cli/usage`, `signing/denied`. */
export async function chooseOffered(call: Call, client: SigningClient): Promise<OfferedCertificate> {
  const name = call.text("cert");
  const [subject, issuer, sha1] = [call.text("subject"), call.text("issuer"), call.text("sha1")];
  const said = { ...(issuer === undefined ? {} : { issuer }), ...(sha1 === undefined ? {} : { sha1 }) };
  if (name === undefined && subject === undefined && sha1 === undefined && issuer === undefined)
    throw usage(
      "--cert is needed: the name of a certificate of the signing service.",
      "`service certificates` lists them.",
    );
  const fits = (each: OfferedCertificate, about: Parameters<typeof isChosen>[1]): boolean => {
    const [leaf] = each.chain === undefined ? [] : parseCertificatesPem(each.chain);
    return leaf === undefined ? Object.keys(about).length === 0 : isChosen(leaf, about);
  };
  if (name !== undefined) {
    const offered = await client.certificate(name);
    if (fits(offered, { ...said, ...(subject === undefined ? {} : { subject }) })) return offered;
    throw usage(`The certificate ${name} is not the one that --subject, --issuer or --sha1 describe.`);
  }
  const all = await client.certificates();
  // signtool's /n is a part of the subject; the name that the service knows is closer still.
  const named = all.filter((each) => each.name === subject && fits(each, said));
  const found =
    named.length > 0
      ? named
      : all.filter((each) => fits(each, { ...said, ...(subject === undefined ? {} : { subject }) }));
  if (found.length === 1) return found[0]!;
  if (found.length === 0)
    throw new SigningError(
      "signing/denied",
      "No certificate that you may use is the one that was asked for.",
      {
        offered: all.map((each) => each.name),
      },
    );
  throw usage(
    `Several certificates fit: ${found.map((each) => each.name).join(", ")}.`,
    "--cert names one of them.",
  );
}
