// Where a setting stands in the text of a TOML file, so that an error can name its line.

/** One-based line of the setting `wanted`, or of the closest table above it. */
export function lineOf(text: string, wanted: readonly string[]): number {
  let best = { depth: -1, line: 1 };
  let table: readonly string[] = [];
  let open = 0;
  text.split("\n").forEach((line, i) => {
    const header = /^\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$/.exec(line);
    if (header !== null && open === 0) table = splitKey(header[1]!);
    const setting =
      header === null && open === 0 ? /^\s*((?:[\w.-]+|"[^"]*"|'[^']*'|\s*\.\s*)+?)\s*=/.exec(line) : null;
    open = Math.max(0, open + brackets(line));
    const found = header === null ? (setting === null ? null : [...table, ...splitKey(setting[1]!)]) : table;
    if (found === null) return;
    // A setting that holds the wanted one (an array, an inline table) is as close as text can point.
    const depth = common(found, wanted);
    if (depth === found.length && depth > best.depth) best = { depth, line: i + 1 };
  });
  return best.line;
}

export function common(a: readonly string[], b: readonly string[]): number {
  let i = 0;
  while (i < a.length && i < b.length && a[i] === b[i]) i++;
  return i;
}

/** Brackets that stay open at the end of the line: a value that goes on. */
export function brackets(line: string): number {
  const bare = line.replace(/"(?:[^"\\]|\\.)*"|'[^']*'/g, "").replace(/#.*$/, "");
  if (/^\s*\[/.test(bare)) return 0;
  return (bare.match(/[[{]/g)?.length ?? 0) - (bare.match(/[\]}]/g)?.length ?? 0);
}

export function splitKey(key: string): readonly string[] {
  return [...key.matchAll(/"([^"]*)"|'([^']*)'|([\w-]+)/g)].map((m) => (m[1] ?? m[2] ?? m[3])!);
}
