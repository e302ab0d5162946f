// How an error is shown: code, sentence, facts and hint for people, one JSON object for programs.

import { UpkeepError, type Fact } from "../../core/errors.ts";
import { showName } from "../../core/raw-name.ts";
import { CliError } from "./errors.ts";
import { exitOf } from "./exit-codes.ts";
import { styler } from "./style.ts";

export type Rendered = { readonly text: string; readonly exit: number };

export function renderError(
  error: unknown,
  how: { readonly json: boolean; readonly colour: boolean; readonly verbose: boolean },
): Rendered {
  const known = error instanceof UpkeepError ? error : unexpected(error);
  const exit = exitOf(known);
  const data = known.toJSON();
  if (how.json) return { text: `${JSON.stringify({ error: data, exit })}\n`, exit };
  const style = styler(how.colour);
  const lines = [`${style.bad("error")} ${style.strong(known.code)}: ${harmless(known.message)}`];
  for (const [name, fact] of Object.entries(known.facts)) {
    const shown = showFact(fact);
    // The sentence usually says it already; repeat only what it left out.
    if (shown !== "" && !known.message.includes(shown) && !known.message.includes(showName(shown)))
      lines.push(style.faint(`  ${name}: ${oneLine(shown)}`));
  }
  for (const cause of data.causes ?? []) lines.push(style.faint(`  because: ${oneLine(cause)}`));
  if (known.hint !== undefined) lines.push(`hint: ${harmless(known.hint)}`);
  if (how.verbose && error instanceof Error && error.stack !== undefined)
    lines.push(style.faint(error.stack));
  return { text: `${lines.join("\n")}\n`, exit };
}

/** What others wrote (file names, documents, servers) must not steer the terminal: control characters but line ends are spelled out. */
function harmless(text: string): string {
  return text.split("\n").map(showName).join("\n");
}

function oneLine(text: string): string {
  return harmless(text).replaceAll("\n", " ");
}

function showFact(fact: Fact): string {
  if (fact === null) return "";
  if (typeof fact === "object") return JSON.stringify(fact);
  return String(fact);
}

/** What the system refuses is no defect of the program, wherever it was asked. */
const SYSTEM: { readonly [code: string]: string } = {
  EMFILE: "This process has too many files open: raise its limit (ulimit -n, LimitNOFILE= of its unit).",
  ENFILE: "This machine has too many files open: see what holds them, or raise fs.file-max.",
  ENOMEM: "This machine has no memory left for it.",
  EAGAIN: "This machine has no room for another process or thread: see its limits (ulimit -u).",
  EIO: "A disk reports an error: look into the log of the system.",
};

function systemHint(error: unknown): string | null {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const { code, errno } = at as NodeJS.ErrnoException;
    if (typeof code === "string" && Object.hasOwn(SYSTEM, code)) return SYSTEM[code]!;
    if (typeof errno === "number" && typeof code === "string" && /^E[A-Z0-9]+$/.test(code))
      return `The system refused it (${code}).`;
  }
  return null;
}

function unexpected(error: unknown): CliError {
  const system = systemHint(error);
  if (system !== null) {
    const said = error instanceof Error ? error.message : String(error);
    return new CliError("cli/failed", said, {}, { cause: error, hint: system });
  }

  return new CliError(
    "cli/unexpected",
    error instanceof Error ? error.message : String(error),
    {},
    {
      cause: error instanceof Error ? error.cause : undefined,
      hint: "This is a defect of Upkeep; run it again with --verbose and report what it prints.",
    },
  );
}
