// Every code that an error of Upkeep can carry, with its nature and its exit code: docs/errors.md lists them all, and nothing else.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import type { Trait } from "../src/core/errors.ts";
import { EXIT } from "../src/apps/framework/exit-codes.ts";

const source = new URL("../src/", import.meta.url);
const UNION = /type \w*ErrorCode\s*=((?:\s|\||"[a-z0-9-]+\/[a-z0-9-]+"|\/\*\*[\s\S]*?\*\/|\/\/[^\n]*)+);/g;

type Row = { readonly code: string; readonly trait: Trait };

const files = readdirSync(source, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && !name.startsWith("testing/"))
  .map((name) => ({ name, text: readFileSync(new URL(name, source), "utf8") }));

/** Members of the closed unions by which rooms declare their codes. */
const declared = files.flatMap(({ text }) =>
  [...text.matchAll(UNION)].flatMap(([, union]) =>
    [...union!.matchAll(/"([a-z0-9-]+\/[a-z0-9-]+)"/g)].map(([, code]) => code!),
  ),
);

/** The rows of the tables beside them. */
async function tabled(): Promise<readonly Row[]> {
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
function lines(rows: readonly Row[]): readonly string[] {
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

describe("the codes of all errors", () => {
  it("are declared once each, with a nature and an exit code", async () => {
    const codes = (await tabled()).map(({ code }) => code).toSorted();
    assert.ok(codes.length > 200, `${codes.length} codes were found in the source`);
    assert.deepEqual(codes, declared.toSorted());
    assert.equal(new Set(codes).size, codes.length);
  });

  it("stand in docs/errors.md, all of them and no other", async () => {
    const page = readFileSync(new URL("../docs/errors.md", import.meta.url), "utf8");
    const list = page.split("\n## All codes\n")[1]?.split("\n## ")[0] ?? "";
    const want = lines(await tabled());
    const have = [...list.matchAll(/^- `.+$/gm)].map(([line]) => line);
    assert.deepEqual(
      have,
      want,
      `let the list below \`All codes\` in docs/errors.md be:\n${want.join("\n")}\n`,
    );
  });

  it("fit together: what may work later never counts as a verdict, and a wrong call never as a failure", async () => {
    const allowed: { readonly [N in Trait["nature"]]: readonly Trait["exit"][] } = {
      usage: ["usage"],
      refused: ["refused", "verify-failed"],
      pending: ["pending"],
      // A server that says no, or metadata that nobody renewed in time, is a refusal to whoever asked and no word about the release.
      transient: ["failed", "network", "refused"],
      failed: ["failed", "refused"],
    };
    const odd = (await tabled()).filter(({ trait }) => !allowed[trait.nature].includes(trait.exit));
    assert.deepEqual(odd, []);
  });

  // The same thing in several rooms: whoever scripts against one of them may rely on the others.
  for (const [what, exit, codes] of [
    [
      "another process holds it",
      "pending",
      ["agent/locked", "fleet/store-in-use", "publisher/busy", "repository/locked", "signing/busy"],
    ],
    ["a database is out of reach", "network", ["fleet/store-unavailable", "signing/store-unavailable"]],
    ["a database says no", "refused", ["fleet/store-denied", "fleet/store-foreign", "signing/store-refused"]],
    [
      "a settings file makes no sense",
      "usage",
      ["agent/bad-settings", "cli/bad-settings", "signing/bad-config"],
    ],
    ["a secret was not given", "usage", ["cli/no-secret", "key/passphrase-needed"]],
    [
      "it is not there",
      "failed",
      [
        "agent/not-installed",
        "cli/not-found",
        "fleet/unknown-device",
        "key/not-found",
        "publisher/missing",
        "signing/not-found",
      ],
    ],
    [
      "it is there already",
      "failed",
      [
        "agent/already-enrolled",
        "disk/exists",
        "key/exists",
        "process/service-exists",
        "publisher/exists",
        "signing/exists",
      ],
    ],
    ["too much at once", "refused", ["fleet/quota", "http/too-many", "signing/over-budget"]],
    [
      "the bytes are not the ones that were signed",
      "refused",
      ["agent/wrong-bytes", "mirror/wrong-content", "repository/content-mismatch", "slot/wrong-bytes"],
    ],
    ["a backup is not whole", "refused", ["fleet/bad-dump", "signing/bad-backup"]],
  ] as const)
    it(`${what}: every room ends with ${EXIT[exit]}`, async () => {
      const rows = new Map((await tabled()).map(({ code, trait }) => [code, trait.exit]));
      assert.deepEqual(
        codes.map((code) => [code, rows.get(code)]),
        codes.map((code) => [code, exit]),
      );
    });
});
