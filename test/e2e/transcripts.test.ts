// Runs test/transcripts/*.txt: what a user types, and exactly what the program answers.
//
//   # comment
//   file PATH [MODE]       followed by lines "| content"
//   env NAME=VALUE         for all commands that follow
//   flip PATTERN           changes one byte of the one file whose path matches (* is any text)
//   remove PATTERN         removes the files whose paths match
//   $ upkeep WORDS         runs the program; then "> stdout", "! stderr" lines and "? exit code" (0 if absent)
//
// Expected lines may hold <hex>, <time>, <n>, <tmp> and <...> for what differs from run to run.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { describe, it } from "node:test";

const root = new URL("../..", import.meta.url).pathname;
const MAIN = join(root, "src/apps/cli/main.ts");

type Step =
  | { readonly kind: "file"; readonly path: string; readonly mode: number; readonly content: string }
  | { readonly kind: "env"; readonly name: string; readonly value: string }
  | { readonly kind: "flip" | "remove"; readonly pattern: string }
  | {
      readonly kind: "run";
      readonly line: number;
      readonly words: readonly string[];
      readonly stdout: readonly string[];
      readonly stderr: readonly string[];
      readonly exit: number;
    };

describe("transcripts", () => {
  for (const path of globSync("test/transcripts/*.txt", { cwd: root }).sort()) {
    it(basename(path, ".txt"), () => play(join(root, path)));
  }
});

function play(path: string): void {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "upkeep-transcript-")));
  const env: { [name: string]: string } = {
    PATH: process.env["PATH"] ?? "",
    HOME: folder,
    UPKEEP_DATA: join(folder, "data"),
    NODE_COMPILE_CACHE: join(tmpdir(), "upkeep-transcript-cache"),
  };
  try {
    for (const step of parse(readFileSync(path, "utf8"))) {
      if (step.kind === "file") {
        mkdirSync(dirname(join(folder, step.path)), { recursive: true });
        writeFileSync(join(folder, step.path), step.content);
        chmodSync(join(folder, step.path), step.mode);
      } else if (step.kind === "env") {
        env[step.name] = step.value;
      } else if (step.kind === "run") {
        run(step, folder, env, path);
      } else {
        const found = matching(folder, step.pattern);
        assert.ok(found.length > 0, `nothing matches ${step.pattern}`);
        if (step.kind === "flip")
          assert.equal(found.length, 1, `${step.pattern} matches ${found.join(", ")}`);
        for (const file of found) {
          if (step.kind === "remove") rmSync(file);
          else flip(file);
        }
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(
  step: Extract<Step, { kind: "run" }>,
  folder: string,
  env: { readonly [name: string]: string },
  path: string,
): void {
  assert.equal(step.words[0], "upkeep");
  const { stdout, stderr, status } = spawnSync(process.execPath, [MAIN, ...step.words.slice(1)], {
    cwd: folder,
    env,
    encoding: "utf8",
    timeout: 60_000,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const where = `${basename(path)}:${step.line}: ${step.words.join(" ")}`;
  const shown = `${where}\n--- stdout\n${stdout}--- stderr\n${stderr}--- exit ${status}`;
  compare(step.stdout, stdout.replaceAll(folder, "<tmp>"), shown);
  compare(step.stderr, stderr.replaceAll(folder, "<tmp>"), shown);
  assert.equal(status, step.exit, shown);
}

function compare(expected: readonly string[], found: string, shown: string): void {
  const lines = found === "" ? [] : found.replace(/\n$/, "").split("\n");
  assert.equal(lines.length, expected.length, `other number of lines\n${shown}`);
  for (const [i, line] of lines.entries()) {
    const pattern = expected[i]!.split(/(<hex>|<time>|<n>|<\.\.\.>)/)
      .map((part) => PLACEHOLDERS[part] ?? part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"))
      .join("");
    assert.match(line.trimEnd(), new RegExp(`^${pattern.trimEnd()}$`), shown);
  }
}

const PLACEHOLDERS: { readonly [name: string]: string } = {
  "<hex>": "[0-9a-f]+",
  "<time>": "\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ",
  "<n>": "\\d+",
  "<...>": ".*",
};

function matching(folder: string, pattern: string): readonly string[] {
  const form = new RegExp(
    `^${pattern
      .split("*")
      .map((part) => part.replace(/[\\^$.+?()[\]{}|]/g, "\\$&"))
      .join(".*")}$`,
  );
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => form.test(path.slice(folder.length + 1)));
}

function flip(path: string): void {
  const bytes = readFileSync(path);
  bytes[Math.floor(bytes.length / 2)]! ^= 1;
  writeFileSync(path, bytes);
}

function parse(text: string): readonly Step[] {
  const steps: Step[] = [];
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!;
    const following = (mark: string): string[] => {
      const out: string[] = [];
      while (lines[i + 1]?.startsWith(mark) === true)
        out.push(lines[++i]!.slice(mark.length).replace(/^ /, ""));
      return out;
    };
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [word, ...rest] = line.split(" ");
    if (word === "file") {
      steps.push({
        kind: "file",
        path: rest[0]!,
        mode: Number.parseInt(rest[1] ?? "644", 8),
        content: `${following("|").join("\n")}\n`,
      });
    } else if (word === "env") {
      const [name, ...value] = rest.join(" ").split("=");
      steps.push({ kind: "env", name: name!, value: value.join("=") });
    } else if (word === "flip" || word === "remove") {
      steps.push({ kind: word, pattern: rest.join(" ") });
    } else if (word === "$") {
      const at = i + 1;
      const [stdout, stderr, exit] = [following(">"), following("!"), following("?")];
      steps.push({
        kind: "run",
        line: at,
        words: split(rest.join(" ")),
        stdout,
        stderr,
        exit: Number(exit[0] ?? "0"),
      });
    } else {
      throw new Error(`line ${i + 1} is not understood: ${line}`);
    }
  }
  return steps;
}

/** Words at spaces; double quotes keep spaces. */
function split(line: string): readonly string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2]!);
}
