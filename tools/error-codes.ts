// Lists the codes that an error of Upkeep can carry, each with its nature and exit code, as docs/errors.md has them below "All codes".
//
//   node tools/error-codes.ts           prints the list
//   node tools/error-codes.ts --write   puts it into docs/errors.md

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { EXIT } from "../src/apps/framework/exit-codes.ts";
import type { Trait } from "../src/core/errors.ts";

const source = new URL("../src/", import.meta.url);
const UNION = /type \w*ErrorCode\s*=((?:\s|\||"[a-z0-9-]+\/[a-z0-9-]+"|\/\*\*[\s\S]*?\*\/|\/\/[^\n]*)+);/g;

export type Row = { readonly code: string; readonly trait: Trait };

const files = readdirSync(source, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && !name.startsWith("testing/"))
  .map((name) => ({ name, text: readFileSync(new URL(name, source), "utf8") }));

/** Members of the closed unions by which rooms declare their codes. */
export const declared = files.flatMap(({ text }) =>
  [...text.matchAll(UNION)].flatMap(([, union]) =>
    [...union!.matchAll(/"([a-z0-9-]+\/[a-z0-9-]+)"/g)].map(([, code]) => code!),
  ),
);

/** The rows of the tables beside them. */
export async function tabled(): Promise<readonly Row[]> {
  const rooms = files.filter(({ text }) => /satisfies Traits<\w+ErrorCode>/.test(text));
  const rows: Row[] = [];
  for (const { name } of rooms) {
    const room = (await import(new URL(name, source).href)) as { readonly [name: string]: unknown };
    for (const [constant, table] of Object.entries(room))
      if (constant.endsWith("_ERRORS"))
        for (const [code, trait] of Object.entries(table as { readonly [code: string]: Trait }))
          rows.push({ code, trait });
  }
  return rows;
}

/** One line a room: what each of its codes is, by nature and exit code. */
export function lines(rows: readonly Row[]): readonly string[] {
  const rooms = Map.groupBy(rows, ({ code }) => code.split("/")[0]!);
  return [...rooms].toSorted(byName).map(([room, own]) => {
    const kinds = Map.groupBy(own, ({ trait }) => `${trait.nature} (${EXIT[trait.exit]})`);
    const parts = [...kinds].toSorted(byName).map(([kind, same]) => {
      const names = same.map(({ code }) => `\`${code.split("/")[1]!}\``).toSorted();
      return `${kind} ${names.join(", ")}`;
    });
    return `- \`${room}/\`: ${parts.join("; ")}`;
  });
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}

const PAGE = new URL("../docs/errors.md", import.meta.url);
const LIST = /(\n## All codes\n[^]*?\n\n)((?:- `[^\n]*\n)+)/;

/** What the page lists now. */
export function listed(): readonly string[] {
  return (LIST.exec(readFileSync(PAGE, "utf8"))?.[2] ?? "").trimEnd().split("\n");
}

if (import.meta.main) {
  const list = `${lines(await tabled()).join("\n")}\n`;
  if (process.argv.includes("--write"))
    writeFileSync(
      PAGE,
      readFileSync(PAGE, "utf8").replace(LIST, (_, head: string) => head + list),
    );
  else process.stdout.write(list);
}
