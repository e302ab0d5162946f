// What the verbs of `key` do.

import { toBase64 } from "../../core/bytes.ts";
import type { Json } from "../../core/json.ts";
import type { KeyInfo } from "../../keys/key-file.ts";
import { isScheme } from "../../keys/scheme.ts";
import type { Call, Result } from "./command.ts";
import { usage } from "./errors.ts";
import { keysOf } from "./keys.ts";
import { columns } from "./style.ts";

export async function keyNew(call: Call): Promise<Result> {
  const { context } = call;
  const scheme = call.needed("scheme");
  if (!isScheme(scheme)) throw usage(`${scheme} is not a signature scheme.`);
  const wrap = call.flag("passphrase") || call.text("passphrase-file") !== undefined;
  const passphrase = wrap
    ? await context.secret({
        what: "New passphrase",
        env: "UPKEEP_PASSPHRASE",
        file: call.text("passphrase-file"),
        option: "--passphrase-file",
        twice: true,
      })
    : null;
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
  return { text, json: { ...describe(info), pem } };
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
