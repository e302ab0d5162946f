// What the verbs of `key` do.

import { resolve } from "node:path";
import { toBase64 } from "../../../core/bytes.ts";
import { writeAtomic } from "../../../core/disk.ts";
import type { Json } from "../../../core/json.ts";
import { stableJsonFile } from "../../../core/stable-json.ts";
import type { KeyInfo } from "../../../keys/key-file.ts";
import { KeyError } from "../../../keys/errors.ts";
import { openPrivateKey, privateKeyForm, PRIVATE_KEY_LIMIT } from "../../../keys/read-private-key.ts";
import { defaultScheme, isScheme } from "../../../keys/scheme.ts";
import type { Call, Result } from "../../framework/command.ts";
import { unknownScheme, usage } from "../../framework/errors.ts";
import { keysOf } from "./keys.ts";
import { columns } from "../../framework/style.ts";
import { privateHint } from "../../../io/system/platform.ts";

export async function keyNew(call: Call): Promise<Result> {
  const { context } = call;
  const scheme = call.needed("scheme");
  if (!isScheme(scheme)) throw unknownScheme(scheme);
  const passphrase = await newPassphrase(call);
  const info = await keysOf(call).create({
    name: call.argument(0),
    scheme,
    passphrase,
    created: context.clock.now(),
  });
  return {
    text: `${info.name}  ${info.publicKey.keyid}  ${info.scheme}${info.wrapped ? "  wrapped" : ""}`,
    json: describe(info),
  };
}

export async function keyImport(call: Call): Promise<Result> {
  const { context } = call;
  const path = resolve(call.argument(1));
  const { mode } = await context.disk.stat(path);
  if ((mode & 0o077) !== 0) {
    throw new KeyError(
      "key/readable-by-others",
      `${path} may be used by other users of this machine, so the key in it is not private.`,
      { path, mode: mode.toString(8) },
      { hint: `If nobody else could have read it, run: ${privateHint(path)}` },
    );
  }
  const bytes = await context.disk.read(path, PRIVATE_KEY_LIMIT);
  const form = privateKeyForm(bytes, path);
  // The one that opens the file is asked for before the one that will wrap the key here, and with another name.
  const opens = form.encrypted
    ? await context.secret({
        what: `Passphrase of ${path}`,
        env: importVariable(call),
        file: call.text("open-file"),
        option: "--open-file",
      })
    : null;
  const privateKey = openPrivateKey(bytes, form, opens, path);
  const usual = defaultScheme(
    privateKey.asymmetricKeyType ?? "",
    privateKey.asymmetricKeyDetails?.namedCurve,
  );
  const scheme = call.text("scheme") ?? usual;
  if (scheme === null || !isScheme(scheme)) throw usage(`${path} holds a kind of key that cannot sign here.`);
  const info = await keysOf(call).create({
    name: call.argument(0),
    scheme,
    passphrase: await newPassphrase(call),
    created: context.clock.now(),
    privateKey,
  });
  return {
    text: `${info.name}  ${info.publicKey.keyid}  ${info.scheme}${info.wrapped ? "  wrapped" : ""}`,
    json: describe(info),
  };
}

/** Without a passphrase for the new file, the usual variable is free for the old one. */
function importVariable(call: Call): string {
  const own = call.context.terminal.env["UPKEEP_IMPORT_PASSPHRASE"] ?? "";
  return own !== "" || wraps(call) ? "UPKEEP_IMPORT_PASSPHRASE" : "UPKEEP_PASSPHRASE";
}

function wraps(call: Call): boolean {
  return call.flag("passphrase") || call.text("passphrase-file") !== undefined;
}

async function newPassphrase(call: Call): Promise<string | null> {
  if (!wraps(call)) return null;
  return call.context.secret({
    what: "New passphrase",
    env: "UPKEEP_PASSPHRASE",
    file: call.text("passphrase-file"),
    option: "--passphrase-file",
    twice: true,
  });
}

export async function keyList(call: Call): Promise<Result> {
  const infos = await keysOf(call).list();
  const rows = infos.map((info) => [
    info.name,
    info.publicKey.keyid.slice(0, 16),
    info.scheme,
    info.wrapped ? "wrapped" : "plain",
    info.created,
  ]);
  return {
    text:
      rows.length === 0
        ? `There are no keys in ${call.context.data}/keys.`
        : columns([["NAME", "KEY ID", "SCHEME", "FILE", "CREATED"], ...rows]),
    json: { keys: infos.map(describe) },
  };
}

export async function keyShow(call: Call): Promise<Result> {
  const info = await keysOf(call).find(call.argument(0));
  const pem = toPem(info.publicKey.spki);
  const json = { ...describe(info), pem };
  const out = call.text("out");
  if (out !== undefined) {
    await writeAtomic(call.context.disk, resolve(out), stableJsonFile(json));
    return { text: `wrote ${resolve(out)}`, json: { file: resolve(out), ...json } };
  }
  const text = call.flag("pem")
    ? pem.trimEnd()
    : columns([
        ["name", info.name],
        ["key id", info.publicKey.keyid],
        ["scheme", info.scheme],
        ["file", info.wrapped ? "wrapped under a passphrase" : "not wrapped"],
        ["created", info.created],
        ["public", JSON.stringify(info.publicKey.tuf)],
      ]);
  return { text, json };
}

function describe(info: KeyInfo): { readonly [name: string]: Json } {
  return {
    name: info.name,
    keyid: info.publicKey.keyid,
    scheme: info.scheme,
    wrapped: info.wrapped,
    created: info.created,
    public: info.publicKey.tuf,
  };
}

function toPem(spki: Uint8Array): string {
  const lines = toBase64(spki).match(/.{1,64}/g) ?? [];
  return `-----BEGIN PUBLIC KEY-----\n${lines.join("\n")}\n-----END PUBLIC KEY-----\n`;
}
