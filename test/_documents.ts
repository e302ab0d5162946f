// Commands as the documents show them: taken out of fenced blocks, one line each, without prompts and comments.

import { readFileSync } from "node:fs";

const root = new URL("..", import.meta.url).pathname;

export type Shown = { readonly page: string; readonly line: number; readonly command: string };

/** A prompt such as `$ ` or `alice$  `, and `upkeep` itself however it is reached. */
const PROMPT = /^(?:[a-z]+)?\$ +/;

/** Lines of unnamed fenced blocks of a page (those with a language show files), in order. */
export function commandsOf(page: string, from = "", to?: string): readonly Shown[] {
  const out: Shown[] = [];
  let block: string | null = null;
  let counts = from === "";
  for (const [at, text] of readFileSync(`${root}${page}`, "utf8").split("\n").entries()) {
    if (from !== "" && text === from) counts = true;
    if (to !== undefined && text === to) counts = false;
    const fence = /^```(.*)$/.exec(text);
    if (fence !== null) block = block === null ? fence[1]! : null;
    else if (block === "" && counts) {
      const command = text
        .replace(PROMPT, "")
        .replace(/\s+#(?: |$).*$/, "")
        .trim();
      if (command !== "" && !command.startsWith("#")) out.push({ page, line: at + 1, command });
    }
  }
  return out;
}

/** Words as a shell splits them; quotes keep blanks, nothing is substituted. Ends at a pipe, a redirection or the next command. */
export function wordsOf(command: string): readonly string[] {
  const words: string[] = [];
  for (const [word] of command.matchAll(/(?:"[^"]*"|'[^']*'|<[^<>]*>|[^\s"'])+/g)) {
    if (/^(?:\||>|>>|&&|;|&)$/.test(word)) break;
    words.push(word.replace(/;$/, "").replaceAll(/["']/g, ""));
    if (word.endsWith(";")) break;
  }
  return words;
}
