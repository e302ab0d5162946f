// Completion scripts for shells, generated from the command table.

import { describeOption, isNoun, type CommandSpec, type TableEntry } from "./command.ts";

export type Shell = "bash" | "zsh" | "fish";
export const SHELLS: readonly Shell[] = ["bash", "zsh", "fish"];

const GLOBALS = ["--data", "--store", "--json", "--quiet", "--no-color", "--verbose", "--help"];

export function completionScript(table: readonly TableEntry[], shell: Shell): string {
  return { bash, zsh, fish }[shell](table);
}

function longFlags(spec: CommandSpec): readonly string[] {
  return (spec.options ?? [])
    .map((option) => /--[a-z0-9-]+/.exec(option.flags)?.[0] ?? "")
    .filter((flag) => flag !== "");
}

/** The words of a command (`noun verb`, `verb`) to what may follow them: one row for each place where completion can happen. */
function rows(table: readonly TableEntry[]): readonly (readonly [path: string, words: readonly string[]])[] {
  const out: (readonly [string, readonly string[]])[] = [
    ["", [...table.map((entry) => entry.name), ...GLOBALS]],
  ];
  const visit = (entry: TableEntry, above: string): void => {
    const path = `${above}${entry.name}`;
    if (!isNoun(entry)) {
      out.push([path, [...longFlags(entry), ...GLOBALS]]);
      return;
    }
    out.push([path, entry.commands.map((command) => command.name)]);
    for (const command of entry.commands) visit(command, `${path} `);
  };
  for (const entry of table) visit(entry, "");
  return out;
}

function bash(table: readonly TableEntry[]): string {
  const cases = rows(table).map(([path, words]) => `    "${path}") words="${words.join(" ")}" ;;`);
  return `# bash completion of upkeep; load it with: source <(upkeep completion bash)
_upkeep() {
  local word path="" words=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) ;; *) path="\${path:+$path }$word" ;; esac
  done
  while :; do
    case "$path" in
${cases.map((line) => `  ${line}`).join("\n")}
    esac
    [ -n "$words" ] && break
    case "$path" in *" "*) path="\${path% *}" ;; "") break ;; *) path="" ;; esac
  done
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
  [ \${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
  return 0
}
complete -F _upkeep upkeep
`;
}

function zsh(table: readonly TableEntry[]): string {
  return `#compdef upkeep
# zsh completion of upkeep; load it with: source <(upkeep completion zsh)
autoload -U +X bashcompinit && bashcompinit
${bash(table)}`;
}

function fish(table: readonly TableEntry[]): string {
  const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = [
    "# fish completion of upkeep; load it with: upkeep completion fish | source",
    "complete -c upkeep -f",
  ];
  const flags = (spec: CommandSpec, when: string): void => {
    for (const flag of longFlags(spec)) {
      const about = describeOption(spec.options!.find((option) => option.flags.includes(flag))!);
      lines.push(`complete -c upkeep -n ${quote(when)} -F -l ${flag.slice(2)} -d ${quote(about)}`);
    }
  };
  const visit = (entry: TableEntry, seen: string): void => {
    const here = `${seen === "" ? "" : `${seen}; and `}__fish_seen_subcommand_from ${entry.name}`;
    if (!isNoun(entry)) {
      flags(entry, here);
      return;
    }
    const verbs = entry.commands.map((command) => command.name).join(" ");
    for (const command of entry.commands) {
      const open = `${here}; and not __fish_seen_subcommand_from ${verbs}`;
      lines.push(`complete -c upkeep -n ${quote(open)} -a ${command.name} -d ${quote(command.about)}`);
      visit(command, here);
    }
  };
  for (const entry of table) {
    lines.push(`complete -c upkeep -n __fish_use_subcommand -a ${entry.name} -d ${quote(entry.about)}`);
    visit(entry, "");
  }
  for (const flag of GLOBALS) lines.push(`complete -c upkeep -l ${flag.slice(2)}`);
  return `${lines.join("\n")}\n`;
}
