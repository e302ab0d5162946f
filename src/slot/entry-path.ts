// Which entries of an archive may become files of a slot: every refusal that unpacking knows, in one list.

import { quoteName } from "../core/raw-name.ts";
import { foldName, wrongName, type NameRules } from "./entry-name.ts";
import { SlotError } from "./errors.ts";

export type EntryKind = "file" | "directory" | "link";

export type EntryHead = {
  readonly path: string;
  readonly kind: EntryKind;
  readonly size: number;
  readonly executable: boolean;
  /** Of a link only. */
  readonly target: string;
};

/** An entry as an archive gives it; `content` must be read to its end before the next entry. */
export type ArchiveEntry = EntryHead & { readonly content: AsyncIterable<Uint8Array> };

/** What the signed manifest allows an archive to become. */
export type UnpackLimits = {
  readonly bytes: number;
  readonly entries: number;
  /** Whose devices must be able to write the names; absent: all. */
  readonly names?: NameRules;
};

/** Names that Upkeep keeps for itself at the top of a slot. */
export const RESERVED = ".upkeep-";

const MAX_PATH = 1024;
const MAX_NAME = 200;

/**
 * Watches one archive go by. `admit` returns the entry's clean path, or null for the archive's own root folder ("./").
 * Errors: `slot/unsafe-entry`, `slot/too-large`.
 */
export class EntryGate {
  readonly #limits: UnpackLimits;
  /** Folded path → what it is and how it was spelled. */
  readonly #seen = new Map<string, { path: string; kind: EntryKind; implied: boolean }>();
  readonly #names: NameRules;
  #bytes = 0;
  #entries = 0;

  constructor(limits: UnpackLimits) {
    this.#limits = limits;
    this.#names = limits.names ?? "any";
  }

  admit(entry: EntryHead): string | null {
    this.#count(entry);
    const path = cleanPath(entry, this.#names);
    if (path === null) return null;
    this.#claim(path, entry.kind);
    if (entry.kind === "link") checkTarget(path, entry.target, this.#names);
    return path;
  }

  #count(entry: EntryHead): void {
    this.#entries += 1;
    this.#bytes += entry.size;
    if (this.#entries > this.#limits.entries) {
      throw new SlotError(
        "slot/too-large",
        `The archive holds more than the declared ${this.#limits.entries} entries.`,
        { declared: this.#limits.entries },
      );
    }
    if (this.#bytes > this.#limits.bytes) {
      throw new SlotError(
        "slot/too-large",
        `The archive unpacks to more than the declared ${this.#limits.bytes} bytes.`,
        { declared: this.#limits.bytes },
      );
    }
  }

  #claim(path: string, kind: EntryKind): void {
    const parts = path.split("/");
    for (let depth = 1; depth < parts.length; depth++)
      this.#take(parts.slice(0, depth).join("/"), path, true);
    this.#take(path, path, false, kind);
  }

  #take(path: string, entry: string, implied: boolean, kind: EntryKind = "directory"): void {
    // A file system that folds case or composes accents would see one name where this one sees two.
    const key = foldName(path, this.#names);
    const found = this.#seen.get(key);
    if (found === undefined) {
      this.#seen.set(key, { path, kind, implied });
      return;
    }
    if (found.path !== path)
      throw unsafe(
        entry,
        `it differs from ${quoteName(found.path)} in case or accents only, which Windows and macOS take for the same name`,
      );
    // Nothing is ever written through a link, or below a file.
    if (implied && found.kind !== "directory")
      throw unsafe(entry, `it lies below ${quoteName(path)}, which is no folder`);
    if (implied) return;
    if (!(found.implied && kind === "directory")) throw unsafe(entry, "it appears twice");
    found.implied = false;
  }
}

function cleanPath(entry: EntryHead, names: NameRules): string | null {
  const shown = entry.path;
  if (shown.startsWith("/") || isDrive(shown, names)) throw unsafe(shown, "its path is absolute");
  let path = shown;
  while (path.startsWith("./")) path = path.slice(2);
  if (entry.kind === "directory" && path.endsWith("/")) path = path.slice(0, -1);
  if (path === "" || path === ".") {
    if (entry.kind === "directory") return null;
    throw unsafe(shown, "it has no name");
  }
  if (Buffer.byteLength(path) > MAX_PATH) throw unsafe(shown, `its path is longer than ${MAX_PATH} bytes`);
  for (const part of path.split("/")) {
    if (part === "..") throw unsafe(shown, 'its path holds ".."');
    if (part === "" || part === ".") throw unsafe(shown, "its path has an empty part");
    if (Buffer.byteLength(part) > MAX_NAME)
      throw unsafe(shown, `a name in it is longer than ${MAX_NAME} bytes`);
    const wrong = wrongName(part, names);
    if (wrong !== null) throw unsafe(shown, wrong);
  }
  if (path.toLowerCase().startsWith(RESERVED))
    throw unsafe(shown, `names that start with ${RESERVED} are taken`);
  return path;
}

/** A place of its own there; elsewhere a colon is a letter like any other. */
function isDrive(path: string, names: NameRules): boolean {
  return (names === "windows" || names === "any") && /^[A-Za-z]:(?:[\\/]|$)/.test(path);
}

/**
 * A link must stay inside whatever the other links are: `..` is allowed at the start only, where the way up leads through
 * real folders, and no further up than the slot's top. Below a link nothing is ever written, so this holds for chains as well.
 */
function checkTarget(path: string, target: string, names: NameRules): void {
  const bad = (why: string): SlotError => unsafe(path, `it is a link to ${quoteName(target, 80)}, ${why}`);
  if (target === "") throw bad("which is no clean path");
  if (target.startsWith("/") || isDrive(target, names)) throw bad("which is absolute");
  if (Buffer.byteLength(target) > MAX_PATH) throw bad("which is too long");
  const depth = path.split("/").length - 1;
  let up = 0;
  let down = false;
  for (const part of target.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== ".." && wrongName(part, names) !== null) throw bad("which is no clean path");
    if (part !== "..") down = true;
    else if (down) throw bad("which goes down and up again");
    else if (++up > depth) throw bad("which leaves the slot");
  }
}

export function unsafe(path: string, why: string): SlotError {
  return new SlotError(
    "slot/unsafe-entry",
    `The archive is refused because of its entry ${quoteName(path)}: ${why}.`,
    { entry: path.slice(0, 120), why },
  );
}
