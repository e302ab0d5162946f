// TOML as text: where a setting stands, and small edits that leave a person's comments alone.

import { parse, stringify } from "smol-toml";
import { brackets, common, splitKey } from "../../core/toml-line.ts";
import { SigningError } from "../errors.ts";

type Tree = { [name: string]: unknown };

/**
 * Sets or removes (`undefined`) one setting of a table, or appends the table; everything else keeps its bytes.
 * Errors: `signing/bad-config` when the text is laid out in a way that this edit would not do what it says.
 */
export function editSetting(text: string, table: readonly string[], name: string, value: unknown): string {
  const lines = text.split("\n");
  const [start, end] = tableSpan(lines, table);
  const written =
    value === undefined
      ? []
      : stringify({ [name]: value })
          .trimEnd()
          .split("\n");
  let edited: string[];
  if (start < 0) {
    if (value === undefined) return text;
    edited = [...trimmed(lines), "", `[${table.join(".")}]`, ...written, ""];
  } else {
    const at = lines.findIndex(
      (line, i) =>
        i > start && i < end && splitKey(/^\s*([^=\s]+)\s*=/.exec(line)?.[1] ?? "").join(".") === name,
    );
    if (at < 0) {
      edited = lines.toSpliced(start + 1, 0, ...written);
    } else {
      let last = at;
      for (let open = brackets(lines[at]!); open > 0 && last + 1 < end;) open += brackets(lines[++last]!);
      edited = lines.toSpliced(at, last - at + 1, ...written);
    }
  }
  return checked(text, edited.join("\n"), (tree) => {
    const target = descend(tree, table);
    if (value === undefined) delete target[name];
    else target[name] = value;
  });
}

/** Appends a whole table. Errors: `signing/exists`, `signing/bad-config`. */
export function appendTable(text: string, table: readonly string[], values: Tree): string {
  if (find(parse(text) as Tree, table) !== undefined) {
    throw new SigningError("signing/exists", `[${table.join(".")}] is in the configuration already.`);
  }
  const nested = table.reduceRight<Tree>((inner, name) => ({ [name]: inner }), values);
  return checked(text, `${trimmed(text.split("\n")).join("\n")}\n\n${stringify(nested).trim()}\n`, (tree) => {
    Object.assign(descend(tree, table), values);
  });
}

/** Removes a table with everything below it. */
export function removeTable(text: string, table: readonly string[]): string {
  let lines = text.split("\n");
  for (;;) {
    const start = lines.findIndex((line) => {
      const header = /^\s*\[\s*([^\]]+?)\s*\]\s*(?:#.*)?$/.exec(line);
      return header !== null && common(splitKey(header[1]!), table) === table.length;
    });
    if (start < 0) break;
    const next = lines.findIndex((line, i) => i > start && /^\s*\[/.test(line));
    lines = lines.toSpliced(start, (next < 0 ? lines.length : next) - start);
  }
  return checked(text, `${trimmed(lines).join("\n")}\n`, (tree) => {
    delete descend(tree, table.slice(0, -1))[table.at(-1)!];
  });
}

function tableSpan(lines: readonly string[], table: readonly string[]): readonly [number, number] {
  const start = lines.findIndex((line) => {
    const header = /^\s*\[\s*([^\]]+?)\s*\]\s*(?:#.*)?$/.exec(line);
    return header !== null && splitKey(header[1]!).join("\0") === table.join("\0");
  });
  if (start < 0) return [-1, -1];
  const next = lines.findIndex((line, i) => i > start && /^\s*\[\[?[\w"'. -]+\]\]?\s*(?:#.*)?$/.test(line));
  return [start, next < 0 ? lines.length : next];
}

function trimmed(lines: readonly string[]): readonly string[] {
  let end = lines.length;
  while (end > 0 && lines[end - 1]!.trim() === "") end--;
  return lines.slice(0, end);
}

/** The edit counts only if the text then says exactly what was meant. */
function checked(before: string, after: string, change: (tree: Tree) => void): string {
  const wanted = parse(before) as Tree;
  change(wanted);
  let got: Tree | null = null;
  try {
    got = parse(after) as Tree;
  } catch {
    got = null;
  }
  if (got === null || normal(prune(got)) !== normal(prune(wanted))) {
    throw new SigningError(
      "signing/bad-config",
      "The configuration is laid out in a way that this command cannot edit safely; change it by hand.",
    );
  }
  return after;
}

/** Empty tables carry no meaning here. */
function prune(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const kept = Object.entries(value)
    .map(([name, inner]) => [name, prune(inner)] as const)
    .filter(
      ([, inner]) =>
        !(
          typeof inner === "object" &&
          inner !== null &&
          !Array.isArray(inner) &&
          Object.keys(inner).length === 0
        ),
    );
  return Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function normal(value: unknown): string {
  return JSON.stringify(value);
}

function descend(tree: Tree, path: readonly string[]): Tree {
  let at = tree;
  for (const name of path) at = (at[name] ??= {}) as Tree;
  return at;
}

function find(tree: Tree, path: readonly string[]): unknown {
  let at: unknown = tree;
  for (const name of path) at = typeof at === "object" && at !== null ? (at as Tree)[name] : undefined;
  return at;
}
