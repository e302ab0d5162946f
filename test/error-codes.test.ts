// Every code that an error of Upkeep can carry is in docs/errors.md, and nothing is there that no error carries.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";

const source = new URL("../src/", import.meta.url);
const UNION = /type \w*Code\s*=((?:\s|\||"[a-z0-9-]+\/[a-z0-9-]+"|\/\*\*[\s\S]*?\*\/|\/\/[^\n]*)+);/g;

/** Members of the closed unions by which rooms declare their codes. */
function declared(): readonly string[] {
  const codes = new Set<string>();
  for (const name of readdirSync(source, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".ts") || name.endsWith(".test.ts") || name.startsWith("testing/")) continue;
    for (const [, union] of readFileSync(new URL(name, source), "utf8").matchAll(UNION))
      for (const [, code] of union!.matchAll(/"([a-z0-9-]+\/[a-z0-9-]+)"/g)) codes.add(code!);
  }
  return [...codes].toSorted();
}

/** The lines below the heading `All codes`, each `room: code, code`. */
function listed(): readonly string[] {
  const page = readFileSync(new URL("../docs/errors.md", import.meta.url), "utf8");
  const list = page.split("\n## All codes\n")[1]?.split("\n## ")[0] ?? "";
  return [...list.matchAll(/^- `([a-z0-9-]+)\/`: (.+)$/gm)]
    .flatMap(([, room, codes]) => codes!.split(", ").map((code) => `${room!}/${code.replaceAll("`", "")}`))
    .toSorted();
}

describe("docs/errors.md", () => {
  it("lists every code, and no other", () => {
    const [have, want] = [listed(), declared()];
    assert.ok(want.length > 200, `${want.length} codes were found in the source`);
    assert.deepEqual(
      {
        missing: want.filter((code) => !have.includes(code)),
        gone: have.filter((code) => !want.includes(code)),
      },
      { missing: [], gone: [] },
      "add them to `All codes` in docs/errors.md",
    );
  });
});
