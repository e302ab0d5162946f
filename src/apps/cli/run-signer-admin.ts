// What `signer user`, `key`, `cert` and `policy` do: small edits of the configuration, checked as a whole before they count.

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { resolve } from "node:path";
import { fromUtf8, toBase64, toUtf8 } from "../../core/bytes.ts";
import { makeDirectories, writeAtomic } from "../../core/disk.ts";
import { DAY, formatInstant } from "../../core/instant.ts";
import { buildCsr } from "../../der/csr.ts";
import { buildCertificate } from "../../der/issue.ts";
import { commonName } from "../../der/names.ts";
import * as oids from "../../der/oids.ts";
import { toPem } from "../../der/pem.ts";
import { certificatePem, isSignedBy, parseCertificatesPem } from "../../der/x509.ts";
import { isScheme, SCHEMES, type Scheme } from "../../keys/scheme.ts";
import { localSigner } from "../../keys/signer.ts";
import { MAX_CONFIG, parseConfig } from "../../signing/config.ts";
import { appendTable, editSetting, removeTable } from "../../signing/config-text.ts";
import { formatSealed, purposeKey, sealKey, sealWith, wrappingKey } from "../../signing/custody.ts";
import { SigningError } from "../../signing/errors.ts";
import { hashPassword } from "../../signing/password.ts";
import { toBase32, totpUri } from "../../signing/totp.ts";
import type { X509Scheme } from "../../der/algorithms.ts";
import { IDENTITY_KEY, loadSettings, LOG_KEY, signerFolder, type SignerFolder } from "../signer/settings.ts";
import type { Call, Result } from "./command.ts";
import { usage } from "./errors.ts";
import { openSealedKey, unlocked, writeSealedKey } from "./run-signer.ts";
import { columns } from "./style.ts";

type Tree = { [name: string]: unknown };

/** The file is replaced in one step, and only by one that a start would accept. */
async function edit(call: Call, folder: SignerFolder, change: (text: string) => string): Promise<void> {
  const { disk } = call.context;
  const before = fromUtf8(await disk.read(folder.config, MAX_CONFIG));
  const after = change(before);
  parseConfig(after, folder.config);
  await writeAtomic(disk, folder.config, toUtf8(after), 0o600);
}

export async function signerUser(call: Call): Promise<Result> {
  const folder = signerFolder(call.context.data);
  const [action, name] = [call.argument(0), call.argumentOr(1)];
  if (action === "list") return userList(call, folder);
  if (name === undefined) throw usage(`signer user ${action} needs a name.`);
  const at = ["users", name];
  switch (action) {
    case "add":
      return userAdd(call, folder, name);
    case "enable":
    case "disable":
      await known(call, folder, "users", name);
      await edit(call, folder, (text) =>
        editSetting(text, at, "disabled", action === "disable" ? true : undefined),
      );
      return done(
        `The user ${name} is ${action}d${action === "disable" ? "; running sessions end within a second or two" : ""}.`,
        { user: name, action },
      );
    case "remove":
      await known(call, folder, "users", name);
      await edit(call, folder, (text) => removeTable(text, at));
      return done(`The user ${name} is removed.`, { user: name, action });
    case "reset": {
      const { settings, made } = await person(call, folder, name);
      await edit(call, folder, (text) =>
        editSetting(editSetting(text, at, "password", settings["password"]), at, "totp", settings["totp"]),
      );
      return made;
    }
    default:
      throw usage(`There is no signer user ${action}.`, "One of: add, list, enable, disable, remove, reset.");
  }
}

async function userAdd(call: Call, folder: SignerFolder, name: string): Promise<Result> {
  const roles = call.list("role");
  const common: Tree = roles.length === 0 ? {} : { roles: [...roles] };
  const keys = [...call.list("key")];
  const expires = call.text("expires");
  switch (call.needed("kind")) {
    case "machine": {
      if (keys.length === 0)
        throw usage("A machine is known by its --key, the SHA-256 that signer identity prints.");
      const table = { kind: "machine", ...common, keys, ...(expires === undefined ? {} : { expires }) };
      await edit(call, folder, (text) => appendTable(text, ["users", name], table));
      return done(`The machine ${name} may sign in.`, { user: name, kind: "machine" });
    }
    case "ci": {
      const claims: Tree = {};
      for (const claim of call.list("claim")) {
        const cut = claim.indexOf("=");
        if (cut < 1) throw usage(`--claim ${claim} is not of the form name=pattern.`);
        claims[claim.slice(0, cut)] = claim.slice(cut + 1);
      }
      const table = { kind: "ci", ...common, issuer: call.needed("issuer"), claims };
      await edit(call, folder, (text) => appendTable(text, ["users", name], table));
      return done(`The pipeline ${name} may sign in.`, { user: name, kind: "ci" });
    }
    default: {
      const { settings, made } = await person(call, folder, name);
      const table = {
        kind: "person",
        ...common,
        ...settings,
        ...(keys.length === 0 ? {} : { "approval-keys": keys }),
      };
      await edit(call, folder, (text) => appendTable(text, ["users", name], table));
      return made;
    }
  }
}

/** A password and a new one-time code secret; the secret is shown once and kept sealed. */
async function person(
  call: Call,
  folder: SignerFolder,
  name: string,
): Promise<{ readonly settings: Tree; readonly made: Result }> {
  const { context } = call;
  const password = await context.secret({
    what: `New password of ${name}`,
    env: "UPKEEP_PASSWORD",
    file: call.text("password-file"),
    option: "--password-file",
    twice: true,
  });
  const secret = await unlocked(call, folder);
  const { config } = await loadSettings(context.disk, folder);
  const totp = context.random.bytes(20);
  const sealed = sealWith(purposeKey(secret, "config v1"), totp, `totp ${name}`, context.random);
  secret.fill(0);
  const uri = totpUri(config.service.name, name, totp);
  return {
    settings: {
      password: await hashPassword(password, context.random),
      totp: `${sealed.nonce}.${sealed.ciphertext}`,
    },
    made: {
      text: `${name} may sign in with the password and this one-time code secret, which is shown only now:\n${toBase32(totp)}\n${uri}`,
      json: { user: name, kind: "person", totp: toBase32(totp), uri },
    },
  };
}

async function userList(call: Call, folder: SignerFolder): Promise<Result> {
  const { config } = await loadSettings(call.context.disk, folder);
  const users = Object.entries(config.users).map(([name, user]) => ({
    name,
    kind: user.kind,
    roles: user.roles,
    disabled: user.disabled,
    ...(user.kind === "machine" ? { keys: user.keys } : {}),
    ...(user.kind === "ci" ? { issuer: user.issuer, claims: user.claims } : {}),
  }));
  return {
    text:
      users.length === 0
        ? "There are no users."
        : columns([
            ["NAME", "KIND", "ROLES", "STATE"],
            ...users.map((user) => [
              user.name,
              user.kind,
              user.roles.join(","),
              user.disabled ? "disabled" : "enabled",
            ]),
          ]),
    json: { users },
  };
}

export async function signerKey(call: Call): Promise<Result> {
  const { context } = call;
  const folder = signerFolder(context.data);
  const [action, name] = [call.argument(0), call.argumentOr(1)];
  if (action === "list") {
    const { config } = await loadSettings(context.disk, folder);
    const keys = Object.entries(config.keys).map(([key, { custody, scheme }]) => ({
      name: key,
      custody,
      scheme,
    }));
    return {
      text:
        keys.length === 0
          ? "There are no keys."
          : columns([["NAME", "CUSTODY", "SCHEME"], ...keys.map((k) => [k.name, k.custody, k.scheme])]),
      json: { keys },
    };
  }
  if (name === undefined) throw usage(`signer key ${action} needs a name.`);
  if (name === LOG_KEY || name === IDENTITY_KEY) throw usage(`The name ${name} is the signer's own.`);
  if (action === "remove") {
    await known(call, folder, "keys", name);
    await edit(call, folder, (text) => removeTable(text, ["keys", name]));
    return done(
      `The key ${name} is out of use. Its sealed file stays: delete ${folder.key(name)} by hand if it must go.`,
      { key: name },
    );
  }
  const scheme = call.needed("scheme");
  if (!isScheme(scheme)) throw usage(`${scheme} is not a signature scheme.`);
  const { config } = await loadSettings(context.disk, folder);
  if (config.keys[name] !== undefined)
    throw new SigningError("signing/exists", `There is a key ${name} already.`, { key: name });
  const secret = await unlocked(call, folder);
  const also = scheme.startsWith("rsa-pkcs1v15-")
    ? {
        "also-schemes": ["rsa-pkcs1v15-sha256", "rsa-pkcs1v15-sha384", "rsa-pkcs1v15-sha512"].filter(
          (other) => other !== scheme,
        ),
      }
    : {};
  if (action === "new" || action === "import") {
    const privateKey =
      action === "new"
        ? newKey(scheme, call.whole("bits", 2048, 8192) ?? 3072)
        : createPrivateKey(fromUtf8(await context.disk.read(resolve(call.argument(2)), 64 * 1024)));
    const { publicKey } = localSigner(privateKey, scheme);
    await writeSealedKey(context.disk, folder, secret, name, privateKey, publicKey.spki, context.random);
    await edit(call, folder, (text) =>
      appendTable(text, ["keys", name], { custody: "file", scheme, ...also }),
    );
    return done(`The key ${name} (${scheme}) is sealed in ${folder.key(name)}.`, {
      key: name,
      scheme,
      spki: toBase64(publicKey.spki),
    });
  }
  if (action !== "add")
    throw usage(`There is no signer key ${action}.`, "One of: new, import, add, list, remove.");
  const table: Tree = { scheme, ...also };
  for (const setting of call.list("set")) {
    const cut = setting.indexOf("=");
    const value = setting.slice(cut + 1);
    table[setting.slice(0, cut)] =
      /^\d+$/.test(value) && setting.startsWith("parallel") ? Number(value) : value;
  }
  table[table["custody"] === "pkcs11" ? "pin" : "credentials"] ??= "sealed";
  const given = await context.secret({
    what: `PIN or credentials of the key ${name}`,
    env: "UPKEEP_KEY_SECRET",
    file: call.text("secret-file"),
    option: "--secret-file",
  });
  const file = call.argumentOr(2);
  const spki =
    file === undefined
      ? undefined
      : new Uint8Array(
          createPublicKey(fromUtf8(await context.disk.read(resolve(file), 64 * 1024))).export({
            type: "spki",
            format: "der",
          }),
        );
  const sealed = sealKey(
    wrappingKey(secret, name),
    { name, holds: "secret", ...(spki === undefined ? {} : { spki }), plain: toUtf8(given) },
    context.random,
  );
  // First the file, then the table that names it: a crash in between leaves a file that nobody uses.
  await writeAtomic(context.disk, folder.key(name), formatSealed(sealed), 0o600);
  await edit(call, folder, (text) => appendTable(text, ["keys", name], table));
  return done(`The key ${name} is in use from ${String(table["custody"])}.`, {
    key: name,
    custody: String(table["custody"]),
  });
}

function newKey(scheme: Scheme, bits: number): KeyObject {
  const { node, curve } = SCHEMES[scheme];
  if (node === "rsa") return generateKeyPairSync("rsa", { modulusLength: bits }).privateKey;
  if (node === "ec") return generateKeyPairSync("ec", { namedCurve: curve! }).privateKey;
  return generateKeyPairSync(node as "ed25519").privateKey;
}

export async function signerCert(call: Call): Promise<Result> {
  const { context } = call;
  const folder = signerFolder(context.data);
  const [action, name] = [call.argument(0), call.argumentOr(1)];
  if (action === "list") return (await import("./run-signer.ts")).signerCheck(call);
  if (name === undefined) throw usage(`signer cert ${action} needs a name.`);
  const settings = await loadSettings(context.disk, folder);
  const existing = settings.config.certificates[name];
  const key = call.text("key") ?? existing?.key ?? name;
  const keyConfig = settings.config.keys[key];
  if (keyConfig === undefined && action !== "remove") {
    throw new SigningError(
      "signing/not-found",
      `There is no key ${key}.`,
      { key },
      { hint: `Make one with "upkeep signer key new ${key}".` },
    );
  }
  const entry = (text: string): string =>
    existing === undefined ? appendTable(text, ["certificates", name], { key }) : text;
  switch (action) {
    case "csr":
    case "self": {
      const signer = await custodySigner(call, folder, key);
      const subject = commonName(call.text("subject") ?? name);
      const scheme = keyConfig!.scheme as X509Scheme;
      if (action === "csr") {
        const pem = toPem("CERTIFICATE REQUEST", await buildCsr({ subject, signer, scheme }));
        await edit(call, folder, entry);
        return { text: pem.trimEnd(), json: { certificate: name, csr: pem } };
      }
      const certificate = await buildCertificate({
        serial: context.random.bytes(16).with(0, 1),
        issuer: { signer, scheme },
        subject,
        spki: signer.publicKey.spki,
        notBefore: context.clock.now() - DAY,
        notAfter: context.clock.now() + (call.whole("days", 1, 36_500) ?? 365) * DAY,
        eku: [oids.codeSigning],
      });
      return imported(call, folder, name, certificatePem(certificate), entry);
    }
    case "import":
      return imported(
        call,
        folder,
        name,
        fromUtf8(await context.disk.read(resolve(call.argument(2)), 1024 * 1024)),
        entry,
      );
    case "enable":
    case "disable":
      await known(call, folder, "certificates", name);
      await edit(call, folder, (text) =>
        editSetting(text, ["certificates", name], "disabled", action === "disable" ? true : undefined),
      );
      return done(`The certificate ${name} is ${action}d.`, { certificate: name, action });
    case "remove":
      await known(call, folder, "certificates", name);
      await edit(call, folder, (text) => removeTable(text, ["certificates", name]));
      return done(`The certificate ${name} is out of use.`, { certificate: name, action });
    default:
      throw usage(
        `There is no signer cert ${action}.`,
        "One of: csr, import, self, list, enable, disable, remove.",
      );
  }
}

async function imported(
  call: Call,
  folder: SignerFolder,
  name: string,
  pem: string,
  entry: (text: string) => string,
): Promise<Result> {
  const { disk, clock } = call.context;
  const settings = await loadSettings(disk, folder);
  const key = call.text("key") ?? settings.config.certificates[name]?.key ?? name;
  const chain = parseCertificatesPem(pem);
  const leaf = chain[0];
  if (leaf === undefined) throw new SigningError("signing/refused", "The file holds no certificate.");
  const bad = (what: string): SigningError =>
    new SigningError("signing/refused", `The certificate is not imported: ${what}.`, { certificate: name });
  const { spki } = (await import("../../signing/custody.ts")).parseSealedKey(
    await disk.read(folder.key(key), 64 * 1024),
  );
  if (spki !== undefined && toBase64(leaf.spki) !== spki) throw bad(`it is for another key than ${key}`);
  if (leaf.notAfter <= clock.now()) throw bad(`it expired at ${formatInstant(leaf.notAfter)}`);
  chain.slice(0, -1).forEach((certificate, i) => {
    if (!isSignedBy(certificate, chain[i + 1]!))
      throw bad(
        `certificate ${i + 2} of the file did not issue certificate ${i + 1}; the order is leaf first`,
      );
  });
  await makeDirectories(disk, `${folder.root}/certificates`, 0o700);
  await writeAtomic(disk, folder.certificate(name), toUtf8(chain.map(certificatePem).join("")), 0o600);
  await edit(call, folder, entry);
  return done(`The certificate ${name} is in use until ${formatInstant(leaf.notAfter)}.`, {
    certificate: name,
    key,
    expires: formatInstant(leaf.notAfter),
    chain: chain.length,
  });
}

async function custodySigner(call: Call, folder: SignerFolder, key: string) {
  const { context } = call;
  const { config } = await loadSettings(context.disk, folder);
  const keyConfig = config.keys[key]!;
  const secret = await unlocked(call, folder);
  if (keyConfig.custody === "file")
    return localSigner(await openSealedKey(context.disk, folder, secret, key), keyConfig.scheme);
  const { openKey, parseSealedKey } = await import("../../signing/custody.ts");
  const { openCustody } = await import("../../io/custody.ts");
  const sealed = parseSealedKey(await context.disk.read(folder.key(key), 64 * 1024));
  return openCustody(key, keyConfig, sealed, openKey(wrappingKey(secret, key), sealed));
}

export async function signerPolicy(call: Call): Promise<Result> {
  const folder = signerFolder(call.context.data);
  const [action, certificate, rule] = [call.argument(0), call.argument(1), call.argumentOr(2) ?? "default"];
  const settings = await loadSettings(call.context.disk, folder);
  const config = settings.config.certificates[certificate];
  if (config === undefined)
    throw new SigningError("signing/not-found", `There is no certificate ${certificate}.`, { certificate });
  const at = ["certificates", certificate, "policy", rule];
  if (action === "show") {
    const text = Object.entries(config.policy).map(
      ([name, fields]) =>
        `[${name}]\n${Object.entries(fields)
          .map(([field, value]) => `${field} = ${JSON.stringify(value)}`)
          .join("\n")}`,
    );
    return {
      text: text.length === 0 ? "There is no rule: nobody may use it." : text.join("\n\n"),
      json: { certificate, policy: config.policy },
    };
  }
  if (action === "remove") {
    await edit(call, folder, (text) => removeTable(text, at));
    return done(`The rule ${rule} of ${certificate} is removed.`, { certificate, rule });
  }
  if (action !== "set") throw usage(`There is no signer policy ${action}.`, "One of: set, show, remove.");
  const table: Tree = { users: [...call.list("user")], operations: [...call.list("operation")] };
  const lists = {
    formats: "format",
    algorithms: "algorithm",
    names: "file-name",
    purposes: "purpose",
    days: "day",
    addresses: "address",
    approvers: "approver",
  };
  for (const [field, option] of Object.entries(lists))
    if (call.list(option).length > 0) table[field] = [...call.list(option)];
  for (const field of ["timestamp", "hours", "until"])
    if (call.text(field) !== undefined) table[field] = call.text(field);
  for (const field of ["per-hour", "per-day", "total", "approvals"]) {
    const value = call.whole(field, field === "approvals" ? 0 : 1, 1_000_000_000);
    if (value !== undefined) table[field] = value;
  }
  await edit(call, folder, (text) =>
    appendTable(config.policy[rule] === undefined ? text : removeTable(text, at), at, table),
  );
  return done(`The rule ${rule} of ${certificate} is in force.`, {
    certificate,
    rule,
    policy: table as never,
  });
}

async function known(
  call: Call,
  folder: SignerFolder,
  table: "users" | "keys" | "certificates",
  name: string,
): Promise<void> {
  const { config } = await loadSettings(call.context.disk, folder);
  if (config[table][name] === undefined)
    throw new SigningError("signing/not-found", `There is no [${table}.${name}].`, { name });
}

function done(text: string, json: { readonly [name: string]: unknown }): Result {
  return { text, json };
}
