// Whose the agent's data folder is: what others could write would be run by this agent, and keys that others could read are no keys.

import { chmod, readdir } from "node:fs/promises";
import { AgentError } from "../../agent/errors.ts";
import { showName } from "../../core/raw-name.ts";
import { exposure, isMissing, lstatOrNull } from "../system/exposure.ts";

/** Secret files in `identity/`. */
const KEYS: readonly string[] = ["device.key", "device.pem", "device.renewed.pem", "report.key"];
/** What a person may have put there before the device is enrolled. */
const BEFORE: readonly string[] = ["agent.toml", "identity", "lock", "lost+found"];

/**
 * Refuses a folder that somebody else than this user and root could change: it, its folders, `identity/` and `agent.toml`. Access lists are
 * what Windows asks instead (`process/service-exposed`). Errors: `agent/exposed-folder`.
 */
export async function guardFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const places = [folder, `${folder}/agent.toml`, `${folder}/identity`];
  for (const name of ["components", "download", "tuf", "outbox"]) places.push(`${folder}/${name}`);
  for (const name of await names(`${folder}/identity`)) places.push(`${folder}/identity/${name}`);
  for (const place of places) {
    const stat = await lstatOrNull(place);
    if (stat === null) continue;
    const why = exposure(stat);
    if (why !== null) throw exposed(place, why, `chmod go-w '${place}'`);
  }
  for (const name of KEYS) {
    const place = `${folder}/identity/${name}`;
    const stat = await lstatOrNull(place);
    if (stat === null || (stat.mode & 0o077) === 0) continue;
    throw exposed(
      place,
      `others may read it (mode ${(stat.mode & 0o7777).toString(8)})`,
      `chmod 600 '${place}'`,
      "If others had access, enroll the device again with new keys.",
    );
  }
}

/** A folder that was there before enrolment is narrowed like one that is made, unless it holds other things than ours. */
export async function narrowFolder(folder: string, mode: number): Promise<void> {
  if (process.platform === "win32") return;
  const stat = await lstatOrNull(folder);
  const wide = stat !== null && (stat.mode & 0o7777 & ~mode) !== 0;
  if (!wide || !stat.isDirectory() || stat.uid !== process.geteuid?.()) return;
  if ((await names(folder)).every((name) => BEFORE.includes(name))) await chmod(folder, stat.mode & mode);
}

function exposed(
  place: string,
  why: string,
  mend: string,
  more = "Look first whether anything in it was changed.",
): AgentError {
  return new AgentError(
    "agent/exposed-folder",
    `The agent does not work with ${showName(place)}: ${why}, and would decide what this device runs.`,
    { path: place, why },
    { hint: `${more} Then: ${mend}` },
  );
}

async function names(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
