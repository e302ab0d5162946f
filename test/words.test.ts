// The words of the project: documents, formats, help and sentences of errors avoid the phrases that CONTRIBUTING.md bans, and spell as American English does.

import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { TABLE } from "../src/apps/cli/table.ts";
import type { CommandSpec, TableEntry } from "../src/apps/framework/command.ts";

const root = new URL("..", import.meta.url).pathname;
const read = (path: string): string => readFileSync(`${root}${path}`, "utf8");

/** What is banned, and what to say instead. */
const BANNED: readonly (readonly [RegExp, string])[] = [
  [/\banew\b/i, "again"],
  [/\btold\b/i, "reported, or who knows it"],
  [/\bbeliev(?:e|es|ed|ing)\b/i, "trust, accept"],
  [/\bof now\b/i, "current"],
  [/\bdear\b/i, "expensive"],
  [/\bof (?:its|their|one's) own\b/i, "its own, separate"],
  [/\blies? there\b/i, "the name of the thing"],
  [/\bfor ever\b/i, "never again, permanently"],
  [/(?<![\w/-])enrol(?:s|ment|ments)?\b(?![\w.-])/i, "enroll, enrollment"],
  [/\btime[ -]stamp/i, "timestamp"],
  [/\blicences?\b/i, "license"],
  [/\bcancelled\b/i, "canceled"],
  [
    /\b(?:behaviour|colour|favour|neighbour|(?:recogn|initial|organ|author)is(?:e|ed|es|ing)\b|dialled)/i,
    "the American spelling",
  ],
];

/** Sentences that may stay as they are, each with its reason. */
const ALLOWED: readonly (readonly [string, string])[] = [
  ["source of its own pieces", "the owner, not something separate"],
];

type Said = { readonly where: string; readonly text: string };

/** Prose of a page: what stands in fences and between back-quotes are names that programs read. */
function pages(): readonly Said[] {
  return (
    ["*.md", "docs/**/*.md", "spec/*.md"]
      .flatMap((pattern) => globSync(pattern, { cwd: root }))
      .flatMap((page) =>
        read(page)
          .replace(/^```[^]*?^```/gm, (block) => block.replace(/[^\n]/g, ""))
          .split("\n")
          .map((line, at) => ({ where: `${page}:${at + 1}`, text: line.replace(/`[^`]*`/g, "") })),
      )
      // The word list itself names what it bans.
      .filter(({ where, text }) => !(where.startsWith("CONTRIBUTING.md") && text.startsWith("| ")))
  );
}

/** Sentences in the source: every string and template with a blank in it, but for comments, tests and test doubles. */
function sentences(): readonly Said[] {
  return globSync("src/**/*.ts", { cwd: root })
    .filter((path) => !path.endsWith(".test.ts") && !path.startsWith("src/testing/"))
    .flatMap((path) =>
      read(path)
        .split("\n")
        .flatMap((line, at) => {
          if (/^\s*(?:\/\/|\*|\/\*|import |export \{)/.test(line)) return [];
          return [...line.matchAll(/"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`/g)]
            .map(([text]) => text.replace(/\$\{[^}]*\}/g, "").replace(/\\n/g, " "))
            .filter((text) => text.includes(" "))
            .map((text) => ({ where: `${path}:${at + 1}`, text }));
        }),
    );
}

function help(): readonly Said[] {
  const of = (entry: TableEntry | CommandSpec, above: string): readonly Said[] => {
    const where = `${above} ${entry.name}`.trim();
    const own = { where: `help of ${where}`, text: entry.about };
    if ("commands" in entry) return [own, ...entry.commands.flatMap((command) => of(command, where))];
    return [
      own,
      { where: own.where, text: entry.details ?? "" },
      ...[...(entry.options ?? []), ...(entry.arguments ?? [])].map(({ about }) => ({
        where: own.where,
        text: about,
      })),
    ];
  };
  return TABLE.flatMap((entry) => of(entry, "upkeep"));
}

function faults(all: readonly Said[]): readonly string[] {
  return all.flatMap(({ where, text }) =>
    BANNED.filter(([phrase]) =>
      phrase.test(ALLOWED.reduce((rest, [part]) => rest.replace(part, ""), text)),
    ).map(
      ([phrase, instead]) =>
        `${where}: ${phrase.exec(text)?.[0] ?? ""} (say: ${instead}): ${text.trim().slice(0, 120)}`,
    ),
  );
}

describe("plain English", () => {
  it("is what documents and formats are written in", () => {
    assert.ok(pages().length > 2000);
    assert.deepEqual(faults(pages()), []);
  });

  it("is what help says", () => {
    assert.ok(help().length > 400);
    assert.deepEqual(faults(help()), []);
  });

  it("is what errors and results say", () => {
    assert.ok(sentences().length > 1500);
    assert.deepEqual(faults(sentences()), []);
  });

  it("needs every exception that it allows", () => {
    const all = [...pages(), ...help(), ...sentences()];
    assert.deepEqual(
      ALLOWED.filter(([part]) => !all.some(({ text }) => text.includes(part))),
      [],
    );
  });

  it("gives reasons in comments, never the numbers of a plan that is not in the repository", () => {
    const wrong = globSync(["src/**/*.ts", "test/**/*.ts"], { cwd: root }).flatMap((path) =>
      read(path)
        .split("\n")
        .flatMap((line, at) =>
          /(?:\/\/|^\s*\/?\*).*(?:\((?:[MRC]\d{1,2})\)|\b[MRC]\d{1,2}[:,] |\bwall \d\b)/i.test(line)
            ? [`${path}:${at + 1}: ${line.trim()}`]
            : [],
        ),
    );
    assert.deepEqual(wrong, []);
  });

  it("has one word list, in CONTRIBUTING.md, that names every banned phrase", () => {
    const list = read("CONTRIBUTING.md");
    const rows = list.split("\n").filter((line) => line.startsWith("| "));
    assert.deepEqual(
      BANNED.filter(([phrase]) => !rows.some((row) => phrase.test(row))).map(([phrase]) => phrase.source),
      [],
    );
  });
});
