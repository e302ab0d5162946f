// Completion scripts for shells, generated from the command table.

import { isNoun, type CommandSpec, type TableEntry } from "./command.ts";

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

/** `noun verb` or `verb` to its words: one row for each place where completion can happen. */
function rows(table: readonly TableEntry[]): readonly (readonly [path: string, words: readonly string[]])[] {
  const out: (readonly [string, readonly string[]])[] = [
    ["", [...table.map((entry) => entry.name), ...GLOBALS]],
  ];
  for (const entry of table) {
    if (!isNoun(entry)) {
      out.push([entry.name, [...longFlags(entry), ...GLOBALS]]);
      continue;
    }
    out.push([entry.name, entry.commands.map((command) => command.name)]);
    for (const command of entry.commands)
      out.push([`${entry.name} ${command.name}`, [...longFlags(command), ...GLOBALS]]);
  }
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
      const about = spec.options!.find((option) => option.flags.includes(flag))!.about;
      lines.push(`complete -c upkeep -n ${quote(when)} -F -l ${flag.slice(2)} -d ${quote(about)}`);
    }
  };
  for (const entry of table) {
    lines.push(`complete -c upkeep -n __fish_use_subcommand -a ${entry.name} -d ${quote(entry.about)}`);
    if (!isNoun(entry)) {
      flags(entry, `__fish_seen_subcommand_from ${entry.name}`);
      continue;
    }
    const verbs = entry.commands.map((command) => command.name).join(" ");
    for (const command of entry.commands) {
      const here = `__fish_seen_subcommand_from ${entry.name}; and not __fish_seen_subcommand_from ${verbs}`;
      lines.push(`complete -c upkeep -n ${quote(here)} -a ${command.name} -d ${quote(command.about)}`);
      flags(
        command,
        `__fish_seen_subcommand_from ${entry.name}; and __fish_seen_subcommand_from ${command.name}`,
      );
    }
  }
  for (const flag of GLOBALS) lines.push(`complete -c upkeep -l ${flag.slice(2)}`);
  return `${lines.join("\n")}\n`;
}
