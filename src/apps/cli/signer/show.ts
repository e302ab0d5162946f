// What `signer user show` and `signer cert show` print: everything but secrets, and which rules it is in.

import { toHex } from "../../../core/bytes.ts";
import { formatInstant } from "../../../core/instant.ts";
import { formatName } from "../../../der/names.ts";
import { fingerprint } from "../../../der/x509.ts";
import { loadSettings, signerFolder } from "../../signer/settings.ts";
import type { Call, Result } from "../../framework/command.ts";
import { known } from "./edit-config.ts";

/** Errors: `signing/not-found`, `signing/bad-config`. */
export async function showUser(call: Call, name: string): Promise<Result> {
  const folder = signerFolder(call.context.data);
  await known(call, folder, "users", name);
  const { config } = await loadSettings(call.context.disk, folder);
  const user = config.users[name]!;
  const rules = Object.entries(config.certificates).flatMap(([certificate, { policy }]) =>
    Object.entries(policy).flatMap(([rule, { users, approvers }]) => [
      ...(users.includes(name) ? [{ certificate, rule, as: "requester" }] : []),
      ...(approvers.includes(name) ? [{ certificate, rule, as: "approver" }] : []),
    ]),
  );
  const own =
    user.kind === "machine"
      ? { keys: user.keys, ...(user.expires === undefined ? {} : { expires: user.expires }) }
      : user.kind === "ci"
        ? { issuer: user.issuer, claims: user.claims }
        : { "approval-keys": user["approval-keys"] };
  const state = user.disabled ? "disabled" : "enabled";
  const facts = { user: name, kind: user.kind, roles: user.roles, disabled: user.disabled, ...own };
  return {
    text: [
      `${name}: ${user.kind}, ${state}, ${user.roles.join(", ")}`,
      ...Object.entries(own).map(([field, value]) => `${field}: ${inWords(value)}`),
      ...rules.map(({ certificate, rule, as }) => `${as} in the rule ${rule} of ${certificate}`),
      ...(rules.length === 0 ? ["in no rule of any certificate"] : []),
    ].join("\n"),
    json: { ...facts, rules },
  };
}

/** Errors: `signing/not-found`, `signing/bad-config`. */
export async function showCertificate(call: Call, name: string): Promise<Result> {
  const folder = signerFolder(call.context.data);
  await known(call, folder, "certificates", name);
  const { config, certificates } = await loadSettings(call.context.disk, folder);
  const { key, disabled, policy } = config.certificates[name]!;
  const chain = (certificates.get(name)?.chain ?? []).map((certificate) => ({
    subject: formatName(certificate.subject),
    issuer: formatName(certificate.issuer),
    serial: toHex(certificate.serial),
    from: formatInstant(certificate.notBefore),
    expires: formatInstant(certificate.notAfter),
    sha256: fingerprint(certificate),
  }));
  const rules = Object.keys(policy);
  return {
    text: [
      `${name}: key ${key} (${config.keys[key]!.scheme}, ${config.keys[key]!.custody})${disabled ? ", disabled" : ""}`,
      ...chain.flatMap((each, i) => [
        `${i === 0 ? "leaf" : `issuer ${i}`}: ${each.subject}`,
        `  by ${each.issuer}, serial ${each.serial}`,
        `  ${each.from} to ${each.expires}`,
        `  sha256 ${each.sha256}`,
      ]),
      ...(chain.length === 0 ? ["no certificate was imported: for raw signatures only"] : []),
      rules.length === 0 ? "no rule: no user may use it" : `rules: ${rules.join(", ")}`,
    ].join("\n"),
    json: { certificate: name, key, disabled, chain, rules },
  };
}

function inWords(value: string | readonly string[] | { readonly [name: string]: unknown }): string {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.join(", ");
  return Object.entries(value)
    .map(([name, each]) => `${name}=${String(each)}`)
    .join(", ");
}
