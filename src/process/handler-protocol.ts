// What an agent and a handler say to each other: a request on standard input, an answer on standard output (spec/handler.md).

import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { UpkeepError } from "../core/errors.ts";
import { growing } from "../core/growth.ts";
import { parseJsonText } from "../core/json.ts";
import { checkSchema, z } from "../core/schema.ts";
import { ProcessError } from "./errors.ts";
import { describeExit } from "./health.ts";
import type { HandlerAnswer } from "./ports.ts";

/** In the order of an attempt; `rollback` instead of what is left of it, `remove` at an uninstall. */
export const HANDLER_STEPS = [
  "prepare",
  "install",
  "verify",
  "commit",
  "rollback",
  "cleanup",
  "remove",
] as const;
export type HandlerStep = (typeof HANDLER_STEPS)[number];

/** One version of the component, and where the file of its release is. */
export type HandlerVersion = { readonly version: string; readonly slot: string; readonly file: string };

export type HandlerRequest = {
  readonly step: HandlerStep;
  /** The same for all steps of an attempt, also after a kill; of a removal an id of its own. */
  readonly attempt: string;
  readonly product: string;
  /** What is installed when the attempt begins; null at a first installation. */
  readonly from: HandlerVersion | null;
  /** Null for `remove`. */
  readonly to: HandlerVersion | null;
  /** From the release. */
  readonly settings: Readonly<Record<string, string>>;
  /** A folder for the handler's notes about this component. */
  readonly state: string;
};

/** Largest answer that is read. */
export const ANSWER_LIMIT = 64 * 1024;
/** sysexits.h EX_TEMPFAIL: only this machine is in the way, at the moment. */
const LATER = 75;
const LONGEST_REASON = 600;

const answerSchema = growing({
  format: z.literal(1),
  reason: z.exactOptional(z.string().check(z.maxLength(4096))),
});

export function writeRequest(request: HandlerRequest): Uint8Array {
  return toUtf8(`${JSON.stringify({ format: 1, ...request })}\n`);
}

/**
 * What came of a step; returns if it is done. The exit code decides: 0 done, 75 later, all else is a failure of this release. An answer must
 * be one JSON object if there is one, and there must be one where the step is said to be done: a program that is no handler ends with 0 as well.
 * Errors: `process/handler-failed`, `process/handler-waits`, `process/cannot-start`.
 */
export function readAnswer(name: string, step: HandlerStep, answer: HandlerAnswer): void {
  const about = { handler: name, step };
  if (answer.kind === "not-started")
    throw new ProcessError(
      "process/cannot-start",
      `The handler ${name} cannot be started: ${answer.what}.`,
      about,
    );
  if (answer.kind === "timeout") throw failed(about, `did not end in time${said(answer.errors)}`);
  const { exit, output, errors } = answer;
  const found = parseAnswer(output);
  const why = said(found?.reason ?? errors);
  if (exit.code === LATER)
    throw new ProcessError(
      "process/handler-waits",
      `The handler ${name} cannot go on with "${step}" at the moment${why}`,
      about,
    );
  if (exit.code !== 0) throw failed(about, `${describeExit(exit)}${why}`);
  if (found === null) throw failed(about, `ended with 0 and gave no answer that can be read${said(errors)}`);
}

function parseAnswer(output: Uint8Array): { readonly reason?: string } | null {
  try {
    return checkSchema(answerSchema, parseJsonText(fromUtf8(output)), "answer of a handler");
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

/** Printable, short, and one line. */
function said(text: string): string {
  const words = text
    .replace(/[\p{Cc}\p{Cs}]+/gu, " ")
    .trim()
    .slice(-LONGEST_REASON);
  return words === "" ? "." : `: ${words.replace(/[.!]*$/, "")}.`;
}

function failed(about: { readonly handler: string; readonly step: HandlerStep }, what: string): ProcessError {
  return new ProcessError(
    "process/handler-failed",
    `The handler ${about.handler} did not carry out "${about.step}": it ${what}`.replace(/([^.])$/, "$1."),
    about,
  );
}
