// Every command that a document shows is one that the program takes, with these options and this many words.

import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { CommanderError } from "commander";
import { agentNoun } from "../src/apps/agent/commands.ts";
import { fromSigntool } from "../src/apps/cli/sign/signtool.ts";
import { TABLE } from "../src/apps/cli/table.ts";
import type { CommandSpec, TableEntry } from "../src/apps/framework/command.ts";
import { buildProgram } from "../src/apps/framework/program.ts";
import { commandsOf, wordsOf, type Shown } from "./_documents.ts";

const root = new URL("..", import.meta.url).pathname;
const PAGES = ["README.md", ...globSync("docs/**/*.md", { cwd: root })].sort();
/** Words of the program `upkeep` in the checkout, which does more than the installed one. */
const CHECKOUT_ONLY = new Set(["test"]);

/** Null if the program would run it; else what it says. */
async function refusal(words: readonly string[], program: "upkeep" | "upkeep-agent"): Promise<string | null> {
  let said = "";
  const terminal = {
    stdout: { write: (text: string) => (said += text) },
    stderr: { write: (text: string) => (said += text) },
    stdin: process.stdin,
    env: {},
    home: "/home/nobody",
  };
  const table = program === "upkeep" ? TABLE : agentNoun.commands;
  const built = buildProgram(table, terminal, "0", async () => {}, program);
  try {
    await built.parseAsync([...fromSigntool(words, false)], { from: "user" });
    return null;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return null;
    return said === "" ? String(error) : said.split("\n")[0]!;
  }
}

/** The command of ours in a line, with what stands before it taken away: variables, sudo, another program that runs it. */
function ours(
  shown: Shown,
): { readonly program: "upkeep" | "upkeep-agent"; readonly words: readonly string[] }[] {
  return shown.command.split(/\s(?:&&|\|)\s/).flatMap((part) => {
    const match = /(?:^|\s)(?:\.\/)?(upkeep(?:-agent)?)\s(.*)$/.exec(part);
    if (
      match === null ||
      /^(?:systemctl|systemd-|install|url|password-file|createuser|wine|cd|export|User|ReadWritePaths|ExecStart|StateDirectory)/.test(
        part,
      )
    )
      return [];
    return [{ program: match[1] as "upkeep", words: wordsOf(match[2]!) }];
  });
}

describe("a command in a document", () => {
  const shown = PAGES.flatMap((page) => commandsOf(page));
  it("is found at all", () => {
    assert.ok(shown.flatMap(ours).length > 60, `${shown.flatMap(ours).length} commands`);
  });

  it("is one that the program takes", async () => {
    const wrong: string[] = [];
    for (const one of shown)
      for (const { program, words } of ours(one)) {
        // An ellipsis stands for words that are told elsewhere.
        if (words.includes("...") || CHECKOUT_ONLY.has(words[0]!)) continue;
        const said = await refusal(words, program);
        if (said !== null) wrong.push(`${one.page}:${one.line} ${program} ${words.join(" ")}: ${said}`);
      }
    assert.deepEqual(wrong, []);
  });
});

describe("an example in a help text", () => {
  const commandsBelow = (entry: TableEntry | CommandSpec): readonly CommandSpec[] =>
    "commands" in entry ? entry.commands.flatMap(commandsBelow) : [entry];
  const shown = TABLE.flatMap(commandsBelow).flatMap(({ name, examples }) =>
    examples.map((command): Shown => ({ page: `help of ${name}`, line: 0, command })),
  );

  it("is one that the program takes", async () => {
    assert.ok(shown.flatMap(ours).length > 100, `${shown.flatMap(ours).length} examples`);
    const wrong: string[] = [];
    for (const one of shown)
      for (const { program, words } of ours(one)) {
        if (words.includes("...")) continue;
        const said = await refusal(words, program);
        if (said !== null) wrong.push(`${one.page}: ${one.command}: ${said}`);
      }
    assert.deepEqual(wrong, []);
  });
});

describe("the documents", () => {
  const read = (page: string): string => readFileSync(join(root, page), "utf8");
  const all = ["*.md", "docs/**/*.md", "spec/*.md"].flatMap((pattern) => globSync(pattern, { cwd: root }));
  const anchors = (page: string): readonly string[] =>
    [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading!
        .toLowerCase()
        .replace(/[^\p{L}\p{N}_\- ]/gu, "")
        .replaceAll(" ", "-"),
    );

  it("link to pages and headings that are there", () => {
    const wrong = all.flatMap((page) =>
      [...read(page).matchAll(/\]\(([^)\s]+)\)/g)]
        .map(([, link]) => link!)
        .filter((link) => !/^https?:/.test(link))
        .filter((link) => {
          const [path, anchor] = link.split("#") as [string, string?];
          const target = path === "" ? page : join(dirname(page), path);
          if (!existsSync(join(root, target))) return true;
          return anchor !== undefined && !anchors(target).includes(anchor);
        })
        .map((link) => `${page}: ${link}`),
    );
    assert.deepEqual(wrong, []);
  });

  it("number each decision once, head it by its number, and list it", () => {
    const list = read("docs/decisions/README.md");
    const records = globSync("docs/decisions/[0-9]*.md", { cwd: root }).map((page) =>
      page.split("/").at(-1)!,
    );
    const numbers = records.map((name) => name.slice(0, 4));
    assert.deepEqual(new Set(numbers).size, numbers.length);
    assert.deepEqual(
      records.filter(
        (name) =>
          !list.includes(`| [${name.slice(0, 4)}](${name}) | `) ||
          !read(`docs/decisions/${name}`).startsWith(`# ${name.slice(0, 4)}: `),
      ),
      [],
    );
  });

  it("explain each code, each room of codes and each word once", () => {
    const named = (text: string): readonly string[] =>
      [...text.matchAll(/^\| ((?:`[^`]+`(?:, )?)+) \|/gm)].flatMap(([, cell]) =>
        [...cell!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!),
      );
    const twice = (names: readonly string[]): readonly string[] =>
      names.filter((name, at) => names.indexOf(name) !== at);
    const errors = read("docs/errors.md");
    assert.deepEqual(twice(named(errors.slice(0, errors.indexOf("## All codes")))), []);
    const words = [...read("docs/glossary.md").matchAll(/^\| ([a-z][a-z -]*) \|/gm)].map(([, word]) => word!);
    assert.deepEqual(twice(words.filter((word) => word !== "word")), []);
    assert.ok(words.length > 60, `${words.length} words`);
  });
});
