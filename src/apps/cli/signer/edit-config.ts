// Small edits of the signer's configuration, checked as a whole before they count.

import { fromUtf8, toUtf8 } from "../../../core/bytes.ts";
import { sha256Hex } from "../../../core/digest.ts";
import { readOrNull, writeAtomic } from "../../../core/disk.ts";
import { MAX_CONFIG, parseConfig } from "../../../signing/policy/config.ts";
import { wholeHash } from "../../../signing/policy/admins.ts";
import { SigningError } from "../../../signing/errors.ts";
import type { Settings } from "../../../signing/service.ts";
import { changedMeanwhile } from "../../signer/admin-requests.ts";
import { loadSettings, type SignerFolder } from "../../signer/settings.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { acceptNow, asking } from "./acceptance.ts";

/**
 * The file is replaced in one step, and only by one that a start would accept. `files` (certificates) go with it. Where there are administrators,
 * the code is asked for first, and all of it counts only when it was right: otherwise everything is as it was.
 */
export async function edit(
  call: Call,
  folder: SignerFolder,
  change: (text: string) => string,
  files: readonly { readonly path: string; readonly bytes: Uint8Array }[] = [],
): Promise<void> {
  const { disk } = call.context;
  const config = await disk.read(folder.config, MAX_CONFIG);
  const after = change(fromUtf8(config));
  try {
    parseConfig(after, folder.config);
  } catch (cause) {
    if (!(cause instanceof SigningError)) throw cause;
    // The lines are those of a file that was not written.
    throw new SigningError(cause.code, cause.message, cause.facts, {
      cause: cause.cause,
      hint: "Nothing was changed: no signer would start with what this would have written.",
    });
  }
  const by = await asking(call, folder);
  const base = by === null ? null : await loadSettings(disk, folder);
  const before: { readonly path: string; readonly bytes: Uint8Array | null }[] = [
    { path: folder.config, bytes: config },
  ];
  for (const { path } of files) before.push({ path, bytes: await readOrNull(disk, path, MAX_CONFIG) });
  for (const { path, bytes } of files) await writeAtomic(disk, path, bytes, 0o600);
  await writeAtomic(disk, folder.config, toUtf8(after), 0o600);
  if (by === null || base === null) return;
  try {
    const now = await loadSettings(disk, folder);
    if (base.sha256 !== sha256Hex(config) || !isOnlyThat(folder, base, now, after, files))
      throw changedMeanwhile(wholeHash(now));
    await acceptNow(call, folder, by, now, base);
  } catch (error) {
    for (const { path, bytes } of before)
      await (bytes === null ? disk.removeFile(path) : writeAtomic(disk, path, bytes, 0o600));
    throw error;
  }
}

/** Whether what lies there is what this command wrote, and every other certificate is as it was. */
function isOnlyThat(
  folder: SignerFolder,
  base: Settings,
  now: Settings,
  after: string,
  files: readonly { readonly path: string; readonly bytes: Uint8Array }[],
): boolean {
  if (now.sha256 !== sha256Hex(toUtf8(after))) return false;
  for (const [name, { pem }] of now.certificates) {
    const written = files.find(({ path }) => path === folder.certificate(name));
    const wanted = written === undefined ? base.certificates.get(name)?.pem : fromUtf8(written.bytes);
    if (wanted !== undefined && wanted !== pem) return false;
  }
  return true;
}

export async function known(
  call: Call,
  folder: SignerFolder,
  table: "users" | "keys" | "certificates",
  name: string,
): Promise<void> {
  const { config } = await loadSettings(call.context.disk, folder);
  if (config[table][name] === undefined)
    throw new SigningError(
      "signing/not-found",
      `There is no ${NOUNS[table].word} ${name}.`,
      { name },
      { hint: `"upkeep signer ${NOUNS[table].command} list" says which there are.` },
    );
}

const NOUNS = {
  users: { word: "user", command: "user" },
  keys: { word: "key", command: "key" },
  certificates: { word: "certificate", command: "cert" },
} as const;

/** What an action of this noun needs; an action that is none is told before anything that is missing for it. Errors: `cli/usage`. */
export function nameFor(call: Call, noun: string, actions: readonly string[]): string {
  const [action, name] = [call.argument(0), call.argumentOr(1)];
  if (!actions.includes(action))
    throw usage(`There is no signer ${noun} ${action}.`, `One of: ${actions.join(", ")}.`);
  if (name === undefined) throw usage(`signer ${noun} ${action} needs a name.`);
  return name;
}

export function done(text: string, json: { readonly [name: string]: unknown }): Result {
  return { text, json };
}
