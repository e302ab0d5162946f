// Every command that a document shows is one that the program takes, with these options and this many words.

import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { describe, it } from "node:test";
import { CommanderError } from "commander";
import { agentNoun } from "../src/apps/agent/commands.ts";
import { fromSigntool } from "../src/apps/cli/sign/signtool.ts";
import { TABLE } from "../src/apps/cli/table.ts";
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
