// The form of a command: what the table holds, from which parsing, help and shell completion are made.

import type { Context } from "./context.ts";

export type OptionSpec = {
  /** As commander writes it: `--channel <name>`, `--security`. */
  readonly flags: string;
  readonly about: string;
  /** The variable that is asked when the option is not given; it comes before the settings file. */
  readonly env?: string;
  /** What is taken when that is not set either, in words. */
  readonly otherwise?: string;
  readonly default?: string;
  readonly choices?: readonly string[];
  readonly required?: boolean;
  /** May be given several times. */
  readonly repeat?: boolean;
};

/** The option's line in help and completion. */
export function describeOption({ about, env, otherwise }: OptionSpec): string {
  const next = [env, otherwise].filter((word) => word !== undefined).map((word) => `else ${word}`);
  return next.length === 0 ? about : `${about} (${next.join(", ")})`;
}

export type ArgumentSpec = {
  /** As commander writes it: `<product>`, `[folder]`, `<file...>`. */
  readonly name: string;
  readonly about: string;
};

/** What a command prints when it is done: `text` for people on stdout, `json` for programs with --json. */
export type Result = {
  readonly text?: string;
  readonly json?: unknown;
  /** Defaults to 0. */
  readonly exit?: number;
  /** The command has printed its results itself, one by one. */
  readonly streamed?: boolean;
};

export type CommandSpec = {
  readonly name: string;
  /** Another name that people try. */
  readonly alias?: string;
  /** One line, a sentence without full stop. */
  readonly about: string;
  /** More lines for --help. */
  readonly details?: string;
  readonly arguments?: readonly ArgumentSpec[];
  readonly options?: readonly OptionSpec[];
  /** Complete command lines that work. */
  readonly examples: readonly string[];
  /** Loads its implementation with `await import()`: `--help` of one command must not pay for the others. */
  readonly run: (call: Call) => Promise<Result>;
};

export type NounSpec = {
  readonly name: string;
  readonly about: string;
  /** Verbs, and nouns below this one. */
  readonly commands: readonly TableEntry[];
};

export type TableEntry = CommandSpec | NounSpec;

export function isNoun(entry: TableEntry): entry is NounSpec {
  return "commands" in entry;
}

/** One call of a command: its words, already split, and its context. Reading a wrong value throws `cli/usage`. */
export interface Call {
  readonly context: Context;
  /** A single positional argument by its place. Throws `cli/usage` when it is missing. */
  argument(place: number): string;
  argumentOr(place: number): string | undefined;
  /** All words from this place on, for `<file...>`. */
  argumentsFrom(place: number): readonly string[];
  /** Value of `--name`, or undefined. */
  text(name: string): string | undefined;
  /** Value of `--name`; throws `cli/usage` when it was not given. */
  needed(name: string): string;
  flag(name: string): boolean;
  /** Values of a repeatable option. */
  list(name: string): readonly string[];
  /** A whole number within bounds, or undefined. */
  whole(name: string, least: number, most: number): number | undefined;
}
