// What `signer user`, `key` and `policy` do.

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { resolve } from "node:path";
import { fromUtf8, toBase64, toUtf8 } from "../../../core/bytes.ts";
import { writeAtomic } from "../../../core/disk.ts";
import { parseInstant, type Instant } from "../../../core/instant.ts";
import { isJsonObject, parseJsonText } from "../../../core/json.ts";
import { isScheme, SCHEMES, type Scheme } from "../../../keys/scheme.ts";
import { openPrivateKey, privateKeyForm, PRIVATE_KEY_LIMIT } from "../../../keys/read-private-key.ts";
import { localSigner } from "../../../keys/signer.ts";
import { appendTable, editSetting, removeTable } from "../../../signing/policy/config-text.ts";
import {
  formatSealed,
  purposeKey,
  sealKey,
  sealWith,
  wrappingKey,
} from "../../../signing/custody/custody.ts";
import { SigningError } from "../../../signing/errors.ts";
import { hashPassword } from "../../../signing/policy/password.ts";
import { toBase32, totpUri } from "../../../signing/policy/totp.ts";
import {
  IDENTITY_KEY,
  loadSettings,
  LOG_KEY,
  signerFolder,
  type SignerFolder,
} from "../../signer/settings.ts";
import type { Call, Result } from "../../framework/command.ts";
import { unknownScheme, usage } from "../../framework/errors.ts";
import { unlocked, writeSealedKey } from "./init-run-describe.ts";
import { done, edit, known, nameFor } from "./edit-config.ts";
import { columns } from "../../framework/style.ts";

const USER_ACTIONS = ["add", "list", "show", "enable", "disable", "remove", "reset"];
const KEY_ACTIONS = ["new", "import", "add", "list", "remove"];

type Tree = { [name: string]: unknown };

export async function signerUser(call: Call): Promise<Result> {
  const folder = signerFolder(call.context.data);
  const action = call.argument(0);
  if (action === "list") return userList(call, folder);
  const name = nameFor(call, "user", USER_ACTIONS);
  const at = ["users", name];
  switch (action) {
    case "show":
      return (await import("./show.ts")).showUser(call, name);
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
    default: {
      // reset
      await known(call, folder, "users", name);
      const { settings, made } = await person(call, folder, name);
      await edit(call, folder, (text) =>
        editSetting(editSetting(text, at, "password", settings["password"]), at, "totp", settings["totp"]),
      );
      return made;
    }
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
    ...(user.kind === "machine"
      ? { keys: user.keys, ...(user.expires === undefined ? {} : { expires: user.expires }) }
      : {}),
    ...(user.kind === "ci" ? { issuer: user.issuer, claims: user.claims } : {}),
  }));
  return {
    text:
      users.length === 0
        ? "There are no users."
        : columns(
            [
              ["NAME", "KIND", "ROLES", "STATE"],
              ...users.map((user) => [
                user.name,
                user.kind,
                user.roles.join(","),
                stateOf(user, call.context.clock.now()),
              ]),
            ],
            call.context.width,
          ),
    json: { users },
  };
}

function stateOf(
  { disabled, expires }: { readonly disabled: boolean; readonly expires?: string },
  now: Instant,
): string {
  if (disabled) return "disabled";
  if (expires === undefined) return "enabled";
  return parseInstant(expires) <= now ? `expired at ${expires}` : `until ${expires}`;
}

export async function signerKey(call: Call): Promise<Result> {
  const { context } = call;
  const folder = signerFolder(context.data);
  const [action, name = ""] = [call.argument(0), call.argumentOr(1)];
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
          : columns(
              [["NAME", "CUSTODY", "SCHEME"], ...keys.map((k) => [k.name, k.custody, k.scheme])],
              call.context.width,
            ),
      json: { keys },
    };
  }
  nameFor(call, "key", KEY_ACTIONS);
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
  if (!isScheme(scheme)) throw unknownScheme(scheme);
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
        : importedKey(
            await context.disk.read(resolve(call.argument(2)), PRIVATE_KEY_LIMIT),
            call.argument(2),
          );
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
  const table: Tree = { scheme, ...also };
  for (const setting of call.list("set")) {
    const cut = setting.indexOf("=");
    const value = setting.slice(cut + 1);
    table[setting.slice(0, cut)] =
      /^\d+$/.test(value) && setting.startsWith("parallel")
        ? Number(value)
        : setting.startsWith("network=") && /^(?:true|false)$/.test(value)
          ? value === "true"
          : value;
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

/** PEM, or a key file of a data folder: so that a key of a repository can move into the signer. */
function importedKey(bytes: Uint8Array, path: string): KeyObject {
  const isJson = /^\s*\{/.test(Buffer.from(bytes.subarray(0, 64)).toString("latin1"));
  // An encrypted one is refused with `key/passphrase-needed`: the one secret that is asked for here is the signer's.
  if (!isJson) return openPrivateKey(bytes, privateKeyForm(bytes, path), null, path);
  const file = parseJsonText(fromUtf8(bytes));
  const held = isJsonObject(file) ? file["private"] : undefined;
  if (!isJsonObject(held) || held["form"] !== "pkcs8" || typeof held["data"] !== "string") {
    throw new SigningError(
      "signing/refused",
      "The key file is wrapped under a passphrase or of another kind; it is not imported.",
    );
  }
  return createPrivateKey({ key: Buffer.from(held["data"], "base64"), format: "der", type: "pkcs8" });
}

function newKey(scheme: Scheme, bits: number): KeyObject {
  const { node, curve } = SCHEMES[scheme];
  if (node === "rsa") return generateKeyPairSync("rsa", { modulusLength: bits }).privateKey;
  if (node === "ec") return generateKeyPairSync("ec", { namedCurve: curve! }).privateKey;
  return generateKeyPairSync(node as "ed25519").privateKey;
}

export async function signerPolicy(call: Call): Promise<Result> {
  const folder = signerFolder(call.context.data);
  const [action, certificate, rule] = [call.argument(0), call.argument(1), call.argumentOr(2) ?? "default"];
  if (!["set", "show", "remove"].includes(action))
    throw usage(`There is no signer policy ${action}.`, "One of: set, show, remove.");
  const settings = await loadSettings(call.context.disk, folder);
  const config = settings.config.certificates[certificate];
  if (config === undefined)
    throw new SigningError(
      "signing/not-found",
      `There is no certificate ${certificate}.`,
      { certificate },
      { hint: '"upkeep signer cert list" says which there are.' },
    );
  const at = ["certificates", certificate, "policy", rule];
  if (action === "show") {
    const text = Object.entries(config.policy).map(
      ([name, fields]) =>
        `[${name}]\n${Object.entries(fields)
          .map(([field, value]) => `${field} = ${JSON.stringify(value)}`)
          .join("\n")}`,
    );
    return {
      text: text.length === 0 ? "There is no rule: no user may use it." : text.join("\n\n"),
      json: { certificate, policy: config.policy },
    };
  }
  if (action === "remove") {
    if (config.policy[rule] === undefined)
      throw new SigningError(
        "signing/not-found",
        `There is no rule ${rule} of ${certificate}.`,
        { certificate, rule, rules: Object.keys(config.policy) },
        { hint: `"upkeep signer policy show ${certificate}" says which there are.` },
      );
    await edit(call, folder, (text) => removeTable(text, at));
    return done(`The rule ${rule} of ${certificate} is removed.`, { certificate, rule });
  }
  if (call.list("user").length === 0 || call.list("operation").length === 0)
    throw usage(
      "A rule says who may sign what: --user and --operation are needed.",
      "Setting a rule replaces all of it.",
    );
  const table: Tree = { users: [...call.list("user")], operations: [...call.list("operation")] };
  const lists = {
    formats: "format",
    algorithms: "algorithm",
    names: "file-name",
    purposes: "purpose",
    members: "member",
    days: "day",
    addresses: "address",
    approvers: "approver",
  };
  for (const [field, option] of Object.entries(lists))
    if (call.list(option).length > 0) table[field] = [...call.list(option)];
  for (const field of ["timestamp", "hours", "until"])
    if (call.text(field) !== undefined) table[field] = call.text(field);
  if (call.flag("unread-catalogs")) table["unread-catalogs"] = true;
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
