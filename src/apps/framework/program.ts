// From the table to a running command: commander parses, the framework renders.

import { Argument, Command, CommanderError, Option } from "commander";
import {
  isNoun,
  type Call,
  type CommandSpec,
  type OptionSpec,
  type Result,
  type TableEntry,
} from "./command.ts";
import { createContext, type Context, type Globals, type World } from "./context.ts";
import { usage } from "./errors.ts";
import { EXIT } from "./exit-codes.ts";
import { renderError } from "./render.ts";
import { GLOBAL_OPTIONS, nameOf, variableOf, type Setting, type Settings } from "./settings.ts";
import { fromSigntool } from "../cli/sign/signtool.ts";

/** Runs one command line (without program name) and returns the exit code; never throws. */
export async function runProgram(
  table: readonly TableEntry[],
  words: readonly string[],
  world: World,
  version: string,
  name = "upkeep",
  /** Reads the user's settings file; a program that takes none leaves it out. */
  load: () => Promise<Settings | null> = async () => null,
): Promise<number> {
  let exit: number = EXIT.ok;
  let globals: Globals = {};
  const act = async (spec: CommandSpec, command: Command, positional: readonly unknown[]): Promise<void> => {
    globals = command.optsWithGlobals<Globals>();
    const context = createContext(world, globals);
    try {
      const result = await spec.run(callOf(context, command, positional));
      print(world, context, result);
      exit = result.exit ?? EXIT.ok;
    } finally {
      await context.end();
    }
  };
  // With --json, commander's own words about a wrong command line become one object as well.
  const quietly = words.includes("--json") ? { ...world, stderr: { write: () => {} } } : world;
  try {
    const program = buildProgram(table, quietly, version, act, name, settingsOf(await load(), world));
    const service = (world.env["UPKEEP_SERVICE"] ?? "") !== "" && (world.env["UPKEEP_CERT"] ?? "") === "";
    await program.parseAsync([...fromSigntool(words, service)], { from: "user" });
  } catch (error) {
    // --help and --version end here too, with exit code 0; commander has already printed what is wrong with the others.
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
    const json = globals.json === true || words.includes("--json");
    if (error instanceof CommanderError) {
      if (json)
        world.stderr.write(
          renderError(usage(sentence(error.message)), { json, colour: false, verbose: false }).text,
        );
      return EXIT.usage;
    }
    const colour =
      world.stderr.isTTY === true && globals.color !== false && (world.env["NO_COLOR"] ?? "") === "";
    const rendered = renderError(error, { json, colour, verbose: globals.verbose === true });
    world.stderr.write(rendered.text);
    return rendered.exit;
  }
  return exit;
}

function sentence(message: string): string {
  const text = message.replace(/^error: /, "");
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}

type Act = (spec: CommandSpec, command: Command, positional: readonly unknown[]) => Promise<void>;

export function buildProgram(
  table: readonly TableEntry[],
  world: World,
  version: string,
  act: Act,
  name = "upkeep",
  setting: Lookup = () => undefined,
): Command {
  const program = new Command(name)
    .description("Carries software from a signing key to a running process and proves every step.")
    .version(version, "--version", "print the version")
    .option("--json", "print one JSON object for programs")
    .option("--no-color", "print without colour");
  // Programs without a fleet have no store.
  const globals = GLOBAL_OPTIONS.filter((given) => name === "upkeep" || nameOf(given) !== "store");
  for (const given of globals) program.addOption(optionOf(given, setting([], given)));
  shape(program, world);
  program.addHelpText(
    "after",
    "\nExit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 pending, 5 network, 6 verification failed.",
  );
  for (const entry of table) {
    if (!isNoun(entry)) {
      program.addCommand(build(entry, [], world, act, setting));
      continue;
    }
    const noun = new Command(entry.name).description(entry.about);
    shape(noun, world);
    for (const spec of entry.commands) noun.addCommand(build(spec, [entry.name], world, act, setting));
    program.addCommand(noun);
  }
  return program;
}

/** What the user's settings say for an option of a command, if nothing on the command line or in the environment comes before it. */
type Lookup = (path: readonly string[], option: OptionSpec) => Setting | undefined;

function settingsOf(settings: Settings | null, world: World): Lookup {
  if (settings === null) return () => undefined;
  return (path, option) => {
    const variable = variableOf(option);
    if (variable !== undefined && (world.env[variable] ?? "") !== "") return undefined;
    return settings.of(path, nameOf(option));
  };
}

function optionOf(given: OptionSpec, set: Setting | undefined): Option {
  const option = new Option(given.flags, given.about);
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

function build(
  spec: CommandSpec,
  above: readonly string[],
  world: World,
  act: Act,
  setting: Lookup,
): Command {
  const command = new Command(spec.name).description(
    spec.details === undefined ? spec.about : `${spec.about}.\n\n${spec.details}`,
  );
  command.summary(spec.about);
  if (spec.alias !== undefined) command.alias(spec.alias);
  shape(command, world);
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

function shape(command: Command, world: World): void {
  command.exitOverride();
  command.showSuggestionAfterError(true);
  command.showHelpAfterError("(--help says how it is used)");
  command.configureHelp({ showGlobalOptions: true });
  command.configureOutput({
    writeOut: (text) => void world.stdout.write(text),
    writeErr: (text) => void world.stderr.write(text),
    getOutHelpWidth: () => world.stdout.columns ?? 100,
    getErrHelpWidth: () => world.stderr.columns ?? 100,
  });
}

function print(world: World, context: Context, result: Result): void {
  if (result.streamed === true) return;
  if (context.json) world.stdout.write(`${JSON.stringify(result.json ?? {})}\n`);
  else if (result.text !== undefined && result.text !== "") world.stdout.write(`${result.text}\n`);
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
