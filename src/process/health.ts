// From what a probe saw to what it means: well, sick, or not to be known.

import type { CommandAnswer, Exit, HttpAnswer } from "./ports.ts";

/**
 * `sick` means "this version is broken"; `unknown` means "the world is": a network, a busy machine. Only the first may ever undo an update.
 */
export type Observation =
  | { readonly kind: "well" }
  | { readonly kind: "sick"; readonly reason: string }
  | { readonly kind: "unknown"; readonly reason: string }
  | { readonly kind: "exited"; readonly reason: string; readonly success: boolean };

/** sysexits.h EX_TEMPFAIL: a probe command says by it that it cannot tell at the moment. */
const TEMPORARY = 75;

export function readHttp(answer: HttpAnswer): Observation {
  // Only the component itself can say that it is well.
  if (answer.kind === "stranger")
    return { kind: "sick", reason: `the answer at the health address ${answer.what}` };
  if (answer.kind !== "status") {
    // It is the component's own address on this machine: no network lies between, so silence is the component's fault.
    return { kind: "sick", reason: `the health address ${answer.what}` };
  }
  const { status } = answer;
  if (status >= 200 && status < 300) return { kind: "well" };
  // One 429 is no reason to go back: whoever can refuse politely is alive (RFC 6585 section 4).
  if (status === 429) return { kind: "unknown", reason: "the health address answered 429 Too Many Requests" };
  return { kind: "sick", reason: `the health address answered ${status}` };
}

export function readCommand(answer: CommandAnswer): Observation {
  if (answer.kind === "not-started")
    return { kind: "unknown", reason: `the health command could not be started: ${answer.what}` };
  const output = answer.output.trim().slice(-400);
  const said = output === "" ? "" : `; it said: ${output}`;
  if (answer.kind === "timeout")
    return { kind: "sick", reason: `the health command did not end in time${said}` };
  if (answer.exit.code === 0) return { kind: "well" };
  if (answer.exit.code === TEMPORARY)
    return { kind: "unknown", reason: `the health command cannot tell (exit code ${TEMPORARY})${said}` };
  return { kind: "sick", reason: `the health command ${describeExit(answer.exit)}${said}` };
}

export function readExit(exit: Exit): Observation {
  return { kind: "exited", reason: `the program ${describeExit(exit)}`, success: exit.code === 0 };
}

export function describeExit({ code, signal }: Exit): string {
  if (signal !== null) return `was ended by ${signal}`;
  return code === null ? "ended" : `ended with exit code ${code}`;
}
