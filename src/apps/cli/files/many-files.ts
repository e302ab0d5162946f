// Many files in one call: patterns, lists, a few at a time, each with its own outcome.

import { globSync, readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { EXIT, exitOf } from "../../framework/exit-codes.ts";
import { UpkeepError } from "../../../core/errors.ts";
import { renderError } from "../../framework/render.ts";

/** What became of one file: lines for people, an object for programs. */
export type Outcome = { readonly text: string; readonly json: object; readonly exit?: number };

/** Names, patterns and @lists to paths, in order, each once. A pattern that fits nothing is a mistake. Errors: `cli/usage`. */
export function expandFiles(words: readonly string[]): readonly string[] {
  const out: string[] = [];
  for (const word of words) {
    if (word.startsWith("@") && !isThere(word)) out.push(...expandFiles(readList(word.slice(1))));
    else if (/[*?[{]/.test(word) && !isThere(word)) {
      const found = globSync(word, { withFileTypes: false }).filter(
        (path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true,
      );
      if (found.length === 0) throw usage(`No file fits the pattern ${word}.`);
      out.push(...found.sort());
    } else out.push(word);
  }
  return [...new Set(out)];
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function readList(path: string): readonly string[] {
  let text: string;
  try {
    text = decodeList(readFileSync(path));
  } catch {
    throw usage(`The list ${path} cannot be read.`);
  }
  return text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

/** PowerShell 5 writes UTF-16 where other shells write UTF-8; the mark at the beginning says which it is. */
function decodeList(bytes: Uint8Array): string {
  const encoding =
    bytes[0] === 0xff && bytes[1] === 0xfe
      ? "utf-16le"
      : bytes[0] === 0xfe && bytes[1] === 0xff
        ? "utf-16be"
        : "utf-8";
  return new TextDecoder(encoding).decode(bytes);
}

/** A file's name is written by others: control characters in it must not steer the terminal. */
export function harmless(text: string, file: string): string {
  return [file, basename(file)].reduce(
    (all, name) => (/\p{Cc}/u.test(name) ? all.replaceAll(name, name.replace(/\p{Cc}/gu, "?")) : all),
    text,
  );
}

/**
 * Runs `work` over the files, `--jobs` at a time, and prints each outcome in the order of the files as soon as it and all before it are
 * there; with --json one line a file. One failure stops nobody else. The exit code is that of the only file, or 1 if some of several failed.
 */
export async function forEachFile(
  call: Call,
  files: readonly string[],
  work: (file: string) => Promise<Outcome>,
): Promise<Result> {
  const { context } = call;
  const jobs = call.whole("jobs", 1, 256) ?? 1;
  const outcomes: (Outcome | undefined)[] = files.map(() => undefined);
  // Ctrl-C: what is begun is finished, nothing new is begun, and no half-written file stays behind.
  const { signal } = context;
  let next = 0;
  let printed = 0;
  const print = (): void => {
    for (; printed < files.length && outcomes[printed] !== undefined; printed++) {
      const outcome = outcomes[printed]!;
      if (context.json) context.terminal.stdout.write(`${JSON.stringify(outcome.json)}\n`);
      else if (outcome.text !== "" && !(context.quiet && (outcome.exit ?? 0) === 0))
        context.terminal.stdout.write(`${harmless(outcome.text, files[printed]!)}\n`);
    }
  };
  const worker = async (): Promise<void> => {
    while (next < files.length && !signal.aborted) {
      const i = next++;
      const file = files[i]!;
      outcomes[i] = await work(file).catch((error: unknown) => failed(call, file, error));
      print();
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, files.length) }, worker));
  if (signal.aborted) throw signal.reason;
  const exits = outcomes.map((outcome) => outcome?.exit ?? EXIT.ok);
  const bad = exits.filter((exit) => exit !== EXIT.ok);
  const waiting = exits.filter((exit) => exit === EXIT.pending).length;
  const lost = bad.length - waiting;
  const exit = exitOfAll(bad, files.length);
  if (files.length > 1)
    context.note(
      `${files.length - bad.length} of ${files.length} files done${waiting === 0 ? "" : `, ${waiting} waiting`}${lost === 0 ? "" : `, ${lost} failed`}`,
    );
  return { streamed: true, exit };
}

/** One file speaks for itself; among several, "does not verify" outweighs "some failed", which outweighs "some wait". */
function exitOfAll(bad: readonly number[], files: number): number {
  if (bad.length === 0) return EXIT.ok;
  if (bad.includes(EXIT["verify-failed"])) return EXIT["verify-failed"];
  if (bad.every((exit) => exit === EXIT.pending)) return EXIT.pending;
  return files === 1 ? bad[0]! : EXIT.failed;
}

function failed(call: Call, file: string, error: unknown): Outcome {
  const { context } = call;
  const rendered = renderError(error, { json: false, colour: false, verbose: context.verbose });
  const exit = exitOf(error);
  return {
    text: `${context.style.bad("✗")} ${file}: ${rendered.text.trimEnd()}`,
    json: {
      file,
      ok: false,
      error:
        error instanceof UpkeepError ? error.toJSON() : { code: "cli/unexpected", message: String(error) },
    },
    exit,
  };
}
