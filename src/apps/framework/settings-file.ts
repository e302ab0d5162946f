// The operator's settings file: options that need not be typed each time. Command line before environment before this file before defaults.

import { dirname, resolve } from "node:path";
import { parse } from "smol-toml";
import { fromUtf8 } from "../../core/bytes.ts";
import { statOrNull, type Disk } from "../../core/disk.ts";
import { lineOf } from "../../core/toml-line.ts";
import { isNoun, type CommandSpec, type NounSpec, type OptionSpec, type TableEntry } from "./command.ts";
import { CliError } from "./errors.ts";
import { GLOBAL_OPTIONS, nameOf, type Setting, type Settings } from "./settings.ts";

const LIMIT = 256 * 1024;

/** Consent is given each time, and a secret is never written here. */
const NEVER: ReadonlySet<string> = new Set([
  "yes",
  "password-in-argv",
  "request-id",
  "json",
  "out",
  "output",
]);
/**
 * `UPKEEP_CONFIG`, else `upkeep/config.toml` in the user's configuration folder; null when there is none. Everything in it must be an
 * option of a command that exists, and only its owner may write it. A value that begins with `./` or `../` is a place beside the file, one
 * with `~/` a place in the home folder. Errors: `cli/bad-settings` with file and line.
 */
export async function loadSettings(
  table: readonly TableEntry[],
  world: { readonly env: { readonly [name: string]: string | undefined }; readonly home: string | null },
  disk: Disk,
): Promise<Settings | null> {
  const { env, home } = world;
  const named = env["UPKEEP_CONFIG"];
  const folder = env["XDG_CONFIG_HOME"] ?? (home === null ? null : `${home}/.config`);
  if ((named === undefined || named === "") && folder === null) return null;
  const file = resolve(named !== undefined && named !== "" ? named : `${folder}/upkeep/config.toml`);
  const stat = await statOrNull(disk, file);
  if (stat === null) {
    if (named === undefined || named === "") return null;
    throw refuse(file, 1, "it is not there, although UPKEEP_CONFIG names it");
  }
  if ((stat.mode & 0o022) !== 0) throw refuse(file, 1, "others may write it, so it is not yours alone");
  const text = fromUtf8(await disk.read(file, LIMIT));
  let tree: unknown;
  try {
    tree = parse(text);
  } catch (cause) {
    const { line, message } = cause as { line?: number; message: string };
    throw refuse(file, line ?? 1, message.split("\n")[0]!, cause);
  }
  const found = new Map<string, Setting>();
  const fail = (path: readonly string[], what: string): never => {
    throw refuse(file, lineOf(text, path), `${path.join(".")}: ${what}`);
  };
  const take = (
    path: readonly string[],
    name: string,
    value: unknown,
    options: readonly OptionSpec[],
  ): void => {
    const at = [...path, name];
    const option = options.find((each) => nameOf(each) === name);
    if (option === undefined) return fail(at, `there is no option --${name} here`);
    if (NEVER.has(name)) return fail(at, "this is said each time, never in a file");
    found.set(
      keyOf(path, name),
      checked(option, value, { folder: dirname(file), home }, (what) => fail(at, what)),
    );
  };
  const takeCommand = (path: readonly string[], spec: CommandSpec, value: unknown): void => {
    if (!isTable(value)) return fail(path, "it is a command; write a table");
    for (const [name, each] of Object.entries(value)) take(path, name, each, spec.options ?? []);
  };
  const takeNoun = (path: readonly string[], noun: NounSpec, value: unknown): void => {
    if (!isTable(value)) return fail(path, "it is a group of commands; write a table");
    for (const [word, each] of Object.entries(value)) {
      const at = [...path, word];
      const entry = noun.commands.find((command) => command.name === word);
      if (entry === undefined) fail(at, `there is no command ${at.join(" ")}`);
      else if (isNoun(entry)) takeNoun(at, entry, each);
      else takeCommand(at, entry, each);
    }
  };
  for (const [name, value] of Object.entries(tree as object) as [string, unknown][]) {
    const entry = table.find((each) => each.name === name);
    if (entry === undefined) take([], name, value, GLOBAL_OPTIONS);
    // Where a device gets its updates from is not for a file that a user may write.
    else if (name === "agent") fail([name], "a device takes no settings from here");
    else if (!isNoun(entry)) takeCommand([name], entry, value);
    else takeNoun([name], entry, value);
  }
  return { file, of: (path, option) => found.get(keyOf(path, option)) };
}

function checked(
  option: OptionSpec,
  value: unknown,
  places: { readonly folder: string; readonly home: string | null },
  fail: (what: string) => never,
): Setting {
  if (!option.flags.includes("<")) return typeof value === "boolean" ? value : fail("expected true or false");
  const one = (each: unknown): string => {
    const text =
      typeof each === "string"
        ? each
        : Number.isSafeInteger(each)
          ? String(each)
          : fail("expected text or a whole number");
    if (option.choices !== undefined && !option.choices.includes(text))
      return fail(`expected one of ${option.choices.join(", ")}`);
    if (text.startsWith("~/"))
      return places.home === null
        ? fail("this user has no home folder here")
        : resolve(places.home, text.slice(2));
    return /^\.\.?\//.test(text) ? resolve(places.folder, text) : text;
  };
  if (option.repeat !== true) return one(value);
  return Array.isArray(value) ? value.map(one) : [one(value)];
}

function keyOf(path: readonly string[], option: string): string {
  return [...path, option].join(" ");
}

function isTable(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function refuse(file: string, line: number, what: string, cause?: unknown): CliError {
  return new CliError(
    "cli/bad-settings",
    `${file}:${line}: ${what}.`,
    { file, line },
    { cause, hint: "Correct the file, or take it away." },
  );
}
