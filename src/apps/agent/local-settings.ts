// The settings of one device as they lie in its folder, and the last ones that could be read, for when somebody mistyped.

import { parse } from "smol-toml";
import { AgentError, sentenceOf } from "../../agent/errors.ts";
import { parseSettings, type Settings } from "../../agent/settings.ts";
import { fromUtf8 } from "../../core/bytes.ts";
import { readOrNull, writeAtomic, type Disk } from "../../core/disk.ts";
import { UpkeepError } from "../../core/errors.ts";
import { parseJsonText } from "../../core/json.ts";
import { SchemaError } from "../../core/schema.ts";
import { lineOf } from "../../core/toml-line.ts";

const LIMIT = 256 * 1024;
const NAME = "agent.toml";
/** A copy of the last `agent.toml` that said something that can be set. */
const LAST = "agent.last.toml";

/** `agent.toml` of the folder; without one, everything is as it comes. Errors: `agent/bad-settings`, `disk/*`. */
export async function loadSettings(disk: Disk, folder: string): Promise<Settings> {
  const path = `${folder}/${NAME}`;
  const bytes = await readOrNull(disk, path, LIMIT);
  return bytes === null ? {} : readSettings(bytes, path);
}

/**
 * The same, and when it cannot be read: what it said when it could, or nothing. `trouble` says why. A component is not started without
 * what was set for it because of a slip in another line.
 */
export async function settingsOrLast(
  disk: Disk,
  folder: string,
): Promise<{ readonly settings: Settings; readonly trouble: UpkeepError | null }> {
  const last = `${folder}/${LAST}`;
  try {
    const bytes = await readOrNull(disk, `${folder}/${NAME}`, LIMIT);
    const settings = bytes === null ? {} : readSettings(bytes, `${folder}/${NAME}`);
    await remember(disk, last, bytes ?? new Uint8Array(0));
    return { settings, trouble: null };
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    return { settings: await readLast(disk, last), trouble: error };
  }
}

async function readLast(disk: Disk, path: string): Promise<Settings> {
  try {
    const bytes = await readOrNull(disk, path, LIMIT);
    return bytes === null ? {} : readSettings(bytes, path);
  } catch (error) {
    if (error instanceof UpkeepError) return {};
    throw error;
  }
}

/** A full disk costs the copy and no more. */
async function remember(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  try {
    const known = await readOrNull(disk, path, LIMIT);
    if (known === null ? bytes.length === 0 : Buffer.from(known).equals(bytes)) return;
    await writeAtomic(disk, path, bytes, 0o600);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
  }
}

function readSettings(bytes: Uint8Array, path: string): Settings {
  return settingsFrom(fromUtf8(bytes), path);
}

/** Errors: `agent/bad-settings` with file and line. */
export function settingsFrom(text: string, path: string): Settings {
  const refuse = (line: number, what: string, cause: unknown): AgentError =>
    new AgentError(
      "agent/bad-settings",
      `${path}, line ${line}: ${what}`,
      { path, line },
      { cause, ...(cause instanceof UpkeepError && cause.hint !== undefined ? { hint: cause.hint } : {}) },
    );
  let json: string;
  try {
    json = JSON.stringify(parse(text));
  } catch (cause) {
    const { line, message } = cause as { readonly line?: number; readonly message: string };
    throw refuse(line ?? 1, `it is not TOML: ${sentenceOf(message.split("\n")[0]!)}.`, cause);
  }
  try {
    return parseSettings(parseJsonText(json));
  } catch (cause) {
    const fault = cause instanceof SchemaError ? cause.faults[0] : undefined;
    const line = lineOf(text, fault?.path ?? ["mirrors"]);
    throw refuse(line, `it says something that cannot be set. ${sentenceOf(cause)}`, cause);
  }
}
