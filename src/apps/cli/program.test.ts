// Tests of the command line's frame: parsing, help, errors, exit codes, completion.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { DiskError } from "../../core/disk.ts";
import { DsseError } from "../../core/dsse.ts";
import { MirrorError } from "../../mirror/errors.ts";
import { isNoun, type TableEntry } from "../framework/command.ts";
import { completionScript } from "../framework/completion.ts";
import type { Terminal } from "../framework/terminal.ts";
import { usage } from "../framework/errors.ts";
import { EXIT, exitOf } from "../framework/exit-codes.ts";
import { runProgram } from "../framework/program.ts";
import { progressLine } from "../framework/progress.ts";
import { columns, size } from "../framework/style.ts";
import { TABLE } from "./table.ts";

async function run(table: readonly TableEntry[], ...words: string[]) {
  let [out, err] = ["", ""];
  const terminal: Terminal = {
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    stdin: process.stdin,
    env: {},
    home: "/home/nobody",
  };
  const exit = await runProgram({ table, version: "9.9.9" }, words, terminal);
  return { exit, out, err };
}

const table: readonly TableEntry[] = [
  {
    name: "cup",
    about: "work with cups",
    commands: [
      {
        name: "fill",
        about: "fill a cup",
        arguments: [{ name: "<cup>", about: "which one" }],
        options: [
          { flags: "--with <drink>", about: "what with", repeat: true },
          { flags: "--times <n>", about: "how often" },
          { flags: "--hot", about: "heat it" },
        ],
        examples: ["upkeep cup fill mug --with tea"],
        run: async (call) => {
          if (call.argument(0) === "broken")
            throw new DsseError(
              "dsse/no-valid-signature",
              "It leaks.",
              { cup: "broken", hole: 3 },
              { hint: "Buy one." },
            );
          const json = {
            cup: call.argument(0),
            with: call.list("with"),
            times: call.whole("times", 1, 9) ?? null,
            hot: call.flag("hot"),
            data: call.context.data,
          };
          call.context.note("filling");
          return { text: `filled ${json.cup}`, json };
        },
      },
    ],
  },
];

describe("a user without a home folder", () => {
  const homeless = async (...words: string[]) => {
    let [out, err] = ["", ""];
    const terminal: Terminal = {
      stdout: { write: (text) => (out += text) },
      stderr: { write: (text) => (err += text) },
      stdin: process.stdin,
      env: {},
      home: null,
    };
    const exit = await runProgram({ table, version: "9.9.9" }, words, terminal);
    return { exit, out, err };
  };
  it("works in the folder that is named, and is told in one sentence when none is", async () => {
    const named = await homeless("--data", "/srv/cups", "cup", "fill", "mug");
    assert.deepEqual([named.exit, named.out], [0, "filled mug\n"]);
    const { exit, err } = await homeless("cup", "fill", "mug");
    assert.equal(exit, EXIT.usage);
    assert.match(err, /no home folder here.*\nhint: Name one with --data FOLDER, UPKEEP_DATA, or HOME\./);
    assert.equal((await homeless("--version")).exit, 0);
  });

  const other = process.getuid?.() === 0;
  it(
    "starts the program all the same",
    { skip: other ? false : "only root becomes a user without an entry in passwd" },
    () => {
      const main = new URL("./main.ts", import.meta.url).pathname;
      const code = `process.setuid(123456); delete process.env.HOME; process.argv.splice(1, 0, ${JSON.stringify(main)}); await import(${JSON.stringify(main)});`;
      const ran = spawnSync(process.execPath, ["--input-type=module", "-e", code, "--", "--version"], {
        encoding: "utf8",
      });
      assert.equal(ran.status, 0, ran.stderr);
      assert.match(ran.stdout, /^\d+\.\d+\.\d+/);
    },
  );
});

describe("the command line", () => {
  it("hands arguments, options and global options to the command, wherever they stand", async () => {
    const { exit, out, err } = await run(
      table,
      "--json",
      "cup",
      "fill",
      "mug",
      "--with",
      "tea",
      "--with",
      "milk",
      "--hot",
      "--times",
      "3",
      "--data",
      "/x",
    );
    assert.deepEqual(JSON.parse(out), { cup: "mug", with: ["tea", "milk"], times: 3, hot: true, data: "/x" });
    assert.deepEqual([exit, err], [0, ""]);
  });

  it("prints results on stdout and notes on stderr, and no notes when quiet", async () => {
    assert.deepEqual(await run(table, "cup", "fill", "mug"), {
      exit: 0,
      out: "filled mug\n",
      err: "filling\n",
    });
    assert.deepEqual(await run(table, "cup", "fill", "mug", "--quiet"), {
      exit: 0,
      out: "filled mug\n",
      err: "",
    });
  });

  it("ends with 2 for a command line it cannot understand", async () => {
    for (const words of [
      ["cop"],
      ["cup", "fil"],
      ["cup", "fill"],
      ["cup", "fill", "a", "b"],
      ["cup", "fill", "a", "--cold"],
      ["cup", "fill", "a", "--times", "x"],
    ]) {
      const { exit, err } = await run(table, ...words);
      assert.equal(exit, 2, words.join(" "));
      assert.notEqual(err, "");
      const json = await run(table, ...words, "--json");
      assert.equal((JSON.parse(json.err) as { error: { code: string } }).error.code, "cli/usage");
    }
  });

  it("says what is wrong with a command line in the form of every other error", async () => {
    const { exit, err } = await run(table, "cup", "fil", "mug");
    assert.deepEqual(
      [exit, err],
      [
        2,
        "error cli/usage: Unknown command 'fil'.\nhint: Did you mean fill? `upkeep cup --help` says how it is used.\n",
      ],
    );
    const missing = await run(table, "cup", "fill", "--json");
    const { error } = JSON.parse(missing.err) as { error: { message: string; hint: string } };
    assert.deepEqual(
      [error.message, error.hint],
      ["Missing required argument 'cup'.", "`upkeep cup fill --help` says how it is used."],
    );
  });

  it("gives no help on commands that are not there", async () => {
    for (const words of [
      ["nonsense", "--help"],
      ["cup", "nonsense", "--help"],
      ["--data", "cup", "nonsense", "--help"],
    ]) {
      const { exit, out, err } = await run(table, ...words);
      assert.deepEqual([exit, out], [2, ""], words.join(" "));
      assert.match(err, /Unknown command 'nonsense'/);
    }
    for (const words of [["--help"], ["cup", "--help"], ["--data", "x", "cup", "fill", "-h"]])
      assert.equal((await run(table, ...words)).exit, 0, words.join(" "));
  });

  it("shows what a noun can do when the verb is missing", async () => {
    const { exit, err } = await run(table, "cup");
    assert.equal(exit, 2);
    assert.match(err, /fill a cup/);
  });

  it("tells its version to programs as well", async () => {
    assert.equal((await run(table, "--version")).out, "9.9.9\n");
    assert.deepEqual(JSON.parse((await run(table, "--version", "--json")).out), {
      name: "upkeep",
      version: "9.9.9",
    });
  });

  it("shows an error as code, sentence, the facts the sentence left out, and hint", async () => {
    const { exit, err } = await run(table, "cup", "fill", "broken");
    assert.equal(exit, 3);
    assert.equal(err, "error dsse/no-valid-signature: It leaks.\n  cup: broken\n  hole: 3\nhint: Buy one.\n");
    const json = JSON.parse((await run(table, "cup", "fill", "broken", "--json")).err) as { exit: number };
    assert.equal(json.exit, 3);
  });

  it("shows examples and global options in the help of each command", async () => {
    const { exit, out } = await run(table, "cup", "fill", "--help");
    assert.equal(exit, 0);
    assert.match(out, /Usage: upkeep cup fill \[options\] <cup>/);
    assert.match(out, /upkeep cup fill mug --with tea/);
    assert.match(out, /--data <folder>/);
  });

  it("has one exit code per class of error", () => {
    assert.deepEqual(
      [
        usage(""),
        new DsseError("dsse/wrong-type", ""),
        new MirrorError("mirror/unreachable", ""),
        new DiskError("disk/full", ""),
        new Error("nobody knows"),
      ].map(exitOf),
      [2, 3, 5, 1, 1],
    );
  });

  it("documents every exit code", () => {
    const page = readFileSync(new URL("../../../docs/errors.md", import.meta.url), "utf8");
    for (const [name, code] of Object.entries(EXIT))
      assert.match(page, new RegExp(`\\| ${code} \\| ${name} \\|`));
  });

  it("gives every command of the program an example that starts with its own name", () => {
    const visit = (entry: TableEntry, above: string): void => {
      const full = `${above} ${entry.name}`;
      if (isNoun(entry)) for (const below of entry.commands) visit(below, full);
      else
        assert.ok(
          entry.examples.some((example) => example.includes(full)),
          full,
        );
    };
    for (const entry of TABLE) visit(entry, "upkeep");
  });

  it(
    "completes in bash what the table holds",
    { skip: spawnSync("bash", ["-c", "true"]).status !== 0 && "bash is not installed" },
    () => {
      const script = `${completionScript(table, "bash")}
      COMP_WORDS=(upkeep cup fill --h); COMP_CWORD=3; _upkeep; echo "\${COMPREPLY[*]}"
      COMP_WORDS=(upkeep cup ""); COMP_CWORD=2; _upkeep; echo "\${COMPREPLY[*]}"`;
      const { stdout } = spawnSync("bash", ["-c", script], { encoding: "utf8" });
      assert.equal(stdout, "--hot --help\nfill\n");
    },
  );

  it("draws a bar that fits the width", () => {
    assert.equal(
      progressLine("packing", 50, 100, 80),
      `packing  [${"#".repeat(20)}${".".repeat(20)}]   50 %`,
    );
    for (const width of [1, 10, 20, 40]) assert.ok(progressLine("packing", 7, 9, width).length < width + 1);
  });

  it("fits a table to the terminal, breaking between words and never inside one", () => {
    const rows = [
      ["DEVICE", "WHAT"],
      ["0a0b0c0d-0000", "one two three four five"],
    ];
    assert.equal(columns(rows, 200), columns(rows));
    assert.equal(
      columns(rows, 28),
      ["DEVICE         WHAT", "0a0b0c0d-0000  one two three", "               four five"].join("\n"),
    );
    for (const line of columns(rows, 5).split("\n"))
      assert.ok(line.includes("0a0b0c0d-0000") || line.length < 25);
  });

  it("aligns columns and sizes", () => {
    assert.equal(
      columns([
        ["a", "bb"],
        ["ccc", "d"],
      ]),
      "a    bb\nccc  d",
    );
    assert.deepEqual([512, 2048, 5 * 2 ** 20].map(size), ["512 B", "2.0 KiB", "5.0 MiB"]);
  });
});
