// Which names a device can write: one list of rules for each operating system, the same for a folder and for an archive.

/** The system whose devices must be able to write a name; `any` is what all of them can. */
export type NameRules = "linux" | "darwin" | "windows" | "any";

/** Windows keeps these for devices, whatever follows the first dot ("Naming Files, Paths, and Namespaces", Microsoft). */
const DEVICE = /^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])(?:\.|$)/i;

/** Why no device of this kind can hold a file, folder or link of that name, null if each can. `part` is one name, without slashes. */
export function wrongName(part: string, rules: NameRules): string | null {
  if (!part.isWellFormed()) return "its name is not UTF-8";
  if (/\p{Cc}/u.test(part)) return "its name holds a control character";
  if (rules === "linux" || rules === "darwin") return null;
  const character = /[<>:"|?*\\]/.exec(part)?.[0];
  if (character !== undefined) return `Windows allows no ${character} in a name`;
  if (/[. ]$/.test(part)) return "Windows drops the dot or space at the end of a name";
  if (DEVICE.test(part)) return `Windows keeps the name ${part.split(".")[0]!} for a device`;
  return null;
}

/** Whether such systems take names for one that differ in case or in how accents are composed. */
export function foldsNames(rules: NameRules): boolean {
  return rules !== "linux";
}

/** Equal for names that such a system would take for one. */
export function foldName(path: string, rules: NameRules): string {
  return foldsNames(rules) ? path.normalize("NFC").toLowerCase() : path;
}
