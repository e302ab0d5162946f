// Makes programs of a slot reachable to the users of the machine: a public copy of the slot, a pointer to it, and links in a folder of their PATH.

import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import {
  DiskError,
  exists,
  parentOf,
  readOrNull,
  removeTree,
  statOrNull,
  writeAtomic,
  type Disk,
} from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJsonText } from "../core/json.ts";
import { checkSchema, z } from "../core/schema.ts";
import { checkInstalled, checkSlot } from "./check-slot.ts";
import { SlotError } from "./errors.ts";
import { slotName, slotPath, TEMPORARY, type Layout, type SlotId } from "./layout.ts";
import { readFile } from "./read-file.ts";
import type { SlotFile } from "./record.ts";

/** Where the owner wants commands. Both are absolute and outside of the agent's own folder, which others must not enter. */
export type CommandPlaces = {
  /** The links, such as /usr/local/bin. */
  readonly folder: string;
  /** The public copies: `<store>/<product>/<slot>` and `<store>/<product>/current`. */
  readonly store: string;
};
export type Program = { readonly name: string; readonly path: string };

const placesSchema = z.strictObject({ format: z.literal(1), folder: z.string(), store: z.string() });

/** Where the commands of this component were made last; null if nowhere. A note that cannot be read is none. Errors: `disk/*`. */
export async function placesMade(disk: Disk, layout: Layout): Promise<CommandPlaces | null> {
  const bytes = await readOrNull(disk, layout.commands, 64 * 1024);
  if (bytes === null) return null;
  try {
    const { folder, store } = checkSchema(placesSchema, parseJsonText(fromUtf8(bytes)), "note of commands");
    return { folder, store };
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

/**
 * Refuses before anything is switched what could not be made reachable: a name that something else has.
 * Errors: `slot/command-taken`, `slot/commands-exposed`, `disk/*`.
 */
export async function lookAtNames(
  disk: Disk,
  places: CommandPlaces,
  product: string,
  programs: readonly Program[],
): Promise<void> {
  await refuseExposed(disk, places, product);
  for (const { name } of programs) {
    const path = `${places.folder}/${name}`;
    const found = await statOrNull(disk, path);
    if (found === null || (await isOurs(disk, places, product, path))) continue;
    throw new SlotError(
      "slot/command-taken",
      `${path} is there already, and this agent did not make it: it is left as it is.`,
      { path, product },
      { hint: "Move it away, or set another commandFolder in agent.toml." },
    );
  }
}

/**
 * Lets the commands of the product be those of the slot. Old or new at every instant once they are there; may be repeated. `verify`: reads the
 * copy back even if it is there. Errors: `slot/command-taken`, `slot/commands-exposed`, `slot/damaged`, `disk/*`.
 */
export async function publishCommands(
  disk: Disk,
  layout: Layout,
  places: CommandPlaces,
  product: string,
  slot: { readonly id: SlotId; readonly digest: string | null },
  programs: readonly Program[],
  verify: boolean,
): Promise<void> {
  await lookAtNames(disk, places, product, programs);
  await notePlaces(disk, layout, places);
  const own = `${places.store}/${product}`;
  await makePublic(disk, own);
  await makePublic(disk, places.folder);
  const name = slotName(slot.id);
  if (verify || !(await exists(disk, `${own}/${name}`))) await copySlot(disk, layout, own, slot);
  if ((await linkOf(disk, `${own}/current`)) !== name) await replaceLink(disk, `${own}/current`, name);
  else await disk.syncDirectory(own);
  for (const { name: called, path } of programs) {
    const at = `${places.folder}/${called}`;
    const target = `${own}/current/${path}`;
    const there = await linkOf(disk, at);
    if (there === target) continue;
    // A new name is made by a call that fails where something is; only a link of ours is replaced.
    if (there === null) await makeLink(disk, at, target, product);
    else await replaceLink(disk, at, target);
  }
  const wanted = new Set(programs.map((program) => program.name));
  for (const called of await ownLinks(disk, places, product))
    if (!wanted.has(called)) await disk.removeFile(`${places.folder}/${called}`);
  await disk.syncDirectory(places.folder);
}

/** Takes the product's links, pointer and copies away, in this order; nothing else in the folder is touched. Errors: `disk/*`. */
export async function withdrawCommands(
  disk: Disk,
  layout: Layout,
  places: CommandPlaces,
  product: string,
): Promise<void> {
  const own = `${places.store}/${product}`;
  for (const name of await ownLinks(disk, places, product)) await disk.removeFile(`${places.folder}/${name}`);
  if (await exists(disk, places.folder)) await disk.syncDirectory(places.folder);
  await removeTree(disk, own);
  if (await exists(disk, places.store)) await disk.syncDirectory(places.store);
  if (await exists(disk, layout.commands)) await disk.removeFile(layout.commands);
}

/** Removes copies of slots that are not kept. Errors: `disk/*`. */
export async function collectCopies(
  disk: Disk,
  places: CommandPlaces,
  product: string,
  keep: ReadonlySet<string>,
): Promise<void> {
  const own = `${places.store}/${product}`;
  if (!(await exists(disk, own))) return;
  for (const name of await disk.list(own)) {
    if (name === "current" || keep.has(name)) continue;
    await removeTree(disk, `${own}/${name}`);
  }
}

/** Written before the first link, so that an uninstall finds them also after the owner has set another folder. */
async function notePlaces(disk: Disk, layout: Layout, places: CommandPlaces): Promise<void> {
  const known = await placesMade(disk, layout);
  if (known?.folder === places.folder && known.store === places.store) return;
  await writeAtomic(disk, layout.commands, toUtf8(`${JSON.stringify({ format: 1, ...places })}\n`), 0o600);
}

/** The copy that is there if it is whole; else a new one, made beside it, compared file by file, and renamed. */
async function copySlot(
  disk: Disk,
  layout: Layout,
  own: string,
  { id, digest }: { readonly id: SlotId; readonly digest: string | null },
): Promise<void> {
  const { record } = await checkInstalled(disk, layout, id, digest, { known: new Map() });
  const to = `${own}/${slotName(id)}`;
  if (await isWhole(disk, to, record.files)) return;
  const beside = `${own}/${TEMPORARY}${slotName(id)}`;
  await removeTree(disk, beside);
  await disk.makeDirectory(beside);
  await disk.chmod(beside, 0o755);
  // Sorted by path: a folder comes before what is in it.
  for (const file of record.files) await copyEntry(disk, slotPath(layout, id), beside, file);
  const folders = record.files.filter(({ kind }) => kind === "directory").map(({ path }) => path);
  for (const path of folders.toReversed()) await disk.syncDirectory(`${beside}/${path}`);
  await disk.syncDirectory(beside);
  await checkSlot(disk, beside, record.files, { exact: true });
  // A damaged copy goes only when its replacement is ready.
  await removeTree(disk, to);
  await disk.rename(beside, to);
  await disk.syncDirectory(own);
}

async function isWhole(disk: Disk, path: string, files: readonly SlotFile[]): Promise<boolean> {
  if (!(await exists(disk, path))) return false;
  try {
    await checkSlot(disk, path, files, { exact: true });
    return true;
  } catch (error) {
    if (error instanceof SlotError) return false;
    throw error;
  }
}

/** Modes are set and not asked for: the umask of an agent keeps others out. */
async function copyEntry(disk: Disk, from: string, to: string, file: SlotFile): Promise<void> {
  const path = `${to}/${file.path}`;
  if (file.kind === "link") return disk.link(path, file.target);
  if (file.kind === "directory") {
    await disk.makeDirectory(path);
    return disk.chmod(path, 0o755);
  }
  const out = await disk.open(path, "create", 0o600);
  try {
    let at = 0;
    for await (const part of readFile(disk, `${from}/${file.path}`)) {
      await out.write(at, part);
      at += part.length;
    }
    await disk.chmod(path, file.executable ? 0o555 : 0o444);
    await out.sync();
  } finally {
    await out.close();
  }
}

/** Makes the folder and what is missing above it, open to all. What is there keeps its mode. */
async function makePublic(disk: Disk, path: string): Promise<void> {
  if ((await statOrNull(disk, path)) !== null) return;
  await makePublic(disk, parentOf(path));
  await disk.makeDirectory(path);
  await disk.chmod(path, 0o755);
  await disk.syncDirectory(parentOf(path));
}

/** Who could write there would choose what users run under the agent's name. */
async function refuseExposed(disk: Disk, places: CommandPlaces, product: string): Promise<void> {
  const sites = [
    { path: places.store, forbidden: 0o022 },
    { path: `${places.store}/${product}`, forbidden: 0o022 },
    // Some systems let a group of administrators write into their folder of local commands.
    { path: places.folder, forbidden: 0o002 },
  ];
  for (const { path, forbidden } of sites) {
    const found = await statOrNull(disk, path);
    if (found === null) continue;
    const why =
      found.kind === "directory"
        ? (found.mode & forbidden) === 0
          ? null
          : `others may write it (mode ${found.mode.toString(8)})`
        : path === places.folder && found.kind === "link"
          ? null
          : `it is a ${found.kind}`;
    if (why === null) continue;
    throw new SlotError(
      "slot/commands-exposed",
      `No command is made in ${path}: ${why}.`,
      { path, why },
      { hint: `chmod go-w '${path}', or set other folders in agent.toml (commandFolder, commandStore).` },
    );
  }
}

async function linkOf(disk: Disk, path: string): Promise<string | null> {
  return (await statOrNull(disk, path))?.kind === "link" ? disk.readLink(path) : null;
}

/** By where it leads: only this agent lays links into its store. */
async function isOurs(disk: Disk, places: CommandPlaces, product: string, path: string): Promise<boolean> {
  return (await linkOf(disk, path))?.startsWith(`${places.store}/${product}/current/`) === true;
}

async function ownLinks(disk: Disk, places: CommandPlaces, product: string): Promise<readonly string[]> {
  if (!(await exists(disk, places.folder))) return [];
  const out: string[] = [];
  for (const name of await disk.list(places.folder))
    if (await isOurs(disk, places, product, `${places.folder}/${name}`)) out.push(name);
  return out;
}

async function makeLink(disk: Disk, path: string, target: string, product: string): Promise<void> {
  try {
    await disk.link(path, target);
  } catch (cause) {
    if (!(cause instanceof DiskError && cause.code === "disk/exists")) throw cause;
    throw new SlotError(
      "slot/command-taken",
      `${path} is there already, and this agent did not make it: it is left as it is.`,
      { path, product },
      { cause },
    );
  }
}

async function replaceLink(disk: Disk, path: string, target: string): Promise<void> {
  const beside = `${parentOf(path)}/${TEMPORARY}upkeep-link`;
  if (await exists(disk, beside)) await disk.removeFile(beside);
  await disk.link(beside, target);
  await disk.rename(beside, path);
  await disk.syncDirectory(parentOf(path));
}
