// From the table to a running command: commander parses, the framework renders.

import { Argument, Command, CommanderError, Option } from "commander";
import {
  describeOption,
  isNoun,
  type Call,
  type CommandSpec,
  type NounSpec,
  type OptionSpec,
  type Result,
  type TableEntry,
} from "./command.ts";
import { createContext, type Context, type Globals } from "./context.ts";
import { usage, type CliError } from "./errors.ts";
import { EXIT } from "./exit-codes.ts";
import { renderError } from "./render.ts";
import { GLOBAL_OPTIONS, nameOf, type Setting, type Settings } from "./settings.ts";
import type { Terminal } from "./terminal.ts";
import { systemDisk } from "../../io/system/disk.ts";
import type { Disk } from "../../core/disk.ts";

/** A program: its commands, and what all of its command lines share. */
export type Program = {
  readonly table: readonly TableEntry[];
  readonly version: string;
  /** Defaults to `upkeep`. */
  readonly name?: string;
  /** Defaults to the system's. */
  readonly disk?: Disk;
  /** Reads the user's settings file; a program that takes none leaves it out. */
  readonly load?: () => Promise<Settings | null>;
  /** Turns a command line in another tool's dialect into ours. */
  readonly translate?: (
    words: readonly string[],
    env: Terminal["env"],
  ) => readonly string[] | Promise<readonly string[]>;
};

/** Runs one command line (without program name) and returns the exit code; never throws. */
export async function runProgram(
  given: Program,
  words: readonly string[],
  terminal: Terminal,
): Promise<number> {
  const { table, version, name = "upkeep", disk = systemDisk } = given;
  const run: Context["run"] = (others, streams) =>
    runProgram({ table, version, name, disk }, others, streams);
  if (words.includes("--version") && words.includes("--json") && pathOf(table, words).length === 0) {
    terminal.stdout.write(`${JSON.stringify({ name, version })}\n`);
    return EXIT.ok;
  }
  let exit: number = EXIT.ok;
  let globals: Globals = {};
  const act = async (spec: CommandSpec, command: Command, positional: readonly unknown[]): Promise<void> => {
    globals = command.optsWithGlobals<Globals>();
    const context = createContext({ terminal, disk, run }, globals);
    try {
      const result = await spec.run(callOf(context, command, positional));
      print(terminal, context, result);
      exit = result.exit ?? EXIT.ok;
    } finally {
      await context.end();
    }
  };
  // What commander says of a wrong command line is said in the form of every other error instead.
  const said: string[] = [];
  const parsing = { ...terminal, stderr: { ...terminal.stderr, write: (text: string) => said.push(text) } };
  try {
    const settings = (await given.load?.()) ?? null;
    const program = buildProgram(table, parsing, version, act, name, settingsOf(settings, terminal));
    const typed = (await given.translate?.(words, terminal.env)) ?? words;
    await program.parseAsync(helpful(table, typed), { from: "user" });
  } catch (thrown) {
    // --help and --version end here too, with exit code 0.
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return EXIT.ok;
    const json = globals.json === true || words.includes("--json");
    // A noun without a verb: its help says what is missing.
    if (thrown instanceof CommanderError && thrown.code === "commander.help" && !json) {
      for (const text of said) terminal.stderr.write(text);
      return EXIT.usage;
    }
    const error =
      thrown instanceof CommanderError ? wrongCommandLine(thrown, pathOf(table, words), name) : thrown;
    const colour =
      terminal.stderr.isTTY === true && globals.color !== false && (terminal.env["NO_COLOR"] ?? "") === "";
    const rendered = renderError(error, { json, colour, verbose: globals.verbose === true });
    terminal.stderr.write(rendered.text);
    return rendered.exit;
  }
  return exit;
}

/** Commander's words in the form of our errors; what it suggests becomes the hint. */
function wrongCommandLine(error: CommanderError, path: readonly string[], name: string): CliError {
  const [first = "", ...more] = error.message.replace(/^error: /, "").split("\n");
  const help = `\`${[name, ...path, "--help"].join(" ")}\` says how it is used.`;
  if (error.code === "commander.help") return usage("A command is missing.", help);
  const suggestion = more.map((line) => line.replace(/^\((.*)\)$/, "$1")).filter((line) => line !== "");
  return usage(
    `${first.slice(0, 1).toUpperCase()}${first.slice(1)}${first.endsWith(".") ? "" : "."}`,
    [...suggestion, help].join(" "),
  );
}

const HELP: ReadonlySet<string> = new Set(["--help", "-h"]);

/** Words that are no options, and no values of options that every command has. */
function operandsOf(words: readonly string[]): readonly string[] {
  const valued = new Set(
    GLOBAL_OPTIONS.filter(({ flags }) => flags.includes("<")).map((one) => `--${nameOf(one)}`),
  );
  return words.filter((word, at) => !word.startsWith("-") && !valued.has(words[at - 1] ?? ""));
}

/** As far as the words name nouns and verbs of the table. */
function pathOf(table: readonly TableEntry[], words: readonly string[]): readonly string[] {
  const path: string[] = [];
  let entries: readonly TableEntry[] = table;
  for (const word of operandsOf(words)) {
    const entry = entries.find(({ name }) => name === word);
    if (entry === undefined) break;
    path.push(word);
    if (!isNoun(entry)) break;
    entries = entry.commands;
  }
  return path;
}

/** Help on what does not exist is no help: without the word, commander says that there is no such command. */
function helpful(table: readonly TableEntry[], words: readonly string[]): string[] {
  if (!words.some((word) => HELP.has(word))) return [...words];
  const path = pathOf(table, words);
  let entries: readonly TableEntry[] = table;
  for (const word of path) {
    const entry = entries.find(({ name }) => name === word)!;
    if (!isNoun(entry)) return [...words];
    entries = entry.commands;
  }
  const next = operandsOf(words)[path.length];
  return next === undefined || next === "help" ? [...words] : words.filter((word) => !HELP.has(word));
}

type Act = (spec: CommandSpec, command: Command, positional: readonly unknown[]) => Promise<void>;

export function buildProgram(
  table: readonly TableEntry[],
  terminal: Terminal,
  version: string,
  act: Act,
  name = "upkeep",
  setting: Lookup = () => undefined,
): Command {
  const program = new Command(name)
    .description("Carries software from a signing key to a running process and proves every step.")
    .version(version, "--version", "print the version")
    .option("--json", "print one JSON object for programs")
    .option("--no-color", "print without color");
  // Programs without a fleet have no store.
  const globals = GLOBAL_OPTIONS.filter((given) => name === "upkeep" || nameOf(given) !== "store");
  for (const given of globals) program.addOption(optionOf(given, setting([], given)));
  shape(program, terminal);
  program.addHelpText(
    "after",
    "\nExit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 pending, 5 network, 6 verification failed.",
  );
  for (const entry of table) {
    if (!isNoun(entry)) {
      program.addCommand(build(entry, [], terminal, act, setting));
      continue;
    }
    program.addCommand(buildNoun(entry, [], terminal, act, setting));
  }
  return program;
}

/** What the user's settings say for an option of a command, if nothing on the command line or in the environment comes before it. */
type Lookup = (path: readonly string[], option: OptionSpec) => Setting | undefined;

function settingsOf(settings: Settings | null, terminal: Terminal): Lookup {
  if (settings === null) return () => undefined;
  return (path, option) => {
    if (option.env !== undefined && (terminal.env[option.env] ?? "") !== "") return undefined;
    return settings.of(path, nameOf(option));
  };
}

function optionOf(given: OptionSpec, set: Setting | undefined): Option {
  const option = new Option(given.flags, describeOption(given));
  // A flag that begins with "no" is a flag like others: it is asked for by its whole name.
  option.negate = false;
  if (given.choices !== undefined) option.choices([...given.choices]);
  const value = set ?? given.default;
  if (value !== undefined) option.default(value, set === undefined ? undefined : `${String(set)}, as set`);
  if (given.required === true) option.makeOptionMandatory();
  if (given.repeat === true) {
    // What is typed takes the place of what is set; it is not added to it.
    const typed: string[] = [];
    option.argParser((word: string) => [...(typed.push(word), typed)]);
  }
  return option;
}

function buildNoun(
  noun: NounSpec,
  above: readonly string[],
  terminal: Terminal,
  act: Act,
  setting: Lookup,
): Command {
  const command = new Command(noun.name).description(noun.about);
  shape(command, terminal);
  const path = [...above, noun.name];
  for (const entry of noun.commands)
    command.addCommand(
      isNoun(entry)
        ? buildNoun(entry, path, terminal, act, setting)
        : build(entry, path, terminal, act, setting),
    );
  return command;
}

function build(
  spec: CommandSpec,
  above: readonly string[],
  terminal: Terminal,
  act: Act,
  setting: Lookup,
): Command {
  const command = new Command(spec.name).description(
    spec.details === undefined ? spec.about : `${spec.about}.\n\n${spec.details}`,
  );
  command.summary(spec.about);
  if (spec.alias !== undefined) command.alias(spec.alias);
  shape(command, terminal);
  for (const { name, about } of spec.arguments ?? []) command.addArgument(new Argument(name, about));
  for (const given of spec.options ?? [])
    command.addOption(optionOf(given, setting([...above, spec.name], given)));
  const full = ["upkeep", ...above, spec.name].join(" ");
  if (spec.examples.length > 0)
    command.addHelpText("after", `\nExamples:\n${spec.examples.map((line) => `  ${line}`).join("\n")}`);
  command.action((...given: unknown[]) => act(spec, command, given.slice(0, spec.arguments?.length ?? 0)));
  command.configureHelp({ showGlobalOptions: true, commandUsage: () => usageLine(full, spec) });
  return command;
}

function usageLine(full: string, spec: CommandSpec): string {
  return [
    full,
    ...(spec.options?.length ? ["[options]"] : []),
    ...(spec.arguments ?? []).map((a) => a.name),
  ].join(" ");
}

function shape(command: Command, terminal: Terminal): void {
  command.exitOverride();
  command.showSuggestionAfterError(true);
  command.configureHelp({ showGlobalOptions: true });
  command.configureOutput({
    writeOut: (text) => void terminal.stdout.write(text),
    writeErr: (text) => void terminal.stderr.write(text),
    getOutHelpWidth: () => terminal.stdout.columns ?? 100,
    getErrHelpWidth: () => terminal.stderr.columns ?? 100,
  });
}

function print(terminal: Terminal, context: Context, result: Result): void {
  if (result.streamed === true) return;
  if (context.json) terminal.stdout.write(`${JSON.stringify(result.json ?? {})}\n`);
  else if (result.text !== undefined && result.text !== "") terminal.stdout.write(`${result.text}\n`);
}

function callOf(context: Context, command: Command, positional: readonly unknown[]): Call {
  const options = command.opts<{ [name: string]: unknown }>();
  const value = (name: string): unknown =>
    options[name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())];
  const text = (name: string): string | undefined => {
    const found = value(name);
    return typeof found === "string" ? found : undefined;
  };
  return {
    context,
    argument: (place) => {
      const found = positional[place];
      if (typeof found !== "string") throw usage("An argument is missing.");
      return found;
    },
    argumentOr: (place) => {
      const found = positional[place];
      return typeof found === "string" ? found : undefined;
    },
    argumentsFrom: (place) =>
      positional
        .slice(place)
        .flat()
        .filter((word) => typeof word === "string"),
    text,
    needed: (name) => {
      const found = text(name);
      if (found === undefined) throw usage(`--${name} is needed.`);
      return found;
    },
    flag: (name) => value(name) === true,
    list: (name) => {
      const found = value(name);
      return Array.isArray(found) ? found.filter((word) => typeof word === "string") : [];
    },
    whole: (name, least, most) => {
      const found = text(name);
      if (found === undefined) return undefined;
      const number = /^\d{1,15}$/.test(found) ? Number(found) : Number.NaN;
      if (!(number >= least && number <= most))
        throw usage(
          `--${name} must be a whole number from ${least} to ${most}, not "${found.slice(0, 40)}".`,
        );
      return number;
    },
  };
}
