// Small edits of the signer's configuration, checked as a whole before they count.

import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { writeAtomic } from "../../core/disk.ts";
import { MAX_CONFIG, parseConfig } from "../../signing/config.ts";
import { SigningError } from "../../signing/errors.ts";
import { loadSettings, type SignerFolder } from "../signer/settings.ts";
import type { Call, Result } from "./command.ts";

/** The file is replaced in one step, and only by one that a start would accept. */
export async function edit(
  call: Call,
  folder: SignerFolder,
  change: (text: string) => string,
): Promise<void> {
  const { disk } = call.context;
  const before = fromUtf8(await disk.read(folder.config, MAX_CONFIG));
  const after = change(before);
  parseConfig(after, folder.config);
  await writeAtomic(disk, folder.config, toUtf8(after), 0o600);
}

export async function known(
  call: Call,
  folder: SignerFolder,
  table: "users" | "keys" | "certificates",
  name: string,
): Promise<void> {
  const { config } = await loadSettings(call.context.disk, folder);
  if (config[table][name] === undefined)
    throw new SigningError("signing/not-found", `There is no [${table}.${name}].`, { name });
}

export function done(text: string, json: { readonly [name: string]: unknown }): Result {
  return { text, json };
}
