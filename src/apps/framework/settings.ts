// What the user has set for options, as the command line's frame sees it; where that is read from is not its business.

import type { OptionSpec } from "./command.ts";

/** What the file says for one option: text, a switch, or several texts for an option that may be repeated. */
export type Setting = string | boolean | readonly string[];
export interface Settings {
  readonly file: string;
  /** `path` is the command's words, such as `["release", "add"]`; `[]` for options of every command. */
  of(path: readonly string[], option: string): Setting | undefined;
}

/** Options of every command that may be set. */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  {
    flags: "--data <folder>",
    about: "the data folder",
    env: "UPKEEP_DATA",
    otherwise: "~/.local/share/upkeep",
  },
  {
    flags: "--store <address>",
    about: "the fleet's records, postgres://USER@HOST/DATABASE",
    env: "UPKEEP_STORE",
    otherwise: "a file in the data folder",
  },
  { flags: "--quiet", about: "print results and errors only" },
  { flags: "--verbose", about: "print more when something goes wrong" },
];

/** The long name of an option without its dashes. */
export function nameOf({ flags }: OptionSpec): string {
  return /--([a-z0-9-]+)/.exec(flags)?.[1] ?? "";
}
